//! SNS: the topic of events, and its subscriptions with their filter policies.
//!
//! Sources: Amazon SNS Developer Guide, "Message deduplication for FIFO topics" (five minutes by deduplication id),
//! "Message filtering", "Raw message delivery", "FIFO topic message delivery" (a standard queue gets messages at least
//! once and in any order). Delivery from the topic to a queue does not fail.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::form;
use crate::{
    network::{Reply, between},
    pattern::matches,
    templates::{Templates, fields},
    world::world,
};

const DEDUPLICATION: Duration = Duration::from_mins(5);
/// What a delivery takes, in milliseconds.
const DELIVERY: std::ops::Range<u64> = 5..60;

struct Subscription {
    /// The ARN of the queue.
    queue: String,
    filter: Value,
}

/// An event that the topic took.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its message group.
    pub subject: String,
    pub event: Value,
}

#[derive(Default)]
pub struct Topics {
    subscriptions: Vec<Subscription>,
    /// By deduplication id.
    known: RefCell<BTreeMap<String, Instant>>,
    published: RefCell<Vec<Published>>,
}

#[derive(Default)]
struct Entry {
    id: String,
    message: String,
    group: String,
    deduplication: String,
    /// By number: name and value.
    attributes: BTreeMap<String, (String, String)>,
}

impl Topics {
    pub fn new(templates: &Templates) -> Self {
        let subscriptions = templates.of_type("AWS::SNS::Subscription");
        let of_queues = subscriptions.iter().filter(|subscription| subscription.text("Protocol") == "sqs");
        let read = |subscription: &crate::templates::Resource<'_>| Subscription {
            queue: subscription.text("Endpoint"),
            filter: subscription.property("FilterPolicy"),
        };
        Self { subscriptions: of_queues.map(read).collect(), ..Self::default() }
    }

    pub fn handle(&self, operation: &str, body: &str) -> Reply {
        assert_eq!(operation, "PublishBatch", "the simulation's SNS has no {operation}");
        let mut successful = String::new();
        for entry in entries(body).into_values() {
            successful += &format!(
                "<member><Id>{}</Id><MessageId>{}</MessageId><SequenceNumber>1</SequenceNumber></member>",
                entry.id, entry.deduplication
            );
            let now = Instant::now();
            let mut known = self.known.borrow_mut();
            if known.get(&entry.deduplication).is_some_and(|at| now - *at < DEDUPLICATION) {
                continue;
            }
            known.insert(entry.deduplication.clone(), now);
            drop(known);
            self.publish(&entry.group, &entry.message, &entry.attributes());
        }
        Reply::ok(format!(
            "<PublishBatchResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishBatchResult>\
             <Failed/><Successful>{successful}</Successful></PublishBatchResult></PublishBatchResponse>"
        ))
    }

    /// Publishes to the queues whose filters let it through.
    pub fn publish(&self, subject: &str, message: &str, attributes: &Value) {
        let event = serde_json::from_str(message).expect("an event is JSON");
        self.published.borrow_mut().push(Published { subject: subject.to_owned(), event });
        for subscription in &self.subscriptions {
            if matches(&subscription.filter, Some(attributes)) {
                let (queue, message) = (subscription.queue.clone(), message.to_owned());
                let attributes = fields(attributes).into_iter();
                let attributes: Value = attributes
                    .map(|(name, value)| (name, json!({"stringValue": value, "dataType": "String"})))
                    .collect();
                tokio::task::spawn_local(async move {
                    let _pending = world().pending();
                    sleep(between(DELIVERY)).await;
                    world().queues.send(&queue, message, attributes, Duration::ZERO);
                });
            }
        }
    }

    /// All events in the order in which the topic took them.
    pub fn published(&self) -> Vec<Published> {
        self.published.borrow().clone()
    }
}

impl Entry {
    fn attributes(&self) -> Value {
        self.attributes.values().map(|(name, value)| (name.clone(), json!(value))).collect()
    }
}

/// The entries of a request by their numbers (API reference, "PublishBatch").
fn entries(body: &str) -> BTreeMap<u32, Entry> {
    let mut entries: BTreeMap<u32, Entry> = BTreeMap::new();
    for (name, value) in form(body) {
        let Some(rest) = name.strip_prefix("PublishBatchRequestEntries.member.") else { continue };
        let (number, field) = rest.split_once('.').expect("a number and a field");
        let entry = entries.entry(number.parse().expect("a number")).or_default();
        match field {
            "Id" => entry.id = value,
            "Message" => entry.message = value,
            "MessageGroupId" => entry.group = value,
            "MessageDeduplicationId" => entry.deduplication = value,
            other => {
                let Some(rest) = other.strip_prefix("MessageAttributes.entry.") else { continue };
                let (number, field) = rest.split_once('.').expect("a number and a field");
                let attribute = entry.attributes.entry(number.to_owned()).or_default();
                match field {
                    "Name" => attribute.0 = value,
                    "Value.StringValue" => attribute.1 = value,
                    _ => {}
                }
            }
        }
    }
    entries
}
