//! Shows dead letters and moves them back without losing any.
//!
//! SQS's own `StartMessageMoveTask` is not used: it cannot limit the number of messages, does not report
//! which of them failed again, and MiniStack does not support it.

use std::collections::HashSet;

use local_stack::Step;
use serde_json::{Map, Value, json};

use super::message::{self, REDRIVEN};
use super::queues::{DeadLetters, Source};
use crate::aws::{Aws, Service};
use crate::error::{Error, Result};

/// The visibility timeout while this process holds a message. A batch takes seconds; after a crash the
/// message is visible again after this time.
pub const HOLD_SECONDS: u32 = 60;
/// SQS's limit of messages in one call.
const BATCH: usize = 10;
/// With a wait time, a receive queries all of SQS's servers, so that an empty answer means an empty queue.
const WAIT_SECONDS: u32 = 1;
/// The bytes of one batch. SQS allows 1 MiB, and 256 KiB until August 2025; larger messages go alone.
const BATCH_BYTES: usize = 256 * 1024;
/// The attributes that a message may have.
const MOST_ATTRIBUTES: usize = 10;

/// The result of a redrive.
#[derive(Debug, Default)]
pub struct Tally {
    pub moved: usize,
    /// The part of them that had been redriven before.
    pub again: usize,
    /// Ids of messages that were moved, failed, and are here again.
    pub back: HashSet<String>,
    /// Why messages cannot be moved.
    pub left: Vec<String>,
}

/// Reads up to `max` messages and leaves them in the queue; of a FIFO queue, the first ten of each group.
///
/// # Errors
/// SQS refuses.
pub async fn look(aws: &Aws, queue: &DeadLetters, max: usize) -> Result<Vec<Value>> {
    let mut held: Vec<Value> = Vec::new();
    let looked = loop {
        let wanted = max.saturating_sub(held.len());
        if wanted == 0 {
            break Ok(());
        }
        match receive(aws, queue, wanted).await {
            Ok(messages) if messages.is_empty() => break Ok(()),
            Ok(messages) => held.extend(messages),
            Err(error) => break Err(error),
        }
    };
    release(aws, queue, &held).await?;
    looked?;
    // A standard queue may give a message twice.
    let mut seen = HashSet::new();
    held.retain(|message| seen.insert(id(message).to_owned()));
    Ok(held)
}

/// Moves up to `max` messages back, or all that were there at the beginning. Each is deleted after it was
/// sent, so a crash in between sends it twice, which consumers tolerate.
///
/// The tally counts what was done, also when it ends with an error.
pub async fn run(aws: &Aws, queue: &DeadLetters, max: Option<usize>, step: &Step) -> (Tally, Result<()>) {
    let mut redrive = Redrive {
        aws,
        queue,
        moved: HashSet::new(),
        sent: HashSet::new(),
        held: Vec::new(),
        tally: Tally::default(),
    };
    let limit = queue.visible.min(max.unwrap_or(usize::MAX));
    let ended = redrive.until(limit, step).await;
    // Release them early; if that fails, they become visible by themselves after a minute.
    let released = release(aws, queue, &redrive.held).await;
    (redrive.tally, ended.and(released))
}

struct Redrive<'a> {
    aws: &'a Aws,
    queue: &'a DeadLetters,
    /// The ids of moved messages. One that is received again was sent, and only has to be deleted.
    moved: HashSet<String>,
    /// By the ids that sending gave them: SQS moves a message to its dead-letter queue with the id that it has.
    sent: HashSet<String>,
    /// Received, and neither moved nor released yet: so they are not received again.
    held: Vec<Value>,
    tally: Tally,
}

impl Redrive<'_> {
    async fn until(&mut self, limit: usize, step: &Step) -> Result<()> {
        while self.tally.moved < limit {
            let messages = receive(self.aws, self.queue, limit - self.tally.moved).await?;
            if messages.is_empty() {
                break;
            }
            self.batch(messages).await?;
            step.part(self.tally.moved, limit);
            step.at(format!("{} of {limit}", self.tally.moved));
        }
        if limit > 0 {
            self.look_back().await?;
        }
        Ok(())
    }

    async fn batch(&mut self, messages: Vec<Value>) -> Result<()> {
        let mut done = Vec::new();
        let mut movable: Vec<(&Source, Value)> = Vec::new();
        for message in messages {
            if self.moved.contains(id(&message)) {
                done.push(message);
            } else if self.sent.contains(id(&message)) {
                self.tally.back.insert(id(&message).to_owned());
                self.held.push(message);
            } else {
                match destination(self.queue, &message) {
                    Ok(source) => movable.push((source, message)),
                    Err(reason) => {
                        self.tally.left.push(format!("{}: {reason}", id(&message)));
                        self.held.push(message);
                    }
                }
            }
        }
        let mut sent = Ok(());
        for (source, part) in parts(movable) {
            sent = self.send(source, &part, &mut done).await;
            if sent.is_err() {
                break;
            }
        }
        // Sent messages must be deleted, even when the rest could not be sent.
        self.delete(&done).await?;
        sent
    }

    /// Adds to `done` what was sent.
    async fn send(&mut self, source: &Source, part: &[Value], done: &mut Vec<Value>) -> Result<()> {
        let fifo = source.name.ends_with(".fifo");
        let entries: Vec<Value> =
            part.iter().enumerate().map(|(place, message)| entry(place, message, fifo)).collect();
        let input = json!({"QueueUrl": source.url, "Entries": entries});
        let answer = self.aws.call(Service::Sqs, "SendMessageBatch", input).await?;
        for taken in answer["Successful"].as_array().into_iter().flatten() {
            let place = taken["Id"].as_str().and_then(|place| place.parse::<usize>().ok());
            let Some(message) = place.and_then(|place| part.get(place)) else { continue };
            self.sent.insert(id(taken).to_owned());
            self.moved.insert(id(message).to_owned());
            self.tally.moved += 1;
            self.tally.again += usize::from(message::redriven(message) > 0);
            done.push(message.clone());
        }
        refusal(&answer).map_or(Ok(()), |reason| {
            Err(Error::Dlq(format!(
                "{} did not take a message: {reason}\nIt is still in {}, where it can be received again in {HOLD_SECONDS} \
                 s. Correct that and redrive again.",
                source.name, self.queue.name
            )))
        })
    }

    async fn delete(&self, messages: &[Value]) -> Result<()> {
        for part in messages.chunks(BATCH) {
            let input = json!({"QueueUrl": self.queue.url, "Entries": handles(part)});
            let answer = self.aws.call(Service::Sqs, "DeleteMessageBatch", input).await?;
            if let Some(reason) = refusal(&answer) {
                return Err(Error::Dlq(format!(
                    "a message was moved and could not be deleted from {}: {reason}\nRedriving again moves it once more, \
                     which consumers bear.",
                    self.queue.name
                )));
            }
        }
        Ok(())
    }

    /// Looks for messages that have failed again. Only fast failures are found here; others take the queue's
    /// retries.
    async fn look_back(&mut self) -> Result<()> {
        let messages = receive(self.aws, self.queue, BATCH).await?;
        for message in messages {
            if self.sent.contains(id(&message)) {
                self.tally.back.insert(id(&message).to_owned());
            }
            self.held.push(message);
        }
        Ok(())
    }
}

/// At most ten, held from others.
async fn receive(aws: &Aws, queue: &DeadLetters, wanted: usize) -> Result<Vec<Value>> {
    let input = json!({
        "QueueUrl": queue.url,
        "MaxNumberOfMessages": wanted.min(BATCH),
        "VisibilityTimeout": HOLD_SECONDS,
        "WaitTimeSeconds": WAIT_SECONDS,
        "MessageSystemAttributeNames": ["All"],
        "MessageAttributeNames": ["All"],
    });
    let mut answer = aws.call(Service::Sqs, "ReceiveMessage", input).await?;
    Ok(answer["Messages"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// Makes messages visible again. A message whose hold has expired is no error.
async fn release(aws: &Aws, queue: &DeadLetters, messages: &[Value]) -> Result<()> {
    for part in messages.chunks(BATCH) {
        let mut entries = handles(part);
        for entry in &mut entries {
            entry["VisibilityTimeout"] = json!(0);
        }
        let input = json!({"QueueUrl": queue.url, "Entries": entries});
        aws.call(Service::Sqs, "ChangeMessageVisibilityBatch", input).await?;
    }
    Ok(())
}

/// The queue that a message came from.
fn destination<'a>(queue: &'a DeadLetters, message: &Value) -> std::result::Result<&'a Source, String> {
    let attributes = message["MessageAttributes"].as_object();
    if let Some((name, _)) = attributes.into_iter().flatten().find(|(_, value)| is_binary(value)) {
        return Err(format!("its attribute {name} is binary, which would not arrive as it is"));
    }
    if let [only] = queue.sources.as_slice() {
        return Ok(only);
    }
    let from = message["Attributes"]["DeadLetterQueueSourceArn"].as_str();
    let source = queue.sources.iter().find(|source| Some(source.arn.as_str()) == from);
    source.ok_or_else(|| format!("it does not say which queue it came from ({})", queue.served()))
}

/// Whether the value is binary. The Python client returns its bytes as text, which cannot be sent on.
fn is_binary(attribute: &Value) -> bool {
    attribute["DataType"].as_str().is_some_and(|kind| kind.starts_with("Binary"))
}

/// In the order received, in parts that SQS takes at once and that go to one queue.
fn parts(messages: Vec<(&Source, Value)>) -> Vec<(&Source, Vec<Value>)> {
    let mut parts: Vec<(&Source, Vec<Value>, usize)> = Vec::new();
    for (source, message) in messages {
        // Attributes count as well; ours are a few names.
        let bytes = message["Body"].as_str().unwrap_or_default().len()
            + message["MessageAttributes"].to_string().len();
        match parts.last_mut() {
            Some((same, part, sum))
                if same.url == source.url && part.len() < BATCH && *sum + bytes <= BATCH_BYTES =>
            {
                part.push(message);
                *sum += bytes;
            }
            _ => parts.push((source, vec![message], bytes)),
        }
    }
    parts.into_iter().map(|(source, part, _)| (source, part)).collect()
}

/// The message in the form in which it is sent again.
fn entry(place: usize, message: &Value, fifo: bool) -> Value {
    let mut attributes: Map<String, Value> =
        message["MessageAttributes"].as_object().cloned().unwrap_or_default();
    if attributes.len() < MOST_ATTRIBUTES || attributes.contains_key(REDRIVEN) {
        let times = message::redriven(message) + 1;
        attributes
            .insert(REDRIVEN.to_owned(), json!({"DataType": "Number", "StringValue": times.to_string()}));
    }
    let mut entry = json!({
        "Id": place.to_string(), "MessageBody": message["Body"], "MessageAttributes": attributes,
    });
    if let Some(trace) = message["Attributes"]["AWSTraceHeader"].as_str() {
        entry["MessageSystemAttributes"] =
            json!({"AWSTraceHeader": {"DataType": "String", "StringValue": trace}});
    }
    if fifo {
        entry["MessageGroupId"] = message["Attributes"]["MessageGroupId"].clone();
        // Its own would be dropped for five minutes after it was first sent. This one is new at each redrive, since a
        // message that comes back has a new id, and the same when a crash repeats one.
        entry["MessageDeduplicationId"] = json!(format!("redrive-{}", id(message)));
    }
    entry
}

fn handles(messages: &[Value]) -> Vec<Value> {
    let entry = |(place, message): (usize, &Value)| json!({"Id": place.to_string(), "ReceiptHandle": message["ReceiptHandle"]});
    messages.iter().enumerate().map(entry).collect()
}

/// Why the first of a batch that was not done was not.
fn refusal(answer: &Value) -> Option<String> {
    let failed = answer["Failed"].as_array()?.first()?;
    Some(format!(
        "{} {}",
        failed["Code"].as_str().unwrap_or_default(),
        failed["Message"].as_str().unwrap_or_default()
    ))
}

fn id(message: &Value) -> &str {
    message["MessageId"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
