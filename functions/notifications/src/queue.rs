//! The queue that events come from, and go back into while the provider is down. Failing them would spend their
//! receives, and the dead-letter queue takes them after five.

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use contracts::Envelope;
use jiff::SignedDuration;
use lambda_kit::config::{self, ConfigError};

/// SQS delays a message by 900 seconds at most (SendMessage, API reference).
const LONGEST_DELAY: SignedDuration = SignedDuration::from_secs(900);

#[derive(Debug, Clone)]
pub struct OwnQueue {
    sqs: Client,
    url: String,
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("an event has no JSON form")]
    Form(#[from] serde_json::Error),
    #[error("the queue did not take an event back")]
    Send(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl OwnQueue {
    /// The queue `QUEUE_URL`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(sdk, config::required("QUEUE_URL")?))
    }

    pub fn new(sdk: &SdkConfig, url: String) -> Self {
        Self { sqs: Client::new(sdk), url }
    }

    /// Puts an event in again, as SNS put it in, to come out after `delay`. It counts as never received.
    pub async fn put_back(&self, event: &Envelope, delay: SignedDuration) -> Result<(), QueueError> {
        let body = serde_json::to_string(event)?;
        let seconds = i32::try_from(delay.min(LONGEST_DELAY).as_secs()).unwrap_or(i32::MAX);
        let send = self.sqs.send_message().queue_url(&self.url).message_body(body).delay_seconds(seconds);
        send.send().await.map_err(|error| QueueError::Send(error.into()))?;
        Ok(())
    }
}
