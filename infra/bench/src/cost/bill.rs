//! From what was counted to what is paid for.

use std::collections::BTreeMap;

use super::prices::{self, Microdollars, Price};
use super::proxy::{Count, Published, Tally};
use super::records::{Runs, Saga};
use super::topology::{Queue, Topology};
use super::units::Units;
use local_stack::call::Call;

/// One receive and one delete of a batch: the requests of Lambda's poller for an invocation.
const REQUESTS_OF_A_POLLER: u64 = 2;

/// The counts of one order. Functions have their short names.
#[derive(Debug, Default)]
pub struct Counted {
    pub calls: BTreeMap<Call, Count>,
    pub published: Vec<Published>,
    /// How often functions invoked a function directly.
    pub invoked: BTreeMap<String, u64>,
    pub runs: BTreeMap<String, Runs>,
    pub saga: Saga,
    /// Messages over the WebSocket, in both directions.
    pub frames: u64,
    /// How long a WebSocket is open.
    pub connection_minutes: u64,
    /// Bytes of items that stay.
    pub kept_bytes: u64,
}

/// One line of a bill.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub price: &'static Price,
    /// For one order, or for a month.
    pub quantity: u64,
    /// For a million orders, or for a month.
    pub cost: Microdollars,
}

impl Counted {
    /// Leaves out what runs by the clock, and the time that functions waited for the proxy alone.
    pub fn new(mut tally: Tally, mut runs: BTreeMap<String, Runs>, saga: Saga, topology: &Topology) -> Self {
        let scheduled = topology.scheduled();
        runs.retain(|function, _| !scheduled.contains(function.as_str()));
        for (name, runs) in &mut runs {
            if topology.functions.get(name).is_some_and(|function| function.is_logged_by_lambda) {
                runs.log_bytes += runs.platform_log_bytes;
            }
        }
        for (signer, delay) in &tally.delayed {
            if let Some(runs) = topology.names.get(signer).and_then(|name| runs.get_mut(name)) {
                let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                runs.milliseconds = runs.milliseconds.saturating_sub(delay).max(runs.invocations);
            }
        }
        let mut calls = BTreeMap::new();
        for (mut call, count) in std::mem::take(&mut tally.calls) {
            if let Some(name) = topology.names.get(&call.signer) {
                call.signer.clone_from(name);
            }
            if !scheduled.contains(call.signer.as_str()) {
                calls.insert(call, count);
            }
        }
        let Tally { published, invoked, .. } = tally;
        Self { calls, published, invoked, runs, saga, ..Self::default() }
    }

    /// The frames that an order's customer gets over a WebSocket: one for each event in realtime's queue.
    pub fn pushed_frames(&self, topology: &Topology) -> u64 {
        self.deliveries(topology).iter().filter(|(queue, _)| *queue == Queue::Fifo).count() as u64
    }

    pub fn invocations(&self) -> u64 {
        self.runs.values().map(|runs| runs.invocations).sum()
    }

    pub fn log_bytes(&self) -> u64 {
        self.runs.values().map(|runs| runs.log_bytes).sum()
    }

    /// Calls of one operation by all functions.
    pub fn calls_of(&self, service: &str, operation: &str) -> u64 {
        let calls =
            self.calls.iter().filter(|(call, _)| call.service == service && call.operation == operation);
        calls.map(|(_, count)| count.calls).sum()
    }

    pub fn units(&self) -> Units {
        let mut total = Units::default();
        for count in self.calls.values() {
            total += count.units;
        }
        total
    }

    pub fn bill(&self, topology: &Topology) -> Vec<Line> {
        let units = self.units();
        let memory_time = self.of_functions(topology, |runs, function| {
            runs.milliseconds * function.map_or(0, |function| function.memory_mb)
        });
        let traces = self.of_functions(topology, |runs, function| {
            if function.is_some_and(|function| function.begins_traces) { runs.invocations } else { 0 }
        });
        let deliveries = self.deliveries(topology);
        [
            (&prices::TRANSITION, self.saga.transitions()),
            (&prices::INVOCATION, self.invocations()),
            (&prices::MEMORY_TIME, memory_time),
            (&prices::WRITE_UNIT, units.writes),
            (&prices::HALF_READ_UNIT, units.half_reads),
            (&prices::TABLE_BYTE, self.kept_bytes),
            (&prices::BACKUP_BYTE, self.kept_bytes),
            (&prices::FIFO_PUBLISH, self.published.len() as u64),
            (&prices::FIFO_PUBLISH_BYTE, self.published.iter().map(|message| message.bytes).sum()),
            (&prices::FIFO_DELIVERY, deliveries.len() as u64),
            (&prices::FIFO_DELIVERY_BYTE, deliveries.iter().map(|(_, bytes)| bytes).sum()),
            (&prices::QUEUE_REQUEST, self.queue_requests(topology, Queue::Standard)),
            (&prices::FIFO_QUEUE_REQUEST, self.queue_requests(topology, Queue::Fifo)),
            (&prices::HTTP_REQUEST, self.http_requests(topology)),
            (&prices::WEBSOCKET_MESSAGE, self.frames),
            (&prices::CONNECTION_MINUTE, self.connection_minutes),
            (&prices::EMAIL, self.calls_of("ses", "SendEmail")),
            (&prices::SIGNATURE, self.calls_of("kms", "Sign")),
            (&prices::TRACE, traces),
            (&prices::LOG_BYTE, self.log_bytes()),
            (&prices::KEPT_LOG_BYTE, self.log_bytes()),
        ]
        .map(|(price, quantity)| Line { price, quantity, cost: price.of_a_million_orders(quantity) })
        .into()
    }

    /// Calls that are not free and that no line of the bill covers.
    pub fn unpriced(&self) -> impl Iterator<Item = (&Call, u64)> {
        let priced = |call: &Call| match call.service.as_str() {
            "dynamodb" | "sns" | "sqs" => true,
            "ses" => call.operation == "SendEmail",
            "kms" if call.operation == "Sign" => true,
            // The frames are counted.
            "execute-api" => true,
            // Requests to Step Functions are free, and an Invoke is an invocation.
            "states" | "lambda" => true,
            _ => is_upkeep(call),
        };
        self.calls.iter().filter(move |(call, _)| !priced(call)).map(|(call, count)| (call, count.calls))
    }

    /// Each delivery of a message to a queue whose filter accepts it, with its size.
    fn deliveries(&self, topology: &Topology) -> Vec<(Queue, u64)> {
        let each = topology.subscriptions.iter().flat_map(|subscription| {
            let taken = self.published.iter().filter(|message| subscription.takes(message));
            taken.map(|message| (subscription.queue, message.bytes))
        });
        each.collect()
    }

    /// The queue requests of functions, of the saga and the topic, and of the pollers.
    pub fn queue_requests(&self, topology: &Topology, queue: Queue) -> u64 {
        let by_functions = self.calls.values().map(|count| match queue {
            Queue::Standard => count.sqs_standard,
            Queue::Fifo => count.sqs_fifo,
        });
        // The payments queue, which is none of order.
        let by_saga = if queue == Queue::Standard { self.saga.messages } else { 0 };
        let by_topic = self.deliveries(topology).iter().filter(|(to, _)| *to == queue).count() as u64;
        let polled = self.runs.iter().map(|(name, runs)| {
            let is_polled =
                topology.functions.get(name).is_some_and(|function| function.polls == Some(queue));
            let direct: u64 = self
                .saga
                .attempts
                .iter()
                .filter(|(state, _)| topology.tasks.get(*state) == Some(name))
                .map(|(_, attempts)| attempts)
                .sum();
            if is_polled { runs.invocations.saturating_sub(direct) } else { 0 }
        });
        by_functions.sum::<u64>() + by_saga + by_topic + REQUESTS_OF_A_POLLER * polled.sum::<u64>()
    }

    /// The invocations of functions behind the REST API that no other function made.
    fn http_requests(&self, topology: &Topology) -> u64 {
        let answering = self
            .runs
            .iter()
            .filter(|(name, _)| topology.functions.get(*name).is_some_and(|function| function.answers_rest));
        let by_gateway = answering.map(|(name, runs)| {
            let direct = self.invoked.get(name).copied().unwrap_or_default();
            runs.invocations.saturating_sub(direct)
        });
        by_gateway.sum()
    }

    fn of_functions(
        &self,
        topology: &Topology,
        quantity: impl Fn(&Runs, Option<&super::topology::Function>) -> u64,
    ) -> u64 {
        self.runs.iter().map(|(name, runs)| quantity(runs, topology.functions.get(name))).sum()
    }
}

/// Read by a process when it starts, and again by its clock: at many orders a minute, next to nothing for each.
pub fn is_upkeep(call: &Call) -> bool {
    matches!(
        (call.service.as_str(), call.operation.as_str()),
        // Reads of Parameter Store are free at its standard throughput.
        ("kms", "GetPublicKey") | ("secretsmanager", "GetSecretValue") | ("ssm", "GetParameter")
    )
}

/// The services of a bill, dearest first.
pub fn by_service(lines: &[Line]) -> Vec<(&'static str, Microdollars)> {
    let mut services: BTreeMap<&str, u64> = BTreeMap::new();
    for line in lines {
        *services.entry(line.price.service).or_default() += line.cost.0;
    }
    let mut services: Vec<_> = services.into_iter().map(|(name, cost)| (name, Microdollars(cost))).collect();
    services.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
    services
}

pub fn total(lines: &[Line]) -> Microdollars {
    lines.iter().map(|line| line.cost).sum()
}

#[cfg(test)]
mod tests;
