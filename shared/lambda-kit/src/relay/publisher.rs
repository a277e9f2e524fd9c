//! Publishes events to the topic, in batches.

use std::{collections::HashSet, sync::Arc};

use aws_sdk_sns::types::{BatchResultErrorEntry, MessageAttributeValue, PublishBatchRequestEntry};
use aws_types::SdkConfig;

use super::outbox::{Handled, Outgoing, RelayError};
use crate::{
    config::{self, ConfigError},
    error::error_chain,
    stream::StreamEvent,
    trace::{Running, Span, TRACEPARENT},
};

/// SNS takes at most 10 messages and 262,144 bytes a batch (PublishBatch, API reference).
const BATCH_ENTRIES: usize = 10;
const BATCH_BYTES: usize = 262_144;
/// More bytes than an entry's identifiers and attributes take.
// They count with its body: 128 characters each for its group and deduplication id, and its attributes.
const ENTRY_BYTES: usize = 1024;

/// Publishes to the FIFO topic `events`.
#[derive(Debug, Clone)]
pub struct Publisher {
    sns: aws_sdk_sns::Client,
    topic_arn: String,
    run: Option<String>,
}

impl Publisher {
    /// Publishes to the topic named by `EVENTS_TOPIC_ARN`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(aws_sdk_sns::Client::new(sdk), config::required("EVENTS_TOPIC_ARN")?))
    }

    /// Publishes to the topic of this ARN.
    pub fn new(sns: aws_sdk_sns::Client, topic_arn: String) -> Self {
        Self { sns, topic_arn, run: None }
    }

    /// A publisher for republishing: the topic's deduplication ignores earlier events, but not those of the
    /// same run.
    pub(super) fn again(&self, run: &str) -> Self {
        Self { run: Some(run.to_owned()), ..self.clone() }
    }

    /// Publishes events, those of a subject in their order, and returns the result for each origin.
    ///
    /// Once an event of a subject fails, the later ones wait. Once a call fails, all that is left waits.
    pub async fn publish(&self, events: &[Outgoing]) -> Handled {
        let mut handled = Handled::default();
        let mut waiting: Vec<&Outgoing> = Vec::new();
        for event in events {
            if entry_bytes(event) <= BATCH_BYTES {
                waiting.push(event);
            } else {
                tracing::error!(event_id = %event.event.event_id, "an event is larger than the topic takes");
                handled.unprocessable.insert(event.origin.clone());
            }
        }
        while !waiting.is_empty() {
            // A batch has one event of each subject, because SNS refuses entry by entry: it could take a
            // subject's second event without the first.
            let (batch, later) = next_batch(waiting);
            waiting = later;
            let refused = match self.publish_batch(&batch).await {
                Ok(refused) => refused,
                Err(error) => {
                    tracing::error!(
                        error = error_chain(&error),
                        "events are not published, and are tried again"
                    );
                    // All that is left fails, too: a topic that throttles would refuse it as well.
                    handled.failed.extend(batch.iter().chain(&waiting).map(|event| event.origin.clone()));
                    return handled;
                }
            };
            let mut stopped: HashSet<&str> = HashSet::new();
            for (event, is_final) in refused {
                if is_final {
                    handled.unprocessable.insert(event.origin.clone());
                } else {
                    handled.failed.insert(event.origin.clone());
                    stopped.insert(&event.event.subject);
                }
            }
            let (held, free): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|event| stopped.contains(event.event.subject.as_str()));
            handled.failed.extend(held.into_iter().map(|event| event.origin.clone()));
            waiting = free;
        }
        handled
    }

    /// Publishes the new events of a batch while `then` runs on it, and returns the result for each record.
    pub(super) async fn process<F, Fut>(&self, event: Arc<StreamEvent>, then: F) -> Handled
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
                    tracing::error!(sequence_number, error = error_chain(&error), "an outbox cannot be read");
                    handled.unprocessable.insert(sequence_number.clone());
                }
            }
        }
        let (published, followed) = futures::join!(self.publish(&outgoing), then(event));
        handled.extend(published);
        handled.extend(followed.into());
        handled
    }

    /// The events that the topic refused, and whether it always will.
    async fn publish_batch<'a>(
        &self,
        batch: &[&'a Outgoing],
    ) -> Result<Vec<(&'a Outgoing, bool)>, RelayError> {
        let spans: Vec<_> = batch.iter().map(|event| begin_publishing(event)).collect();
        let entries = batch.iter().zip(&spans).enumerate();
        let entries =
            entries.map(|(i, (event, span))| self.entry(i, event, span.as_ref().map(|(span, _)| *span)));
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(|e| RelayError::Publish(e.into()))?;
        let call = self.sns.publish_batch().topic_arn(&self.topic_arn);
        let answer = call
            .set_publish_batch_request_entries(Some(entries))
            .send()
            .await
            .map_err(|e| RelayError::Publish(e.into()))?;
        let has_failed = |i: usize| answer.failed().iter().any(|failure| failure.id() == i.to_string());
        for (i, span) in spans.into_iter().enumerate() {
            if let Some((_, running)) = span {
                running.end(has_failed(i));
            }
        }
        let refused = answer.failed().iter().filter_map(|failure| {
            let event = failure.id().parse::<usize>().ok().and_then(|index| batch.get(index))?;
            tracing::error!(
                event_id = %event.event.event_id,
                code = failure.code(),
                "the topic refused an event"
            );
            Some((*event, is_final(failure)))
        });
        Ok(refused.collect())
    }

    fn entry(
        &self,
        index: usize,
        outgoing: &Outgoing,
        span: Option<Span>,
    ) -> Result<PublishBatchRequestEntry, aws_sdk_sns::error::BuildError> {
        let event = &outgoing.event;
        let attribute =
            |value: &str| MessageAttributeValue::builder().data_type("String").string_value(value).build();
        let deduplication_id = match &self.run {
            None => event.event_id.to_string(),
            Some(run) => format!("{}.{run}", event.event_id),
        };
        let entry = PublishBatchRequestEntry::builder()
            .id(index.to_string())
            .message(&outgoing.body)
            // Events of one subject stay in order, and a slow subject does not hold up the others.
            .message_group_id(&event.subject)
            .message_deduplication_id(deduplication_id)
            // The filter policies of the subscriptions compare the type.
            .message_attributes("event_type", attribute(&event.event_type)?)
            .message_attributes("source", attribute(&event.source)?);
        match span {
            Some(span) => entry.message_attributes(TRACEPARENT, attribute(&span.traceparent())?),
            None => entry,
        }
        .build()
    }
}

/// The span of an event on its way to the topic, if its trace was sampled.
fn begin_publishing(outgoing: &Outgoing) -> Option<(Span, Running)> {
    let span = Span::join(outgoing.event.traceparent.as_deref())?;
    Some((span, Running::operation(span, "publish")))
}

/// Whether the entry itself is invalid.
// Throttling counts as the sender's fault, too, but it passes.
fn is_final(failure: &BatchResultErrorEntry) -> bool {
    failure.sender_fault() && failure.code().starts_with("Invalid")
}

const fn entry_bytes(event: &Outgoing) -> usize {
    event.body.len() + ENTRY_BYTES
}

/// The first waiting event of each subject, as many as a call takes, and what waits on, in its order.
fn next_batch(waiting: Vec<&Outgoing>) -> (Vec<&Outgoing>, Vec<&Outgoing>) {
    let (mut batch, mut later) = (Vec::new(), Vec::new());
    let (mut bytes, mut subjects) = (0, HashSet::new());
    for event in waiting {
        let is_first = subjects.insert(event.event.subject.as_str());
        if is_first && batch.len() < BATCH_ENTRIES && bytes + entry_bytes(event) <= BATCH_BYTES {
            bytes += entry_bytes(event);
            batch.push(event);
        } else {
            later.push(event);
        }
    }
    (batch, later)
}
