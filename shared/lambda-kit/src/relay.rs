//! The outbox relay: publishes the events in the `outbox` attributes that a table's stream delivers.
//!
//! `outbox` is a list of strings, each one envelope as JSON, in order. A record's new events are those in its
//! new image that its old image does not have. An item that changes for another reason (a TTL attribute, an
//! erased attribute) has none.
//!
//! A record that this code can never process is parked ([`parking`]) and skipped. Otherwise it would block
//! its shard: Lambda resumes at the first record that is reported as failed and never skips it.
//!
//! Invoked with `{"action": "republish", …}`, a relay publishes the events in its table again
//! ([`republish`]); with `{"action": "retry_parked", …}` it processes parked records again.

pub mod parking;
mod publisher;
pub mod republish;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    str::FromStr,
    sync::Arc,
    time::Instant,
};

use contracts::Envelope;
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    MainResult,
    command::chain,
    dynamodb::{OUTBOX, Table},
    health::Check,
    invoke,
    telemetry::{self, Outcome},
};

pub use self::publisher::Publisher;
use self::{parking::Parking, republish::Republisher};

/// The stream event that Lambda passes to a function, with the fields that a relay reads.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    #[serde(rename = "Records")]
    pub records: Vec<StreamRecord>,
}

#[derive(Debug, Deserialize)]
pub struct StreamRecord {
    #[serde(rename = "eventName")]
    pub event_name: String,
    pub dynamodb: Change,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Change {
    pub sequence_number: String,
    #[serde(default)]
    pub keys: Image,
    #[serde(default)]
    pub new_image: Option<Image>,
    #[serde(default)]
    pub old_image: Option<Image>,
}

/// An item of the stream, in DynamoDB's JSON. An attribute is parsed only when it is read, so that a
/// malformed one fails its own record and not the batch.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Image {
    attributes: HashMap<String, Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
struct StringList {
    #[serde(rename = "L")]
    items: Vec<StringValue>,
}

#[derive(Debug, Deserialize)]
struct StringValue {
    #[serde(rename = "S")]
    value: String,
}

/// DynamoDB writes numbers as text.
#[derive(Debug, Deserialize)]
struct NumberValue {
    #[serde(rename = "N")]
    value: String,
}

impl Image {
    /// The string attribute `name`, if the item has it.
    pub fn string(&self, name: &str) -> Option<String> {
        let raw = self.attributes.get(name)?;
        serde_json::from_str::<StringValue>(raw.get()).ok().map(|s| s.value)
    }

    /// The number attribute `name`, if the item has it and it is a `T`.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        let raw = self.attributes.get(name)?;
        serde_json::from_str::<NumberValue>(raw.get()).ok()?.value.parse().ok()
    }

    /// Whether the item has an attribute `name`.
    pub fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }

    /// The entries of the outbox; none when the item has no outbox.
    fn outbox(&self) -> Result<Vec<String>, serde_json::Error> {
        let Some(raw) = self.attributes.get(OUTBOX) else { return Ok(Vec::new()) };
        let StringList { items } = serde_json::from_str(raw.get())?;
        Ok(items.into_iter().map(|item| item.value).collect())
    }
}

/// One event on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The source of the event: a record's sequence number, or an item's partition key.
    pub origin: String,
    pub event: Envelope,
    pub body: String,
}

impl Outgoing {
    fn read(origin: &str, body: &str) -> Result<Self, RelayError> {
        let event = serde_json::from_str(body).map_err(RelayError::Malformed)?;
        Ok(Self { origin: origin.to_owned(), event, body: body.to_owned() })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("an outbox is not a list of event envelopes")]
    Malformed(#[source] serde_json::Error),
    #[error("the topic did not take a call")]
    Publish(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The result of processing records, by sequence number. Records that are not named are done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// Failed for a transient reason. Lambda delivers them again, with all records after the first of them.
    pub failed: BTreeSet<String>,
    /// Cannot be processed by this code, however often it tries. They are parked.
    pub unprocessable: BTreeSet<String>,
}

impl From<BTreeSet<String>> for Handled {
    fn from(failed: BTreeSet<String>) -> Self {
        Self { failed, unprocessable: BTreeSet::new() }
    }
}

impl Handled {
    /// Whether all records are done.
    pub fn is_empty(&self) -> bool {
        self.failed.is_empty() && self.unprocessable.is_empty()
    }

    pub fn extend(&mut self, other: Self) {
        self.failed.extend(other.failed);
        self.unprocessable.extend(other.unprocessable);
    }
}

/// Which records of a batch are to be delivered again.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamBatchResponse {
    pub batch_item_failures: Vec<ItemFailure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    pub item_identifier: String,
}

impl StreamRecord {
    /// The new events of this record, in their order.
    ///
    /// # Errors
    /// When the outbox is not a list of envelopes.
    pub fn new_events(&self) -> Result<Vec<Outgoing>, RelayError> {
        let Some(new) = self.dynamodb.new_image.as_ref().filter(|_| self.event_name != "REMOVE") else {
            return Ok(Vec::new());
        };
        // An outbox that could not be parsed was not published.
        let old = self.dynamodb.old_image.as_ref().map(Image::outbox).and_then(Result::ok);
        let old: HashSet<String> = old.unwrap_or_default().into_iter().collect();
        new.outbox()
            .map_err(RelayError::Malformed)?
            .iter()
            .filter(|body| !old.contains(*body))
            .map(|body| Outgoing::read(&self.dynamodb.sequence_number, body))
            .collect()
    }
}

/// Requests are no longer than this; longer payloads are stream batches and are not parsed twice.
const REQUEST_MAX: usize = 2048;

/// An operator's request to a relay.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum Request {
    Republish(republish::Request),
    RetryParked(parking::Request),
}

/// The request, if the payload is one and not a stream batch.
fn request(payload: &str) -> Option<Result<Request, Diagnostic>> {
    #[derive(Deserialize)]
    struct Asked {
        #[serde(rename = "action")]
        _action: IgnoredAny,
    }

    let is_request = payload.len() <= REQUEST_MAX && serde_json::from_str::<Asked>(payload).is_ok();
    is_request.then(|| serde_json::from_str(payload).map_err(|error| malformed("MalformedRequest", &error)))
}

fn malformed(name: &str, error: &serde_json::Error) -> Diagnostic {
    Diagnostic { error_type: name.to_owned(), error_message: error.to_string() }
}

/// A relay's response.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Relayed(StreamBatchResponse),
    Republished(republish::Page),
    Retried(parking::Retried),
}

/// Serves a table's stream until the process ends, and the operator's requests. `then` runs concurrently with
/// the publishing of each batch (the orders relay starts the saga there) and returns the result for each
/// record.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run<F, Fut>(table: Table, checks: Vec<Check>, publisher: Publisher, then: F) -> MainResult
where
    F: Fn(Arc<StreamEvent>) -> Fut + Clone,
    Fut: Future<Output: Into<Handled>>,
{
    let republisher = Republisher::new(table.clone(), publisher.clone());
    let parking = Parking::new(table);
    invoke::run(checks, move |payload, _| {
        let (republisher, publisher, then) = (republisher.clone(), publisher.clone(), then.clone());
        let parking = parking.clone();
        async move {
            match request(payload.get()).transpose()? {
                Some(Request::Republish(asked)) => Ok(Answer::Republished(republisher.page(&asked).await?)),
                Some(Request::RetryParked(asked)) => {
                    Ok(Answer::Retried(parking.retry(&asked, &publisher, then).await?))
                }
                None => {
                    let event: StreamEvent = serde_json::from_str(payload.get())
                        .map_err(|error| malformed("MalformedStream", &error))?;
                    Ok(Answer::Relayed(relay(&parking, &publisher, Arc::new(event), then).await))
                }
            }
        }
    })
    .await
}

/// A relay that only publishes.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run_publisher(table: Table, checks: Vec<Check>, publisher: Publisher) -> MainResult {
    run(table, checks, publisher, |_| async { Handled::default() }).await
}

/// Publishes a batch's events, and parks what cannot be processed. Returns the records that Lambda delivers
/// again.
async fn relay<F, Fut>(
    parking: &Parking,
    publisher: &Publisher,
    event: Arc<StreamEvent>,
    then: F,
) -> StreamBatchResponse
where
    F: Fn(Arc<StreamEvent>) -> Fut,
    Fut: Future<Output: Into<Handled>>,
{
    let started = Instant::now();
    let Handled { mut failed, unprocessable } = process(publisher, Arc::clone(&event), then).await;
    // A record that also failed may still succeed in part. It is parked once only its unprocessable part is
    // left.
    for record in &event.records {
        let number = &record.dynamodb.sequence_number;
        if unprocessable.contains(number) && !failed.contains(number) && !parking.park(record).await {
            failed.insert(number.clone());
        }
    }
    let outcome = if failed.is_empty() { Outcome::Ok } else { Outcome::Error };
    telemetry::record("relay", outcome, started.elapsed());
    tracing::info!(records = event.records.len(), failed = failed.len(), "relayed");
    StreamBatchResponse {
        batch_item_failures: failed
            .into_iter()
            .map(|item_identifier| ItemFailure { item_identifier })
            .collect(),
    }
}

async fn process<F, Fut>(publisher: &Publisher, event: Arc<StreamEvent>, then: F) -> Handled
where
    F: Fn(Arc<StreamEvent>) -> Fut,
    Fut: Future<Output: Into<Handled>>,
{
    let mut outgoing = Vec::new();
    let mut handled = Handled::default();
    for record in &event.records {
        match record.new_events() {
            Ok(events) => outgoing.extend(events),
            Err(error) => {
                let sequence_number = &record.dynamodb.sequence_number;
                tracing::error!(sequence_number, error = chain(&error), "an outbox cannot be read");
                handled.unprocessable.insert(sequence_number.clone());
            }
        }
    }
    let (published, followed) = futures::join!(publisher.publish(&outgoing), then(event));
    handled.extend(published);
    handled.extend(followed.into());
    handled
}

#[cfg(test)]
mod tests;
