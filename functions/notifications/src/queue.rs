//! The queues of events: puts back events whose provider should not be called now, and delays the retry of
//! failed ones.

use aws_lambda_events::sqs::SqsMessage;
use aws_sdk_sqs::Client;
use contracts::events::Channel;
use jiff::SignedDuration;
use lambda_kit::{
    aws::SdkConfig,
    config::{self, ConfigError},
};

/// SQS delays a message by 900 seconds at most (SendMessage, API reference).
const LONGEST_DELAY: SignedDuration = SignedDuration::from_secs(900);

#[derive(Debug, Clone)]
pub struct Queues {
    sqs: Client,
    email: String,
    sms: String,
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("an event could not be requeued")]
    Requeue(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the retry of a message could not be delayed")]
    DelayRetry(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Queues {
    /// The queues `EMAIL_QUEUE_URL` and `SMS_QUEUE_URL`.
    ///
    /// # Errors
    /// When one of the variables is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(sdk, config::required("EMAIL_QUEUE_URL")?, config::required("SMS_QUEUE_URL")?))
    }

    pub fn new(sdk: &SdkConfig, email: String, sms: String) -> Self {
        Self { sqs: Client::new(sdk), email, sms }
    }

    /// Puts a message back, to be delivered after `delay` with a new receive count.
    // Failing the message instead would use up its receives, and after five of them it goes to the dead-letter
    // queue.
    pub async fn requeue(
        &self,
        channel: Channel,
        message: &SqsMessage,
        delay: SignedDuration,
    ) -> Result<(), QueueError> {
        let send = self
            .sqs
            .send_message()
            .queue_url(self.url(channel))
            .message_body(message.body.as_deref().unwrap_or_default())
            .delay_seconds(seconds(delay));
        send.send().await.map_err(|error| QueueError::Requeue(error.into()))?;
        Ok(())
    }

    /// Retries a failed message after `delay` instead of the queue's visibility timeout.
    pub async fn delay_retry(
        &self,
        channel: Channel,
        message: &SqsMessage,
        delay: SignedDuration,
    ) -> Result<(), QueueError> {
        let hide = self
            .sqs
            .change_message_visibility()
            .queue_url(self.url(channel))
            .set_receipt_handle(message.receipt_handle.clone())
            .visibility_timeout(seconds(delay));
        hide.send().await.map_err(|error| QueueError::DelayRetry(error.into()))?;
        Ok(())
    }

    fn url(&self, channel: Channel) -> &str {
        match channel {
            Channel::Email => &self.email,
            Channel::Sms => &self.sms,
        }
    }
}

/// Whole seconds, rounded up.
// A retry that is a moment too early is useless.
fn seconds(delay: SignedDuration) -> i32 {
    let whole = delay.as_millis().saturating_add(999) / 1000;
    i32::try_from(whole.clamp(0, LONGEST_DELAY.as_secs().into())).unwrap_or(i32::MAX)
}
