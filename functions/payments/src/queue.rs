//! The queue of payments-commands: commands of the saga, and delayed commands of payments itself.

use aws_sdk_sqs::Client;
use contracts::{CorrelationId, OrderId, saga::TakePayment};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::domain::{Dispute, FailedRefund};

/// A message of the queue.
#[derive(Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum Message {
    TakePayment(TakePayment),
    CheckPayment(CheckPayment),
    RecordDispute(RecordDispute),
    RecordRefunds(RecordRefunds),
}

/// A command to check a payment again and run its pending action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckPayment {
    pub order_id: OrderId,
    pub correlation_id: CorrelationId,
    /// The number of earlier checks.
    #[serde(rename = "looks")]
    pub attempt: u32,
}

/// A command to record the gateway's dispute about this intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordDispute {
    pub intent_id: String,
    pub dispute: Dispute,
    /// The gateway's event that brought it.
    pub event_id: String,
}

/// A command to record the refunds of this intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRefunds {
    pub intent_id: String,
    /// The refund that failed. Without it, all refunds are read from the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedRefund>,
    /// The gateway's event that brought it.
    pub event_id: String,
}

#[derive(Debug, Clone)]
pub struct Queue {
    sqs: Client,
    url: String,
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("a message has no JSON form")]
    Form(#[from] serde_json::Error),
    #[error("the message could not be sent to the payments queue")]
    Send(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Message {
    pub const fn action(&self) -> &'static str {
        match self {
            Self::TakePayment(_) => "TakePayment",
            Self::CheckPayment(_) => "CheckPayment",
            Self::RecordDispute(_) => "RecordDispute",
            Self::RecordRefunds(_) => "RecordRefunds",
        }
    }

    pub const fn order_id(&self) -> Option<&OrderId> {
        match self {
            Self::TakePayment(take) => Some(&take.context.order_id),
            Self::CheckPayment(check) => Some(&check.order_id),
            Self::RecordDispute(_) | Self::RecordRefunds(_) => None,
        }
    }

    pub const fn correlation_id(&self) -> Option<&CorrelationId> {
        match self {
            Self::TakePayment(take) => Some(&take.context.correlation_id),
            Self::CheckPayment(check) => Some(&check.correlation_id),
            Self::RecordDispute(_) | Self::RecordRefunds(_) => None,
        }
    }

    /// That of the saga, which the payments queue gets by no attribute.
    pub fn traceparent(&self) -> Option<&str> {
        match self {
            Self::TakePayment(take) => take.context.traceparent.as_deref(),
            Self::CheckPayment(_) | Self::RecordDispute(_) | Self::RecordRefunds(_) => None,
        }
    }
}

impl Queue {
    pub fn new(sqs: Client, url: String) -> Self {
        Self { sqs, url }
    }

    /// Puts a check into the queue that comes out after `delay`.
    pub async fn check_after(&self, check: CheckPayment, delay: SignedDuration) -> Result<(), QueueError> {
        self.send(&Message::CheckPayment(check), delay).await
    }

    /// Puts a dispute into the queue that comes out after `delay`.
    pub async fn record_dispute(
        &self,
        record: RecordDispute,
        delay: SignedDuration,
    ) -> Result<(), QueueError> {
        self.send(&Message::RecordDispute(record), delay).await
    }

    /// Puts a record of refunds into the queue that comes out after `delay`.
    pub async fn record_refunds(
        &self,
        record: RecordRefunds,
        delay: SignedDuration,
    ) -> Result<(), QueueError> {
        self.send(&Message::RecordRefunds(record), delay).await
    }

    async fn send(&self, message: &Message, delay: SignedDuration) -> Result<(), QueueError> {
        let body = serde_json::to_string(message)?;
        // SQS accepts up to 900 seconds. The domain requests no more.
        let seconds = i32::try_from(delay.as_secs()).unwrap_or(900);
        let send = self.sqs.send_message().queue_url(&self.url).message_body(body).delay_seconds(seconds);
        send.send().await.map_err(|e| QueueError::Send(e.into()))?;
        Ok(())
    }
}
