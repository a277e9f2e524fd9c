//! From what was counted to what is paid for.

use std::collections::BTreeMap;

use super::call::Call;
use super::prices::{self, Microdollars, Price};
use super::proxy::{Count, Published, Tally};
use super::records::{Runs, Saga};
use super::topology::{Queue, Topology};
use super::units::Units;

/// One receive and one delete of a batch: the requests of Lambda's poller for an invocation.
const REQUESTS_OF_A_POLLER: u64 = 2;

/// The counts of one order. Functions have their short names.
#[derive(Debug, Default)]
pub struct Counted {
    pub calls: BTreeMap<Call, Count>,
    pub published: Vec<Published>,
    pub runs: BTreeMap<String, Runs>,
    pub saga: Saga,
}

/// One line of a bill.
#[derive(Debug)]
pub struct Line {
    pub price: &'static Price,
    /// For one order.
    pub quantity: u64,
    /// For a million orders.
    pub cost: Microdollars,
}

impl Counted {
    /// Leaves out what runs by the clock.
    pub fn new(tally: Tally, mut runs: BTreeMap<String, Runs>, saga: Saga, topology: &Topology) -> Self {
        let scheduled = topology.scheduled();
        runs.retain(|function, _| !scheduled.contains(function.as_str()));
        let mut calls = BTreeMap::new();
        for (mut call, count) in tally.calls {
            if let Some(name) = topology.names.get(&call.signer) {
                call.signer.clone_from(name);
            }
            if !scheduled.contains(call.signer.as_str()) {
                calls.insert(call, count);
            }
        }
        Self { calls, published: tally.published, runs, saga }
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
        let invocations = self.runs.values().map(|runs| runs.invocations).sum();
        let memory_time = self.of_functions(topology, |runs, function| {
            runs.milliseconds * function.map_or(0, |function| function.memory_mb)
        });
        let http_requests = self.of_functions(topology, |runs, function| {
            if function.is_some_and(|function| function.answers_rest) { runs.invocations } else { 0 }
        });
        let log_bytes = self.runs.values().map(|runs| runs.log_bytes).sum();
        let e_mails =
            self.calls.iter().filter(|(call, _)| call.service == "ses" && call.operation == "SendEmail");
        let deliveries = self.deliveries(topology);
        [
            (&prices::TRANSITION, self.saga.transitions()),
            (&prices::INVOCATION, invocations),
            (&prices::MEMORY_TIME, memory_time),
            (&prices::WRITE_UNIT, units.writes),
            (&prices::HALF_READ_UNIT, units.half_reads),
            (&prices::FIFO_PUBLISH, self.published.len() as u64),
            (&prices::FIFO_PUBLISH_BYTE, self.published.iter().map(|message| message.bytes).sum()),
            (&prices::FIFO_DELIVERY, deliveries.len() as u64),
            (&prices::FIFO_DELIVERY_BYTE, deliveries.iter().map(|(_, bytes)| bytes).sum()),
            (&prices::QUEUE_REQUEST, self.queue_requests(topology, Queue::Standard)),
            (&prices::FIFO_QUEUE_REQUEST, self.queue_requests(topology, Queue::Fifo)),
            (&prices::HTTP_REQUEST, http_requests),
            (&prices::EMAIL, e_mails.map(|(_, count)| count.calls).sum()),
            (&prices::LOG_BYTE, log_bytes),
        ]
        .map(|(price, quantity)| Line { price, quantity, cost: price.of_a_million_orders(quantity) })
        .into()
    }

    /// Calls that are not free and that no line of the bill covers.
    pub fn unpriced(&self) -> impl Iterator<Item = (&Call, u64)> {
        let priced = |call: &Call| match call.service.as_str() {
            "dynamodb" | "sns" | "sqs" => true,
            "ses" => call.operation == "SendEmail",
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
    fn queue_requests(&self, topology: &Topology, queue: Queue) -> u64 {
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
        ("kms", "GetPublicKey") | ("secretsmanager", "GetSecretValue")
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
