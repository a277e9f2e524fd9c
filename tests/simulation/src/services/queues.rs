//! SQS: standard queues and FIFO queues.
//!
//! Sources: Amazon SQS Developer Guide, "Amazon SQS visibility timeout", "Amazon SQS delay queues" and message timers,
//! "Using dead-letter queues" (a message that was received `maxReceiveCount` times goes there instead of being received
//! again), "Message retention" (a dead letter keeps the age of its message). A batch of a standard queue takes any of the
//! messages that are visible.
//!
//! Of a FIFO queue ("FIFO queue delivery logic", "Exactly-once processing in Amazon SQS"): the messages of a group are
//! received in their order; none of a group is received while one of it is in flight; a message with a deduplication id
//! that the queue had within five minutes is taken and not delivered; a receipt is good until its visibility timeout.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::error;
use crate::{
    network::Reply,
    process::next_random,
    templates::{ACCOUNT, REGION, Templates, fields},
};

/// For how long a FIFO queue knows a deduplication id.
const DEDUPLICATION: Duration = Duration::from_mins(5);
/// How long a queue keeps a message by default.
const RETENTION: Duration = Duration::from_hours(96);

/// A queue as its template describes it.
struct Queue {
    visibility: Duration,
    retention: Duration,
    is_fifo: bool,
    /// The ARN of the dead-letter queue, and how often a message is received before it goes there.
    dead_letters: Option<(String, u64)>,
    /// By id, in the order in which they were sent.
    messages: RefCell<BTreeMap<String, Message>>,
    /// When the queue had a deduplication id, by group and id.
    known: RefCell<BTreeMap<(String, String), Instant>>,
    changed: Notify,
}

/// What is sent to a queue.
#[derive(Debug, Clone, Default)]
pub struct NewMessage {
    pub body: String,
    /// As Lambda passes them to a function.
    pub attributes: Value,
    pub delay: Duration,
    /// Of a FIFO queue.
    pub group: String,
    /// Of a FIFO queue.
    pub deduplication: String,
}

#[derive(Debug, Clone)]
struct Message {
    new: NewMessage,
    visible_at: Instant,
    received: u64,
    sent_at: Timestamp,
}

impl Message {
    /// Whether it was received, and may still be deleted by its receipt.
    fn is_in_flight(&self, now: Instant) -> bool {
        self.received > 0 && self.visible_at > now
    }
}

#[derive(Default)]
pub struct Queues {
    by_arn: BTreeMap<String, Queue>,
    sent: Cell<u64>,
    redrives: Cell<usize>,
}

impl Queues {
    pub fn new(templates: &Templates) -> Self {
        let mut by_arn = BTreeMap::new();
        for queue in templates.of_type("AWS::SQS::Queue") {
            let redrive = queue.property("RedrivePolicy");
            let dead_letters =
                redrive["deadLetterTargetArn"].as_str().zip(redrive["maxReceiveCount"].as_u64());
            let read = Queue {
                visibility: Duration::from_secs(queue.number("VisibilityTimeout").unwrap_or(30)),
                retention: queue.number("MessageRetentionPeriod").map_or(RETENTION, Duration::from_secs),
                is_fifo: queue.property("FifoQueue") == true,
                dead_letters: dead_letters.map(|(queue, receives)| (queue.to_owned(), receives)),
                messages: RefCell::default(),
                known: RefCell::default(),
                changed: Notify::new(),
            };
            by_arn.insert(arn(&queue.text("QueueName")), read);
        }
        Self { by_arn, ..Self::default() }
    }

    pub fn handle(&self, operation: &str, request: &Value) -> Reply {
        let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
        let queue = arn(text("QueueUrl").rsplit('/').next().unwrap_or_default());
        if !self.by_arn.contains_key(&queue) {
            return error("com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.");
        }
        match operation {
            "SendMessage" => {
                let new = NewMessage {
                    body: text("MessageBody"),
                    attributes: attributes(&request["MessageAttributes"]),
                    delay: Duration::from_secs(request["DelaySeconds"].as_u64().unwrap_or_default()),
                    group: text("MessageGroupId"),
                    deduplication: text("MessageDeduplicationId"),
                };
                Reply::ok(json!({"MessageId": self.send(&queue, new)}))
            }
            "ChangeMessageVisibility" => {
                let visible = Duration::from_secs(request["VisibilityTimeout"].as_u64().unwrap_or_default());
                self.hide(&queue, &text("ReceiptHandle"), visible)
            }
            "GetQueueAttributes" => Reply::ok(json!({"Attributes": {}})),
            other => panic!("the simulation's SQS has no {other}"),
        }
    }

    /// Puts a message into a queue, and returns its id.
    pub fn send(&self, arn: &str, new: NewMessage) -> String {
        let queue = self.queue(arn);
        let id = self.next_id();
        if queue.is_fifo && queue.has_had(&new) {
            return id;
        }
        let visible_at = Instant::now() + new.delay;
        queue.put(&id, Message { new, visible_at, received: 0, sent_at: Timestamp::now() });
        id
    }

    fn next_id(&self) -> String {
        let sent = self.sent.get() + 1;
        self.sent.set(sent);
        format!("message-{sent:06}")
    }

    /// Changes when a received message is visible again.
    fn hide(&self, queue: &str, receipt: &str, visible: Duration) -> Reply {
        let (id, received) = read_receipt(receipt);
        let queue = self.queue(queue);
        let now = Instant::now();
        let mut messages = queue.messages.borrow_mut();
        let message = messages.get_mut(id).filter(|message| message.received == received);
        let Some(message) = message.filter(|message| message.is_in_flight(now)) else {
            return error("com.amazonaws.sqs#MessageNotInflight", "The message is not in flight.");
        };
        message.visible_at = now + visible;
        queue.changed.notify_waiters();
        Reply::ok("{}")
    }

    /// Waits until a message can be received.
    pub async fn wait(&self, queue: &str) {
        let queue = self.queue(queue);
        loop {
            match queue.next(Instant::now()) {
                Some(next) if next <= Instant::now() => return,
                Some(next) => {
                    tokio::select! {
                        biased;
                        () = queue.changed.notified() => {}
                        () = sleep_until(next) => {}
                    }
                }
                None => queue.changed.notified().await,
            }
        }
    }

    /// Receives at most this number of messages, as Lambda passes them to a function (Lambda Developer Guide, "Using Lambda
    /// with Amazon SQS"), and hides them.
    pub fn receive(&self, arn: &str, most: usize) -> Vec<Value> {
        let queue = self.queue(arn);
        let now = Instant::now();
        queue.expire();
        let mut records = Vec::new();
        let mut group = None;
        while records.len() < most {
            let Some(id) = queue.choose(now, &mut group) else { break };
            let mut messages = queue.messages.borrow_mut();
            let message = messages.get_mut(&id).expect("it is visible");
            if let Some((dead_letters, most)) = &queue.dead_letters
                && message.received >= *most
            {
                let message = messages.remove(&id).expect("it is visible");
                drop(messages);
                self.move_to(dead_letters, message);
                continue;
            }
            message.received += 1;
            message.visible_at = now + queue.visibility;
            records.push(message.record(&id, arn, queue.is_fifo));
        }
        records
    }

    /// Moves a message, which keeps the time when it was sent.
    fn move_to(&self, arn: &str, message: Message) {
        let now = Instant::now();
        self.queue(arn).put(&self.next_id(), Message { visible_at: now, received: 0, ..message });
    }

    /// Moves all dead letters back to the queues that they come from (Amazon SQS API reference,
    /// "StartMessageMoveTask"), and returns how many there were.
    pub fn redrive(&self) -> usize {
        let mut moved = 0;
        for (arn, queue) in &self.by_arn {
            let Some((dead_letters, _)) = &queue.dead_letters else { continue };
            let letters = std::mem::take(&mut *self.queue(dead_letters).messages.borrow_mut());
            moved += letters.len();
            for message in letters.into_values() {
                self.move_to(arn, Message { sent_at: Timestamp::now(), ..message });
            }
        }
        self.redrives.set(self.redrives.get() + usize::from(moved > 0));
        moved
    }

    /// How often dead letters were moved back.
    pub fn redrives(&self) -> usize {
        self.redrives.get()
    }

    /// Deletes a message that was received.
    pub fn delete(&self, queue: &str, receipt: &str) {
        let (id, received) = read_receipt(receipt);
        let queue = self.queue(queue);
        let now = Instant::now();
        let mut messages = queue.messages.borrow_mut();
        let is_good = |message: &Message| message.received == received && message.is_in_flight(now);
        if !queue.is_fifo || messages.get(id).is_some_and(is_good) {
            messages.remove(id);
            queue.changed.notify_waiters();
        }
    }

    /// The bodies of the messages in each queue that has any.
    pub fn messages(&self) -> BTreeMap<&str, Vec<String>> {
        let of = |queue: &Queue| {
            queue.expire();
            queue.messages.borrow().values().map(|message| message.new.body.clone()).collect()
        };
        let all = self.by_arn.iter().map(|(arn, queue)| (arn.as_str(), of(queue)));
        all.filter(|(_, messages): &(_, Vec<String>)| !messages.is_empty()).collect()
    }

    fn queue(&self, arn: &str) -> &Queue {
        self.by_arn.get(arn).unwrap_or_else(|| panic!("there is no queue {arn}"))
    }
}

impl Queue {
    fn put(&self, id: &str, message: Message) {
        self.messages.borrow_mut().insert(id.to_owned(), message);
        self.changed.notify_waiters();
    }

    /// Whether a message is a repeat of one that the queue has had.
    // The queues here have `DeduplicationScope: messageGroup`.
    fn has_had(&self, new: &NewMessage) -> bool {
        let now = Instant::now();
        let key = (new.group.clone(), new.deduplication.clone());
        let mut known = self.known.borrow_mut();
        if known.get(&key).is_some_and(|at| now - *at < DEDUPLICATION) {
            return true;
        }
        known.insert(key, now);
        false
    }

    /// Deletes what is older than the queue keeps it.
    fn expire(&self) {
        let now = Timestamp::now();
        let kept = |message: &Message| now.duration_since(message.sent_at).unsigned_abs() < self.retention;
        self.messages.borrow_mut().retain(|_, message| kept(message));
    }

    /// When the next message can be received.
    fn next(&self, now: Instant) -> Option<Instant> {
        let messages = self.messages.borrow();
        if !self.is_fifo {
            return messages.values().map(|message| message.visible_at).min();
        }
        // A group waits for all of its messages that are in flight.
        let mut groups: BTreeMap<&str, Instant> = BTreeMap::new();
        for message in messages.values() {
            let from = groups.entry(&message.new.group).or_insert(now);
            *from = message.visible_at.max(*from);
        }
        groups.into_values().min()
    }

    /// The message that is received next: any that is visible, or the next one of a group. A FIFO queue goes on with the
    /// group of the message before.
    fn choose(&self, now: Instant, group: &mut Option<String>) -> Option<String> {
        let messages = self.messages.borrow();
        if !self.is_fifo {
            let visible: Vec<&String> =
                messages.iter().filter(|(_, m)| m.visible_at <= now).map(|(id, _)| id).collect();
            return any(&visible).map(|id| (*id).clone());
        }
        let visible_of = |group: &str| {
            let mut of_it = messages.iter().filter(|(_, message)| message.new.group == group);
            of_it.find(|(_, message)| message.visible_at <= now).map(|(id, _)| id.clone())
        };
        if let Some(id) = group.as_deref().and_then(visible_of) {
            return Some(id);
        }
        let of = |message: &Message| message.new.group.clone();
        let blocked: BTreeSet<String> = messages.values().filter(|m| m.is_in_flight(now)).map(of).collect();
        let free: BTreeSet<String> =
            messages.values().map(of).filter(|group| !blocked.contains(group)).collect();
        *group = any(&free.into_iter().collect::<Vec<_>>()).cloned();
        group.as_deref().and_then(visible_of)
    }
}

impl Message {
    fn record(&self, id: &str, arn: &str, is_fifo: bool) -> Value {
        let mut record = json!({
            "messageId": id,
            "receiptHandle": format!("{id}/{}", self.received),
            "body": self.new.body,
            "attributes": {
                "ApproximateReceiveCount": self.received.to_string(),
                "SentTimestamp": self.sent_at.as_millisecond().to_string(),
                "SenderId": "simulated",
                "ApproximateFirstReceiveTimestamp": Timestamp::now().as_millisecond().to_string(),
            },
            "messageAttributes": self.new.attributes,
            "eventSource": "aws:sqs",
            "eventSourceARN": arn,
            "awsRegion": REGION,
        });
        if is_fifo {
            record["attributes"]["MessageGroupId"] = json!(self.new.group);
            record["attributes"]["MessageDeduplicationId"] = json!(self.new.deduplication);
            record["attributes"]["SequenceNumber"] = json!(id.rsplit('-').next());
        }
        record
    }
}

/// Whether a queue holds the dead letters of another one.
pub fn has_dead_letters(arn: &str) -> bool {
    arn.trim_end_matches(".fifo").ends_with("-dlq")
}

/// Any of these.
fn any<T>(of: &[T]) -> Option<&T> {
    let place = next_random().checked_rem(of.len() as u64)?;
    of.get(usize::try_from(place).unwrap_or_default())
}

/// The message that a receipt is for, and which of its receives.
fn read_receipt(receipt: &str) -> (&str, u64) {
    let (id, received) = receipt.split_once('/').unwrap_or((receipt, ""));
    (id, received.parse().unwrap_or_default())
}

/// The attributes of a request as Lambda passes them to a function.
fn attributes(sent: &Value) -> Value {
    let read = |attribute: &Value| json!({"stringValue": attribute["StringValue"], "dataType": attribute["DataType"]});
    fields(sent).iter().map(|(name, attribute)| (name.clone(), read(attribute))).collect()
}

fn arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(is_fifo: bool) -> Queues {
        let queue = |dead_letters| Queue {
            visibility: Duration::from_secs(30),
            retention: RETENTION,
            is_fifo,
            dead_letters,
            messages: RefCell::default(),
            known: RefCell::default(),
            changed: Notify::new(),
        };
        let by_arn =
            [("q".to_owned(), queue(Some(("d".to_owned(), 2)))), ("d".to_owned(), queue(None))].into();
        Queues { by_arn, ..Queues::default() }
    }

    /// Lets time pass: everything was longer ago.
    fn pass(queues: &Queues, time: Duration) {
        for queue in queues.by_arn.values() {
            queue.messages.borrow_mut().values_mut().for_each(|message| message.visible_at -= time);
            queue.known.borrow_mut().values_mut().for_each(|at| *at -= time);
        }
    }

    fn send(queues: &Queues, group: &str, body: &str, deduplication: &str) {
        let (group, body) = (group.to_owned(), body.to_owned());
        let new =
            NewMessage { group, body, deduplication: deduplication.to_owned(), ..NewMessage::default() };
        queues.send("q", new);
    }

    fn receive(queues: &Queues, most: usize) -> Vec<(String, String)> {
        let records = queues.receive("q", most);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        records.iter().map(|record| (text(&record["body"]), text(&record["receiptHandle"]))).collect()
    }

    fn bodies(received: &[(String, String)]) -> Vec<&str> {
        received.iter().map(|(body, _)| body.as_str()).collect()
    }

    #[test]
    fn a_message_in_flight_blocks_its_group_and_no_other() {
        let queues = queues(true);
        for body in ["a1", "a2", "a3"] {
            send(&queues, "a", body, body);
        }
        let first = receive(&queues, 2);
        assert_eq!(bodies(&first), ["a1", "a2"]);
        assert!(receive(&queues, 10).is_empty());
        send(&queues, "b", "b1", "b1");
        assert_eq!(bodies(&receive(&queues, 10)), ["b1"]);
        queues.delete("q", &first[0].1);
        assert!(receive(&queues, 10).is_empty(), "a2 is in flight");
        pass(&queues, Duration::from_secs(31));
        let again = receive(&queues, 10);
        assert_eq!(again.iter().filter(|(body, _)| body.starts_with('a')).count(), 2);
        let of_a: Vec<&str> = bodies(&again).into_iter().filter(|body| body.starts_with('a')).collect();
        assert_eq!(of_a, ["a2", "a3"]);
    }

    #[test]
    fn a_repeat_within_five_minutes_is_not_delivered_again() {
        let queues = queues(true);
        send(&queues, "a", "a1", "same");
        send(&queues, "a", "a2", "same");
        send(&queues, "b", "b1", "same");
        assert_eq!(bodies(&receive(&queues, 10)).len(), 2, "the ids are those of a group");
        pass(&queues, DEDUPLICATION);
        send(&queues, "c", "c1", "same");
        send(&queues, "a", "a3", "same");
        assert!(queues.messages()["q"].contains(&"a3".to_owned()));
    }

    #[test]
    fn a_receipt_of_a_fifo_queue_is_good_until_its_message_is_visible_again() {
        let queues = queues(true);
        send(&queues, "a", "a1", "1");
        let first = receive(&queues, 1);
        pass(&queues, Duration::from_secs(31));
        queues.delete("q", &first[0].1);
        let again = receive(&queues, 1);
        assert_eq!(bodies(&again), ["a1"]);
        queues.delete("q", &again[0].1);
        assert!(queues.messages().is_empty());
    }

    #[test]
    fn a_failing_message_goes_to_the_dead_letters_and_its_group_goes_on() {
        let queues = queues(true);
        send(&queues, "a", "a1", "1");
        send(&queues, "a", "a2", "2");
        for _ in 0..2 {
            assert_eq!(bodies(&receive(&queues, 1)), ["a1"]);
            pass(&queues, Duration::from_secs(31));
        }
        assert_eq!(bodies(&receive(&queues, 1)), ["a2"]);
        assert_eq!(queues.messages()["d"], ["a1"]);
    }

    #[test]
    fn a_retry_that_is_delayed_comes_after_that_time() {
        let queues = queues(false);
        send(&queues, "", "one", "");
        let first = receive(&queues, 1);
        assert_eq!(queues.hide("q", &first[0].1, Duration::from_secs(2)).status, 200);
        pass(&queues, Duration::from_secs(2));
        assert_eq!(bodies(&receive(&queues, 1)), ["one"]);
        assert_eq!(queues.hide("q", &first[0].1, Duration::from_secs(2)).status, 400, "an old receipt");
    }
}
