//! SQS: standard queues.
//!
//! Sources: Amazon SQS Developer Guide, "Amazon SQS visibility timeout", "Amazon SQS delay queues" and message timers,
//! "Using dead-letter queues" (a message that was received `maxReceiveCount` times goes there instead of being received
//! again). A batch takes any of the messages that are visible. Messages do not expire.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
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
    templates::{ACCOUNT, REGION, Templates},
};

/// A queue as its template describes it.
struct Queue {
    visibility: Duration,
    /// The ARN of the dead-letter queue, and how often a message is received before it goes there.
    dead_letters: Option<(String, u64)>,
    /// By id.
    messages: RefCell<BTreeMap<String, Message>>,
    changed: Notify,
}

#[derive(Debug, Clone)]
struct Message {
    body: String,
    attributes: Value,
    visible_at: Instant,
    received: u64,
    sent_at: Timestamp,
}

#[derive(Default)]
pub struct Queues {
    by_arn: BTreeMap<String, Queue>,
    sent: Cell<u64>,
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
                dead_letters: dead_letters.map(|(queue, receives)| (queue.to_owned(), receives)),
                messages: RefCell::default(),
                changed: Notify::new(),
            };
            by_arn.insert(arn(&queue.text("QueueName")), read);
        }
        Self { by_arn, ..Self::default() }
    }

    pub fn handle(&self, operation: &str, request: &Value) -> Reply {
        let url = request["QueueUrl"].as_str().unwrap_or_default();
        let queue = arn(url.rsplit('/').next().unwrap_or_default());
        if !self.by_arn.contains_key(&queue) {
            return error("com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.");
        }
        match operation {
            "SendMessage" => {
                let body = request["MessageBody"].as_str().unwrap_or_default().to_owned();
                let delay = Duration::from_secs(request["DelaySeconds"].as_u64().unwrap_or_default());
                let id = self.send(&queue, body, json!({}), delay);
                Reply::ok(json!({"MessageId": id}))
            }
            other => panic!("the simulation's SQS has no {other}"),
        }
    }

    /// Puts a message into a queue, and returns its id.
    pub fn send(&self, queue: &str, body: String, attributes: Value, delay: Duration) -> String {
        let queue = self.queue(queue);
        let sent = self.sent.get() + 1;
        self.sent.set(sent);
        let id = format!("message-{sent:06}");
        let visible_at = Instant::now() + delay;
        let message = Message { body, attributes, visible_at, received: 0, sent_at: Timestamp::now() };
        queue.messages.borrow_mut().insert(id.clone(), message);
        queue.changed.notify_waiters();
        id
    }

    /// Waits until a message is visible.
    pub async fn wait(&self, queue: &str) {
        let queue = self.queue(queue);
        loop {
            let next = queue.messages.borrow().values().map(|message| message.visible_at).min();
            match next {
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
        let mut records = Vec::new();
        while records.len() < most {
            let visible: Vec<String> = {
                let messages = queue.messages.borrow();
                messages.iter().filter(|(_, m)| m.visible_at <= now).map(|(id, _)| id.clone()).collect()
            };
            if visible.is_empty() {
                break;
            }
            let any = usize::try_from(next_random() % visible.len() as u64).unwrap_or_default();
            let id = &visible[any];
            let mut messages = queue.messages.borrow_mut();
            let message = messages.get_mut(id).expect("it is visible");
            if let Some((dead_letters, most)) = &queue.dead_letters
                && message.received >= *most
            {
                let Message { body, attributes, .. } = messages.remove(id).expect("it is visible");
                drop(messages);
                self.send(dead_letters, body, attributes, Duration::ZERO);
                continue;
            }
            message.received += 1;
            message.visible_at = now + queue.visibility;
            records.push(json!({
                "messageId": id,
                "receiptHandle": format!("{id}-{}", message.received),
                "body": message.body,
                "attributes": {
                    "ApproximateReceiveCount": message.received.to_string(),
                    "SentTimestamp": message.sent_at.as_millisecond().to_string(),
                    "SenderId": "simulated",
                    "ApproximateFirstReceiveTimestamp": Timestamp::now().as_millisecond().to_string(),
                },
                "messageAttributes": message.attributes,
                "eventSource": "aws:sqs",
                "eventSourceARN": arn,
                "awsRegion": REGION,
            }));
        }
        records
    }

    /// Deletes a message.
    pub fn delete(&self, queue: &str, id: &str) {
        self.queue(queue).messages.borrow_mut().remove(id);
    }

    /// The bodies of the messages in each queue that has any.
    pub fn messages(&self) -> BTreeMap<&str, Vec<String>> {
        let of =
            |queue: &Queue| queue.messages.borrow().values().map(|message| message.body.clone()).collect();
        let all = self.by_arn.iter().map(|(arn, queue)| (arn.as_str(), of(queue)));
        all.filter(|(_, messages): &(_, Vec<String>)| !messages.is_empty()).collect()
    }

    fn queue(&self, arn: &str) -> &Queue {
        self.by_arn.get(arn).unwrap_or_else(|| panic!("there is no queue {arn}"))
    }
}

fn arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}
