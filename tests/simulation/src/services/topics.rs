//! SNS: the topic of events, and that of what SES reports, with their subscriptions and filter policies.
//!
//! Sources: Amazon SNS Developer Guide, "Message deduplication for FIFO topics" (five minutes by deduplication id),
//! "Message filtering", "Raw message delivery", "FIFO topic message delivery" (a standard queue gets messages at least
//! once and in any order; a FIFO queue gets those of a group in their order, with their deduplication ids). Delivery from
//! the topic to a queue does not fail.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{form, queues::NewMessage};
use crate::{
    judge::table,
    network::{Reply, between},
    pattern::matches,
    templates::{Templates, fields},
    world::world,
};

/// What the ARN of the topic of events ends with.
const EVENTS: &str = "-events.fifo";
const DEDUPLICATION: Duration = Duration::from_mins(5);
/// What a delivery takes, in milliseconds.
const DELIVERY: std::ops::Range<u64> = 5..60;

struct Subscription {
    /// The ARNs of the topic and the queue.
    topic: String,
    queue: String,
    filter: Value,
    /// Whether the queue gets the message alone, and not the topic's own form of it.
    is_raw: bool,
}

/// An event that the topic took.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its message group.
    pub subject: String,
    pub event: Value,
    /// Whether its context had stored it by then.
    pub is_stored: bool,
}

#[derive(Default)]
pub struct Topics {
    subscriptions: Vec<Subscription>,
    /// By deduplication id.
    known: RefCell<BTreeMap<String, Instant>>,
    published: RefCell<Vec<Published>>,
    /// What is on its way, by queue and group.
    // Deliveries of one group take different times, and their order is that of the topic.
    under_way: RefCell<BTreeMap<(String, String), VecDeque<NewMessage>>>,
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
            topic: subscription.text("TopicArn"),
            queue: subscription.text("Endpoint"),
            filter: subscription.property("FilterPolicy"),
            is_raw: subscription.property("RawMessageDelivery") == true,
        };
        Self { subscriptions: of_queues.map(read).collect(), ..Self::default() }
    }

    pub fn handle(&self, operation: &str, body: &str) -> Reply {
        match operation {
            "PublishBatch" => self.publish_batch(body),
            "Publish" => world().mailbox.publish(body),
            other => panic!("the simulation's SNS has no {other}"),
        }
    }

    fn publish_batch(&self, body: &str) -> Reply {
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
            self.publish(&entry.group, &entry.deduplication, &entry.message, &entry.attributes());
        }
        Reply::ok(format!(
            "<PublishBatchResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishBatchResult>\
             <Failed/><Successful>{successful}</Successful></PublishBatchResult></PublishBatchResponse>"
        ))
    }

    /// Publishes to the queues whose filters let it through.
    pub fn publish(&self, subject: &str, deduplication: &str, message: &str, attributes: &Value) {
        let event: Value = serde_json::from_str(message).expect("an event is JSON");
        let [source, id] = ["source", "event_id"].map(|field| event[field].as_str().unwrap_or_default());
        let is_stored = world().tables.has_stored(&table(source), id);
        self.published.borrow_mut().push(Published { subject: subject.to_owned(), event, is_stored });
        let sent: Value = fields(attributes)
            .into_iter()
            .map(|(name, value)| (name, json!({"stringValue": value, "dataType": "String"})))
            .collect();
        let of_events = self.subscriptions.iter().filter(|subscription| subscription.topic.ends_with(EVENTS));
        for subscription in of_events {
            if !matches(&subscription.filter, Some(attributes)) {
                continue;
            }
            let key = (subscription.queue.clone(), subject.to_owned());
            self.under_way.borrow_mut().entry(key.clone()).or_default().push_back(NewMessage {
                body: message.to_owned(),
                attributes: sent.clone(),
                group: subject.to_owned(),
                deduplication: deduplication.to_owned(),
                ..NewMessage::default()
            });
            tokio::task::spawn_local(async move {
                let _pending = world().pending();
                sleep(between(DELIVERY)).await;
                world().topics.deliver(&key);
            });
        }
    }

    /// Publishes a message of AWS's own to a topic that is not that of the events.
    pub fn notify(&self, topic: &str, message: &str) {
        for subscription in self.subscriptions.iter().filter(|subscription| subscription.topic == topic) {
            let form = || json!({"Type": "Notification", "TopicArn": topic, "Message": message}).to_string();
            let body = if subscription.is_raw { message.to_owned() } else { form() };
            world().queues.send(&subscription.queue, NewMessage { body, ..NewMessage::default() });
        }
    }

    /// Delivers the first message of a group that is on its way to a queue.
    fn deliver(&self, key: &(String, String)) {
        let next = self.under_way.borrow_mut().get_mut(key).and_then(VecDeque::pop_front);
        world().queues.send(&key.0, next.expect("one for each delivery"));
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
