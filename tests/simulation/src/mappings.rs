//! Lambda's event source mappings and the scheduler: what invokes functions by itself.
//!
//! Sources: Lambda Developer Guide, "Using Lambda with Amazon SQS" (a batch that fails stays hidden until its visibility
//! timeout; partial batch responses; `MaximumConcurrency`), "Using AWS Lambda with Amazon DynamoDB" (one batch at a time
//! of a shard, again from the first failure on; bisecting), EventBridge Scheduler User Guide, "Schedule types". How
//! long Lambda pauses before it repeats a batch of a stream is not documented.

use std::{rc::Rc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use crate::{
    network::{Call, Caller, Effect, Reply, between},
    pattern::matches,
    services::Protocol,
    world::world,
};

/// What a poll takes, in milliseconds.
const POLL: std::ops::Range<u64> = 1..40;
/// Concurrent batches of a queue without `MaximumConcurrency`, with which Lambda begins.
const CONCURRENCY: usize = 5;
/// The pauses before a batch of a stream is repeated.
const PAUSES: std::ops::Range<Duration> = Duration::from_secs(1)..Duration::from_mins(1);
/// How long Lambda waits for an answer after the function's own time, with which the invocation has ended.
const ANSWER: Duration = Duration::from_secs(10);

/// A queue whose messages a function handles.
#[derive(Debug, Clone)]
pub struct QueueMapping {
    pub function: String,
    /// Its ARN.
    pub queue: String,
    pub batch: usize,
    pub concurrency: Option<usize>,
}

/// A table whose changes a function handles.
#[derive(Debug, Clone)]
pub struct StreamMapping {
    pub function: String,
    pub table: String,
    pub batch: u64,
    /// The patterns, of which a record matches one.
    pub filters: Vec<Value>,
}

/// A function that runs by the clock.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub function: String,
    pub every: Duration,
    pub input: String,
}

impl QueueMapping {
    /// Runs until the process ends.
    pub async fn run(self) {
        let permits = std::sync::Arc::new(Semaphore::new(self.concurrency.unwrap_or(CONCURRENCY)));
        let mapping = Rc::new(self);
        loop {
            world().queues.wait(&mapping.queue).await;
            let permit = std::sync::Arc::clone(&permits).acquire_owned().await.expect("it is never closed");
            sleep(between(POLL)).await;
            let records = world().queues.receive(&mapping.queue, mapping.batch);
            if !records.is_empty() {
                tokio::task::spawn_local(Rc::clone(&mapping).deliver(records, permit));
            }
        }
    }

    async fn deliver(self: Rc<Self>, records: Vec<Value>, _permit: OwnedSemaphorePermit) {
        let ids: Vec<String> = records.iter().map(|record| text(&record["messageId"])).collect();
        let name = self.queue.rsplit(':').next().unwrap_or_default();
        let Some(answer) = invoke(name, &self.function, json!({ "Records": records }).to_string()).await
        else {
            return;
        };
        let failed = failures(&answer);
        // An id that is not of the batch fails all of it.
        if failed.iter().any(|id| !ids.contains(id)) {
            return;
        }
        for record in records.iter().filter(|record| !failed.contains(&text(&record["messageId"]))) {
            world().queues.delete(&self.queue, &text(&record["receiptHandle"]));
        }
    }
}

impl StreamMapping {
    /// Runs until the process ends.
    pub async fn run(self) {
        let mut after: Option<String> = None;
        let (mut most, mut pause) = (self.batch, PAUSES.start);
        loop {
            let records = world().tables.records(&self.table, after.as_deref(), most);
            if records.is_empty() {
                world().tables.changed(&self.table).await;
                sleep(between(POLL)).await;
                continue;
            }
            let numbers: Vec<String> =
                records.iter().map(|record| text(&record["dynamodb"]["SequenceNumber"])).collect();
            let matching: Vec<&Value> = records.iter().filter(|record| self.lets_through(record)).collect();
            let answer = if matching.is_empty() {
                Some(Value::Null)
            } else {
                invoke(&self.table, &self.function, json!({ "Records": matching }).to_string()).await
            };
            // The place of the first record that failed.
            let failed = match answer {
                Some(answer) => {
                    let failed = failures(&answer);
                    failed.iter().map(|id| numbers.iter().position(|number| number == id).unwrap_or(0)).min()
                }
                None => {
                    most = (most.min(numbers.len() as u64) / 2).max(1);
                    Some(0)
                }
            };
            let done = failed.unwrap_or(numbers.len());
            if let Some(last) = done.checked_sub(1) {
                after = Some(numbers[last].clone());
            }
            if failed.is_some() {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.end);
            } else {
                (most, pause) = (self.batch, PAUSES.start);
            }
        }
    }

    fn lets_through(&self, record: &Value) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| matches(filter, Some(record)))
    }
}

impl Schedule {
    /// Runs until the process ends.
    pub async fn run(self) {
        loop {
            sleep(self.every).await;
            invoke("schedule", &self.function, self.input.clone()).await;
        }
    }
}

/// Invokes a function, and returns its answer unless it failed or was not invoked.
pub async fn invoke(source: &str, function: &str, payload: String) -> Option<Value> {
    let call = Call {
        protocol: Protocol::Rest,
        operation: format!("lambda.Invoke {function}"),
        request: payload.clone(),
        is_secret: false,
    };
    let caller = Caller { name: source.to_owned(), instance: None };
    let effect = |_| -> Effect {
        let (function, payload) = (function.to_owned(), payload.clone());
        Box::pin(async move { world().functions.invoke(&function, payload).await })
    };
    let longest = world().functions.timeout(function) + ANSWER;
    let reply: Reply = timeout(longest, world().network.call(&caller, call, effect)).await.ok()?.ok()?;
    let is_done = reply.status < 300 && reply.headers.is_empty();
    is_done.then(|| serde_json::from_str(&reply.body).expect("an answer is JSON"))
}

/// The items of a batch that failed.
fn failures(answer: &Value) -> Vec<String> {
    let failures = answer["batchItemFailures"].as_array().into_iter().flatten();
    failures.map(|failure| text(&failure["itemIdentifier"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
