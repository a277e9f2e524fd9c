//! The outbox relay: publishes the events that a table's stream brings in an item's `outbox` attribute.
//!
//! `outbox` is a list of strings, each one envelope as JSON, in order. A record's new events are those of its
//! new image whose ids its old image does not have: an item that changes for another reason (an expiry mark,
//! an erased attribute) brings none.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    str::FromStr,
    time::Instant,
};

use aws_config::SdkConfig;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use contracts::Envelope;
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    MainResult,
    command::chain,
    config::{self, ConfigError},
    health::Check,
    invoke,
    telemetry::{self, Outcome},
};

/// SNS takes at most 10 messages and 262,144 bytes a batch (PublishBatch, API reference).
const BATCH_ENTRIES: usize = 10;
const BATCH_BYTES: usize = 262_144;

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

/// One event on its way out, with the record that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub sequence_number: String,
    pub event: Envelope,
    pub body: String,
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
            .map(|body| {
                Ok(Outgoing {
                    sequence_number: self.dynamodb.sequence_number.clone(),
                    event: serde_json::from_str(body).map_err(RelayError::Malformed)?,
                    body: body.to_owned(),
                })
            })
            .collect()
    }
}

/// Publishes to the FIFO topic `events`.
#[derive(Debug, Clone)]
pub struct Publisher {
    sns: aws_sdk_sns::Client,
    topic_arn: String,
}

impl Publisher {
    /// Publishes to the topic named by `EVENTS_TOPIC_ARN`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(aws_sdk_sns::Client::new(sdk), config::required("EVENTS_TOPIC_ARN")?))
    }

    pub fn new(sns: aws_sdk_sns::Client, topic_arn: String) -> Self {
        Self { sns, topic_arn }
    }

    /// Publishes in order and returns the sequence numbers of the records that must come again. A subject's
    /// later events are held back once one of its events was not taken.
    pub async fn publish(&self, events: &[Outgoing]) -> BTreeSet<String> {
        let mut failed = BTreeSet::new();
        let mut stopped: HashSet<String> = HashSet::new();
        let mut rest = events;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch_len(rest));
            rest = later;
            let (held, batch): (Vec<&Outgoing>, Vec<&Outgoing>) =
                now.iter().partition(|event| stopped.contains(&event.event.subject));
            failed.extend(held.iter().map(|event| event.sequence_number.clone()));
            for event in self.publish_batch(&batch).await {
                stopped.insert(event.event.subject.clone());
                failed.insert(event.sequence_number.clone());
            }
        }
        failed
    }

    /// The events of the batch that the topic did not take.
    async fn publish_batch<'a>(&self, batch: &[&'a Outgoing]) -> Vec<&'a Outgoing> {
        if batch.is_empty() {
            return Vec::new();
        }
        let entries =
            match batch.iter().enumerate().map(|(i, event)| entry(i, event)).collect::<Result<Vec<_>, _>>() {
                Ok(entries) => entries,
                Err(error) => {
                    tracing::error!(error = chain(&error), "an event cannot be put into a batch");
                    return batch.to_vec();
                }
            };
        let sent = self
            .sns
            .publish_batch()
            .topic_arn(&self.topic_arn)
            .set_publish_batch_request_entries(Some(entries))
            .send()
            .await;
        match sent {
            Ok(answer) => {
                let failures = answer.failed();
                for failure in failures {
                    tracing::error!(code = failure.code(), "the topic did not take an event");
                }
                let ids: HashSet<&str> = failures.iter().map(|failure| failure.id()).collect();
                batch
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| ids.contains(i.to_string().as_str()))
                    .map(|(_, e)| *e)
                    .collect()
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "the topic cannot be reached");
                batch.to_vec()
            }
        }
    }
}

/// How many of the events fit into the next batch: at least one.
fn batch_len(events: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let fitting = events
        .iter()
        .take(BATCH_ENTRIES)
        .take_while(|event| {
            bytes += event.body.len();
            bytes <= BATCH_BYTES
        })
        .count();
    fitting.max(1)
}

fn entry(
    index: usize,
    outgoing: &Outgoing,
) -> Result<PublishBatchRequestEntry, aws_sdk_sns::error::BuildError> {
    let event = &outgoing.event;
    let attribute =
        |value: &str| MessageAttributeValue::builder().data_type("String").string_value(value).build();
    PublishBatchRequestEntry::builder()
        .id(index.to_string())
        .message(&outgoing.body)
        .message_group_id(&event.subject)
        .message_deduplication_id(event.event_id.as_str())
        .message_attributes("event_type", attribute(&event.event_type)?)
        .message_attributes("source", attribute(&event.source)?)
        .build()
}

/// Serves a table's stream until the process ends. `then` runs for each published event (the orders relay
/// starts the saga there); an error of it brings the record again.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run<F, Fut>(checks: Vec<Check>, publisher: Publisher, then: F) -> MainResult
where
    F: Fn(std::sync::Arc<StreamEvent>) -> Fut + Clone,
    Fut: Future<Output = BTreeSet<String>>,
{
    invoke::run(checks, move |payload, _| {
        let (publisher, then) = (publisher.clone(), then.clone());
        async move {
            let event: StreamEvent = serde_json::from_str(payload.get()).map_err(|error| Diagnostic {
                error_type: "MalformedStream".to_owned(),
                error_message: error.to_string(),
            })?;
            Ok(relay(&publisher, std::sync::Arc::new(event), then).await)
        }
    })
    .await
}

/// A relay that does nothing beside publishing.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run_publisher(checks: Vec<Check>, publisher: Publisher) -> MainResult {
    run(checks, publisher, |_| async { BTreeSet::new() }).await
}

async fn relay<F, Fut>(
    publisher: &Publisher,
    event: std::sync::Arc<StreamEvent>,
    then: F,
) -> StreamBatchResponse
where
    F: Fn(std::sync::Arc<StreamEvent>) -> Fut,
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
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(sequence: u64) -> String {
        json!({
            "event_id": format!("evt_{sequence:032x}"), "event_type": "user.registered", "event_version": 1,
            "occurred_at": "2026-11-20T12:00:00Z", "source": "users", "subject": "u", "sequence": sequence,
            "correlation_id": "c", "causation_id": "c", "data": {}, "metadata": {"user_id": null, "tenant_id": null},
        })
        .to_string()
    }

    fn image(outbox: &[String]) -> Value {
        let outbox: Vec<Value> = outbox.iter().map(|event| json!({"S": event})).collect();
        json!({
            "pk": {"S": "USER#1"}, "version": {"N": "2"}, "erased": {"NULL": true},
            "preferences": {"M": {"email": {"BOOL": true}}}, "outbox": {"L": outbox},
        })
    }

    fn record(name: &str, new: Option<Value>, old: Option<Value>) -> StreamRecord {
        let mut change = json!({"SequenceNumber": "7", "Keys": {"pk": {"S": "USER#1"}}, "StreamViewType": "NEW_AND_OLD_IMAGES"});
        for (name, image) in [("NewImage", new), ("OldImage", old)] {
            if let Some(image) = image {
                change[name] = image;
            }
        }
        let payload =
            json!({"Records": [{"eventName": name, "eventID": "x", "dynamodb": change}]}).to_string();
        serde_json::from_str::<StreamEvent>(&payload).unwrap().records.remove(0)
    }

    fn sequences(record: &StreamRecord) -> Vec<u64> {
        record.new_events().unwrap().iter().map(|outgoing| outgoing.event.sequence).collect()
    }

    #[test]
    fn an_items_first_write_brings_all_its_events_in_order() {
        let record = record("INSERT", Some(image(&[event(1), event(2)])), None);
        assert_eq!(sequences(&record), [1, 2]);
        let image = record.dynamodb.new_image.as_ref().unwrap();
        assert_eq!(image.string("pk").as_deref(), Some("USER#1"));
        assert_eq!((image.string("version"), image.string("nothing")), (None, None));
        assert_eq!((image.number("version"), image.number::<u8>("pk")), (Some(2_u32), None));
    }

    #[test]
    fn a_change_brings_what_the_item_did_not_hold_before() {
        assert_eq!(sequences(&record("MODIFY", Some(image(&[event(2)])), Some(image(&[event(1)])))), [2]);
        assert!(sequences(&record("MODIFY", Some(image(&[event(1)])), Some(image(&[event(1)])))).is_empty());
    }

    #[test]
    fn a_deletion_and_an_item_without_outbox_bring_nothing() {
        assert!(sequences(&record("REMOVE", None, Some(image(&[event(1)])))).is_empty());
        assert!(sequences(&record("INSERT", Some(json!({"pk": {"S": "EMAIL#x"}})), None)).is_empty());
    }

    #[test]
    fn an_outbox_entry_that_is_no_envelope_is_an_error() {
        assert!(record("INSERT", Some(image(&["{}".to_owned()])), None).new_events().is_err());
    }
}
