use std::collections::{BTreeSet, HashSet};

use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use aws_types::SdkConfig;

use super::Outgoing;
use crate::{
    command::chain,
    config::{self, ConfigError},
};

/// SNS takes at most 10 messages and 262,144 bytes a batch (PublishBatch, API reference).
const BATCH_ENTRIES: usize = 10;
const BATCH_BYTES: usize = 262_144;

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

    pub fn new(sns: aws_sdk_sns::Client, topic_arn: String) -> Self {
        Self { sns, topic_arn, run: None }
    }

    /// A publisher to which the topic does not object that it took these events a moment ago, unless it was in this run.
    pub(super) fn again(&self, run: &str) -> Self {
        Self { run: Some(run.to_owned()), ..self.clone() }
    }

    /// Publishes in order and returns the origins of the events that were not taken. A subject's later events are held
    /// back once one of its events was not taken.
    pub async fn publish(&self, events: &[Outgoing]) -> BTreeSet<String> {
        let mut failed = BTreeSet::new();
        let mut stopped: HashSet<String> = HashSet::new();
        let mut rest = events;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch_len(rest));
            rest = later;
            let (held, batch): (Vec<&Outgoing>, Vec<&Outgoing>) =
                now.iter().partition(|event| stopped.contains(&event.event.subject));
            failed.extend(held.iter().map(|event| event.origin.clone()));
            for event in self.publish_batch(&batch).await {
                stopped.insert(event.event.subject.clone());
                failed.insert(event.origin.clone());
            }
        }
        failed
    }

    /// The events of the batch that the topic did not take.
    async fn publish_batch<'a>(&self, batch: &[&'a Outgoing]) -> Vec<&'a Outgoing> {
        if batch.is_empty() {
            return Vec::new();
        }
        let entries = match batch
            .iter()
            .enumerate()
            .map(|(i, event)| self.entry(i, event))
            .collect::<Result<Vec<_>, _>>()
        {
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

    fn entry(
        &self,
        index: usize,
        outgoing: &Outgoing,
    ) -> Result<PublishBatchRequestEntry, aws_sdk_sns::error::BuildError> {
        let event = &outgoing.event;
        let attribute =
            |value: &str| MessageAttributeValue::builder().data_type("String").string_value(value).build();
        let deduplication_id = match &self.run {
            None => event.event_id.to_string(),
            Some(run) => format!("{}.{run}", event.event_id),
        };
        PublishBatchRequestEntry::builder()
            .id(index.to_string())
            .message(&outgoing.body)
            .message_group_id(&event.subject)
            .message_deduplication_id(deduplication_id)
            .message_attributes("event_type", attribute(&event.event_type)?)
            .message_attributes("source", attribute(&event.source)?)
            .build()
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
