//! A proxy between the functions and the emulator that forwards every call unchanged and counts it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http::request::Parts;
use local_stack::Emulator;
use local_stack::call::{self, Call};
use local_stack::upstream::{self, Answer, Upstream};
use tokio::net::TcpListener;

use super::scale::{Outcome, Scale, Weight};
use super::units::Units;

/// SQS bills every started 64 KB of a request: <https://aws.amazon.com/sqs/pricing/>.
const SQS_CHUNK: usize = 64 * 1024;

/// The counts since the last [`Proxy::take`].
#[derive(Debug, Default)]
pub struct Tally {
    pub calls: BTreeMap<Call, Count>,
    /// Messages published to SNS topics.
    pub published: Vec<Published>,
    /// By short name: how often functions invoked a function directly.
    pub invoked: BTreeMap<String, u64>,
    /// By access key: the time in which a function waited for the proxy alone, and not for the emulator.
    pub delayed: BTreeMap<String, Duration>,
    /// Why some units are unknown. A tally with any of these is useless.
    pub unweighed: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    pub calls: u64,
    pub units: Units,
    /// The sizes of the items written.
    pub written: Vec<u64>,
    /// Billed SQS requests to standard queues.
    pub sqs_standard: u64,
    pub sqs_fifo: u64,
}

/// One message to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub attributes: BTreeMap<String, String>,
    pub bytes: u64,
}

pub struct Proxy {
    upstream: Upstream,
    scale: Scale,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tally: Tally,
    /// By access key: the calls under way.
    under_way: BTreeMap<String, UnderWay>,
    last: Instant,
}

/// The calls of one function that have begun and not ended.
#[derive(Debug)]
struct UnderWay {
    calls: usize,
    /// Of these, how many the emulator works on. The others wait for the proxy.
    at_emulator: usize,
    since: Instant,
}

impl Outcome for Answer {
    fn is_success(&self) -> bool {
        self.status.is_success()
    }

    fn body(&self) -> &[u8] {
        &self.body
    }
}

impl Proxy {
    pub fn new(upstream: &str) -> Self {
        let state = State { tally: Tally::default(), under_way: BTreeMap::new(), last: Instant::now() };
        Self {
            upstream: Upstream::new(upstream),
            scale: Scale::new(Emulator::new(upstream)),
            state: Mutex::new(state),
        }
    }

    /// Answers every connection; ends only when its task is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> Infallible {
        let handle = move |parts, body| {
            let proxy = self.clone();
            async move { Ok(proxy.handle(parts, body).await) }
        };
        upstream::serve(listener, handle).await
    }

    /// Returns the counts and resets them.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut self.state().tally)
    }

    /// The time since the last call.
    pub fn quiet_for(&self) -> Duration {
        let state = self.state();
        if state.under_way.is_empty() { state.last.elapsed() } else { Duration::ZERO }
    }

    async fn handle(&self, parts: Parts, body: Bytes) -> Answer {
        let call = Call::of(&parts, &body);
        let signer = call.as_ref().map(|call| call.signer.clone()).unwrap_or_default();
        self.state().change(&signer, |under_way| under_way.calls += 1);
        let sent = async {
            self.state().change(&signer, |under_way| under_way.at_emulator += 1);
            let answer = self.upstream.ask(&parts, body.clone()).await;
            self.state().change(&signer, |under_way| under_way.at_emulator -= 1);
            answer
        };
        let (answer, weight) = match &call {
            Some(call) if call.service == "dynamodb" => self.scale.weigh(&call.operation, &body, sent).await,
            _ => (sent.await, Ok(Weight::default())),
        };
        let mut state = self.state();
        state.change(&signer, |under_way| under_way.calls -= 1);
        state.last = Instant::now();
        if let Some(call) = call {
            if call.operation == "Invoke"
                && let Some(function) = call::invoked(parts.uri.path())
            {
                *state.tally.invoked.entry(function).or_default() += 1;
            }
            match weight {
                Ok(weight) => state.tally.add(call, weight, &body),
                Err(error) => state.tally.unweighed.push(format!("{}: {error}", call.operation)),
            }
        }
        drop(state);
        answer
    }

    /// A panic elsewhere leaves the counts intact: they are never half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Changes the calls of a function that are under way. The time until now was the proxy's when the emulator worked
    /// on none of them.
    fn change(&mut self, signer: &str, change: impl FnOnce(&mut UnderWay)) {
        let now = Instant::now();
        let none = UnderWay { calls: 0, at_emulator: 0, since: now };
        let under_way = self.under_way.entry(signer.to_owned()).or_insert(none);
        if under_way.calls > 0 && under_way.at_emulator == 0 {
            *self.tally.delayed.entry(signer.to_owned()).or_default() += now - under_way.since;
        }
        under_way.since = now;
        change(under_way);
        if under_way.calls == 0 {
            self.under_way.remove(signer);
        }
    }
}

impl Tally {
    fn add(&mut self, call: Call, weight: Weight, body: &[u8]) {
        if call.service == "sns" {
            self.published.extend(published(&call.operation, body));
        }
        let Weight { units, written } = weight;
        let mut count = Count { calls: 1, units, written, ..Count::default() };
        if call.service == "sqs" {
            let requests = body.len().div_ceil(SQS_CHUNK).max(1) as u64;
            let request: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            if request["QueueUrl"].as_str().is_some_and(|url| url.ends_with(".fifo")) {
                count.sqs_fifo = requests;
            } else {
                count.sqs_standard = requests;
            }
        }
        *self.calls.entry(call).or_default() += count;
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.units += other.units;
        self.written.extend(other.written);
        self.sqs_standard += other.sqs_standard;
        self.sqs_fifo += other.sqs_fifo;
    }
}

/// The messages of a call to SNS: `PublishBatchRequestEntries.member.1.Message=…&….MessageAttributes.entry.1.Name=…`.
fn published(operation: &str, body: &[u8]) -> Vec<Published> {
    let mut messages: BTreeMap<String, (u64, BTreeMap<String, Attribute>)> = BTreeMap::new();
    for (name, value) in call::form(body) {
        let (message, field) = match operation {
            "Publish" => (String::new(), name.as_str()),
            "PublishBatch" => {
                let Some(rest) = name.strip_prefix("PublishBatchRequestEntries.member.") else { continue };
                let Some((number, field)) = rest.split_once('.') else { continue };
                (number.to_owned(), field)
            }
            _ => return Vec::new(),
        };
        let (bytes, attributes) = messages.entry(message).or_default();
        if field == "Message" {
            *bytes += value.len() as u64;
        } else if let Some((number, part)) =
            field.strip_prefix("MessageAttributes.entry.").and_then(|rest| rest.split_once('.'))
        {
            // Names, types and values of attributes are payload.
            *bytes += value.len() as u64;
            let attribute = attributes.entry(number.to_owned()).or_default();
            match part {
                "Name" => attribute.name = value,
                "Value.StringValue" => attribute.value = value,
                _ => {}
            }
        }
    }
    let named = |attribute: Attribute| (attribute.name, attribute.value);
    messages
        .into_values()
        .map(|(bytes, attributes)| Published {
            attributes: attributes.into_values().map(named).collect(),
            bytes,
        })
        .collect()
}

#[derive(Default)]
struct Attribute {
    name: String,
    value: String,
}

#[cfg(test)]
mod tests;
