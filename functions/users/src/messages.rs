//! Messages to users about their accounts, which notifications sends.

use aws_sdk_sqs::Client;
use contracts::AccountMessage;
use lambda_kit::{
    aws::SdkConfig,
    config::{self, ConfigError},
};

/// The queue of messages about accounts, which belongs to notifications.
#[derive(Debug, Clone)]
pub struct Messages {
    sqs: Client,
    queue_url: String,
}

#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("a message has no JSON form")]
    Form(#[from] serde_json::Error),
    #[error("a message could not be queued")]
    Queue(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Messages {
    /// The queue `CODES_QUEUE_URL`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(sdk, config::required("CODES_QUEUE_URL")?))
    }

    pub fn new(sdk: &SdkConfig, queue_url: String) -> Self {
        Self { sqs: Client::new(sdk), queue_url }
    }

    /// # Errors
    /// When the queue does not take it. It may have taken it.
    pub async fn send(&self, message: &AccountMessage) -> Result<(), MessageError> {
        let send = self.sqs.send_message().queue_url(&self.queue_url);
        let send = send.message_body(serde_json::to_string(message)?);
        send.send().await.map_err(|error| MessageError::Queue(error.into()))?;
        Ok(())
    }
}
