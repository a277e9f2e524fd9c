//! The queues: puts back messages whose provider should not be called now, and delays the retry of failed ones.

use aws_lambda_events::sqs::SqsMessage;
use aws_sdk_sqs::{
    Client, operation::send_message::builders::SendMessageFluentBuilder, types::MessageAttributeValue,
};
use contracts::events::Channel;
use jiff::SignedDuration;
use lambda_kit::{
    aws::SdkConfig,
    config::{self, ConfigError},
};

use crate::domain::{About, DeliveryOutcome, Notification, Provider};

/// The attribute of a message that was put back after its recipient's budget admitted it.
const ADMITTED: &str = "Admitted";

/// The attribute of a message that was sent and could not be recorded: the provider, and the provider's id.
const SENT: &str = "Sent";

/// The delay until a message that was sent is recorded again.
// A failed try costs nothing but itself, and the table is not away for long.
const RECORD_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// SQS delays a message by 900 seconds at most (SendMessage, API reference).
const LONGEST_DELAY: SignedDuration = SignedDuration::from_secs(900);

#[derive(Debug, Clone)]
pub struct Queues {
    sqs: Client,
    email: String,
    sms: String,
    codes: String,
}

/// How often the queue has delivered a message, including this time.
pub fn receives(message: &SqsMessage) -> u32 {
    message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Whether the recipient's budget has admitted the message before.
// A message that is not admitted is not delivered again.
pub fn was_admitted(message: &SqsMessage) -> bool {
    receives(message) > 1 || message.message_attributes.contains_key(ADMITTED)
}

/// The result of a message that was sent and could not be recorded then.
pub fn sent(message: &SqsMessage) -> Option<DeliveryOutcome> {
    let value = message.message_attributes.get(SENT)?.string_value.as_deref()?;
    let (by, provider_id) = value.split_once(' ')?;
    Some(DeliveryOutcome::Sent { by: Provider::named(by)?, provider_id: provider_id.to_owned() })
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("an event could not be requeued")]
    Requeue(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("an event could not be forwarded to the queue of SMS")]
    Forward(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the retry of a message could not be delayed")]
    DelayRetry(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Queues {
    /// The queues `EMAIL_QUEUE_URL`, `SMS_QUEUE_URL` and `CODES_QUEUE_URL`.
    ///
    /// # Errors
    /// When one of the variables is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let [email, sms, codes] =
            ["EMAIL_QUEUE_URL", "SMS_QUEUE_URL", "CODES_QUEUE_URL"].map(config::required);
        Ok(Self::new(sdk, email?, sms?, codes?))
    }

    pub fn new(sdk: &SdkConfig, email: String, sms: String, codes: String) -> Self {
        Self { sqs: Client::new(sdk), email, sms, codes }
    }

    /// Puts a message back, to be delivered after `delay` with a new receive count.
    // Failing the message instead would use up its receives, and after five of them it goes to the dead-letter
    // queue.
    pub async fn requeue(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        delay: SignedDuration,
    ) -> Result<(), QueueError> {
        self.put_back(notification, message, delay, (ADMITTED, "true")).await
    }

    /// Puts a message back that this provider has sent, under this id of its own, and that could not be recorded.
    pub async fn requeue_sent(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        by: Provider,
        provider_id: &str,
    ) -> Result<(), QueueError> {
        let sent = format!("{} {provider_id}", by.as_str());
        self.put_back(notification, message, RECORD_AGAIN, (SENT, &sent)).await
    }

    async fn put_back(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        delay: SignedDuration,
        (name, value): (&str, &str),
    ) -> Result<(), QueueError> {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
        let send = self
            .copy(message, self.url(notification))
            .message_attributes(name, value.map_err(|error| QueueError::Requeue(error.into()))?)
            .delay_seconds(seconds(delay));
        send.send().await.map_err(|error| QueueError::Requeue(error.into()))?;
        Ok(())
    }

    /// Forwards an event to the SMS queue.
    pub async fn forward_to_sms(&self, message: &SqsMessage) -> Result<(), QueueError> {
        let send = self.copy(message, &self.sms);
        send.send().await.map_err(|error| QueueError::Forward(error.into()))?;
        Ok(())
    }

    /// Delays an event that the e-mail queue has just received.
    pub async fn defer(&self, message: &SqsMessage, delay: SignedDuration) -> Result<(), QueueError> {
        let send = self.copy(message, &self.email).delay_seconds(seconds(delay));
        send.send().await.map_err(|error| QueueError::Requeue(error.into()))?;
        Ok(())
    }

    /// Retries a failed message after `delay` instead of the queue's visibility timeout.
    pub async fn delay_retry(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        delay: SignedDuration,
    ) -> Result<(), QueueError> {
        let hide = self
            .sqs
            .change_message_visibility()
            .queue_url(self.url(notification))
            .set_receipt_handle(message.receipt_handle.clone())
            .visibility_timeout(seconds(delay));
        hide.send().await.map_err(|error| QueueError::DelayRetry(error.into()))?;
        Ok(())
    }

    /// Sends the message's body to a queue.
    fn copy(&self, message: &SqsMessage, queue_url: &str) -> SendMessageFluentBuilder {
        let body = message.body.as_deref().unwrap_or_default();
        self.sqs.send_message().queue_url(queue_url).message_body(body)
    }

    /// The queue that the notification's message came from.
    fn url(&self, notification: Notification<'_>) -> &str {
        match (notification.about, notification.channel) {
            (About::Account(_), _) => &self.codes,
            (About::Event(_), Channel::Email) => &self.email,
            (About::Event(_), Channel::Sms) => &self.sms,
        }
    }
}

/// Whole seconds, rounded up.
// A retry that is a moment too early is useless.
fn seconds(delay: SignedDuration) -> i32 {
    let whole = delay.as_millis().saturating_add(999) / 1000;
    i32::try_from(whole.clamp(0, LONGEST_DELAY.as_secs().into())).unwrap_or(i32::MAX)
}
