//! The payments' own queue: what the saga puts into it, and what payments put into it for later.

use aws_sdk_sqs::Client;
use contracts::{CorrelationId, OrderId, saga::TakePayment};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// A message of the queue.
#[derive(Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum Message {
    TakePayment(TakePayment),
    CheckPayment(CheckPayment),
}

/// Asks to look at a payment again and do what it owes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckPayment {
    pub order_id: OrderId,
    pub correlation_id: CorrelationId,
    /// How often it was looked at before.
    pub looks: u32,
}

#[derive(Debug, Clone)]
pub struct Queue {
    sqs: Client,
    url: String,
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("a check has no JSON form")]
    Form(#[from] serde_json::Error),
    #[error("the payments queue did not take a check")]
    Send(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Message {
    pub const fn action(&self) -> &'static str {
        match self {
            Self::TakePayment(_) => "TakePayment",
            Self::CheckPayment(_) => "CheckPayment",
        }
    }

    pub const fn order_id(&self) -> &OrderId {
        match self {
            Self::TakePayment(take) => &take.context.order_id,
            Self::CheckPayment(check) => &check.order_id,
        }
    }

    pub const fn correlation_id(&self) -> &CorrelationId {
        match self {
            Self::TakePayment(take) => &take.context.correlation_id,
            Self::CheckPayment(check) => &check.correlation_id,
        }
    }
}

impl Queue {
    pub fn new(sqs: Client, url: String) -> Self {
        Self { sqs, url }
    }

    /// Puts a check into the queue that comes out after `delay`.
    pub async fn check_after(&self, check: CheckPayment, delay: SignedDuration) -> Result<(), QueueError> {
        let body = serde_json::to_string(&Message::CheckPayment(check))?;
        // The domain asks for no more than SQS's 900 seconds.
        let seconds = i32::try_from(delay.as_secs()).unwrap_or(900);
        let send = self.sqs.send_message().queue_url(&self.url).message_body(body).delay_seconds(seconds);
        send.send().await.map_err(|e| QueueError::Send(e.into()))?;
        Ok(())
    }
}
