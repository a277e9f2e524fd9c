//! The outbox relay: publishes the events that a table's stream brings in an item's `outbox` attribute.
//!
//! `outbox` is a list of strings, each one envelope as JSON, in order. A record's new events are those of its
//! new image whose ids its old image does not have: an item that changes for another reason (an expiry mark,
//! an erased attribute) brings none.
//!
//! Invoked with `{"action": "republish", …}` instead, a relay publishes again what its table's items hold
//! ([`republish`]).

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
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    MainResult,
    command::chain,
    dynamodb::Table,
    health::Check,
    invoke,
    telemetry::{self, Outcome},
};

pub use self::publisher::Publisher;
use self::republish::Republisher;

/// What a DynamoDB stream hands to a function; only what a relay reads of it.
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
    pub new_image: Option<Image>,
    #[serde(default)]
    pub old_image: Option<Image>,
}

/// An item as the stream shows it, in DynamoDB's JSON.
#[derive(Debug, Deserialize)]
// Not by `flatten`, which cannot hand on raw values.
#[serde(try_from = "HashMap<String, Box<RawValue>>")]
pub struct Image {
    pub outbox: Option<StringList>,
    /// Everything else, unread unless a relay asks for it.
    pub rest: HashMap<String, Box<RawValue>>,
}

impl TryFrom<HashMap<String, Box<RawValue>>> for Image {
    type Error = serde_json::Error;

    fn try_from(mut attributes: HashMap<String, Box<RawValue>>) -> Result<Self, serde_json::Error> {
        let outbox = attributes.remove("outbox").map(|raw| serde_json::from_str(raw.get())).transpose()?;
        Ok(Self { outbox, rest: attributes })
    }
}

#[derive(Debug, Deserialize)]
pub struct StringList {
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
        let raw = self.rest.get(name)?;
        serde_json::from_str::<StringValue>(raw.get()).ok().map(|s| s.value)
    }

    /// The number attribute `name`, if the item has it and it is a `T`.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        let raw = self.rest.get(name)?;
        serde_json::from_str::<NumberValue>(raw.get()).ok()?.value.parse().ok()
    }

    fn outbox(&self) -> impl Iterator<Item = &str> {
        self.outbox.iter().flat_map(|list| list.items.iter().map(|item| item.value.as_str()))
    }
}

/// One event on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What brought it: a record, by its sequence number, or an item, by its partition key.
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
    #[error("an outbox entry is not an event envelope")]
    Malformed(#[source] serde_json::Error),
    #[error("the topic did not take {0} events")]
    NotTaken(usize),
    #[error("publishing failed")]
    Publish(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a follow-up of the event failed")]
    Then(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    /// The events that this record brings, in their order.
    ///
    /// # Errors
    /// When an outbox entry is not an envelope.
    pub fn new_events(&self) -> Result<Vec<Outgoing>, RelayError> {
        let Some(new) = self.dynamodb.new_image.as_ref().filter(|_| self.event_name != "REMOVE") else {
            return Ok(Vec::new());
        };
        let old: HashSet<&str> = self.dynamodb.old_image.iter().flat_map(Image::outbox).collect();
        new.outbox()
            .filter(|body| !old.contains(body))
            .map(|body| Outgoing::read(&self.dynamodb.sequence_number, body))
            .collect()
    }
}

/// What a relay answers.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Relayed(StreamBatchResponse),
    Republished(republish::Page),
}

/// Serves a table's stream until the process ends, and publishes again what the table holds when it is asked to. `then`
/// runs beside the publishing of each batch (the orders relay starts the saga there); the records that it names come
/// again.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run<F, Fut>(table: Table, checks: Vec<Check>, publisher: Publisher, then: F) -> MainResult
where
    F: Fn(Arc<StreamEvent>) -> Fut + Clone,
    Fut: Future<Output = BTreeSet<String>>,
{
    let republisher = Republisher::new(table, publisher.clone());
    invoke::run(checks, move |payload, _| {
        let (republisher, publisher, then) = (republisher.clone(), publisher.clone(), then.clone());
        async move {
            if let Some(asked) = republish::asked(payload.get()) {
                return Ok(Answer::Republished(republisher.page(&asked?).await?));
            }
            let event: StreamEvent = serde_json::from_str(payload.get()).map_err(|error| Diagnostic {
                error_type: "MalformedStream".to_owned(),
                error_message: error.to_string(),
            })?;
            Ok(Answer::Relayed(relay(&publisher, Arc::new(event), then).await))
        }
    })
    .await
}

/// A relay that does nothing beside publishing.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run_publisher(table: Table, checks: Vec<Check>, publisher: Publisher) -> MainResult {
    run(table, checks, publisher, |_| async { BTreeSet::new() }).await
}

async fn relay<F, Fut>(publisher: &Publisher, event: Arc<StreamEvent>, then: F) -> StreamBatchResponse
where
    F: Fn(Arc<StreamEvent>) -> Fut,
    Fut: Future<Output = BTreeSet<String>>,
{
    let started = Instant::now();
    let mut outgoing = Vec::new();
    let mut failed = BTreeSet::new();
    for record in &event.records {
        match record.new_events() {
            Ok(events) => outgoing.extend(events),
            Err(error) => {
                // Nothing makes a malformed entry well-formed: the record is held, the iterator age raises the alarm.
                tracing::error!(error = chain(&error), "an outbox cannot be read");
                failed.insert(record.dynamodb.sequence_number.clone());
            }
        }
    }
    let (unpublished, undone) = futures::join!(publisher.publish(&outgoing), then(event));
    failed.extend(unpublished);
    failed.extend(undone);
    let outcome = if failed.is_empty() { Outcome::Ok } else { Outcome::Error };
    telemetry::record("relay", outcome, started.elapsed());
    tracing::info!(events = outgoing.len(), failed = failed.len(), "relayed");
    StreamBatchResponse {
        batch_item_failures: failed
            .into_iter()
            .map(|item_identifier| ItemFailure { item_identifier })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
