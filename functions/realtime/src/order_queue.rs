//! The queue of each order: commands that are handled in sequence with the order's events.

use contracts::OrderId;
use futures::FutureExt;
use lambda_kit::{
    aws::SdkConfig,
    config::{self, ConfigError},
    health::Check,
};
use serde::{Deserialize, Serialize};

use crate::domain::Subscriber;

/// A command that `realtime-ws` queues for `realtime-consumer`, behind the order's earlier messages. An event
/// has no field `command`, so the two cannot be confused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    Subscribe { order_id: OrderId, after: Option<u64>, subscriber: Subscriber },
    Unsubscribe { order_id: OrderId, connection_id: String },
}

impl Command {
    /// How the JSON of a command begins: its tag comes first.
    // Looking for it is cheaper than parsing each event as a command, which fails only at its end.
    const START: &str = "{\"command\":";

    /// Whether the body of a message is a command and not an event.
    pub fn is_in(body: &str) -> bool {
        body.starts_with(Self::START)
    }

    pub const fn order_id(&self) -> &OrderId {
        match self {
            Self::Subscribe { order_id, .. } | Self::Unsubscribe { order_id, .. } => order_id,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OrderQueueError {
    #[error("the command has no JSON form")]
    Serialize(#[from] serde_json::Error),
    #[error("the command could not be queued")]
    Send(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The queue, one message group for each order.
#[derive(Debug, Clone)]
pub struct OrderQueue {
    sqs: aws_sdk_sqs::Client,
    queue_url: String,
}

impl OrderQueue {
    /// The queue named by `REALTIME_QUEUE_URL`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(aws_sdk_sqs::Client::new(sdk), config::required("REALTIME_QUEUE_URL")?))
    }

    pub const fn new(sqs: aws_sdk_sqs::Client, queue_url: String) -> Self {
        Self { sqs, queue_url }
    }

    /// Queues a command behind the order's earlier messages. SQS accepts a command with the same `id` once
    /// within five minutes.
    pub async fn send(&self, id: &str, command: &Command) -> Result<(), OrderQueueError> {
        self.sqs
            .send_message()
            .queue_url(&self.queue_url)
            .message_group_id(command.order_id().as_str())
            .message_deduplication_id(id)
            .message_body(serde_json::to_string(command)?)
            .send()
            .await
            .map_err(|e| OrderQueueError::Send(e.into()))?;
        Ok(())
    }

    /// Checks that the queue answers.
    pub fn health(&self) -> Check {
        let queue = self.clone();
        Check::new("queue", move || {
            let call = queue.sqs.get_queue_attributes().queue_url(&queue.queue_url);
            async move { call.send().await.is_ok() }.boxed()
        })
    }
}
