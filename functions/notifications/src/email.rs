//! Sends e-mail through SES.

use aws_sdk_sesv2::{
    Client,
    types::{Body, Content, Destination, EmailContent, Message, MessageTag},
};
use contracts::UserId;
use lambda_kit::{
    aws::SdkConfig,
    config::{self, ConfigError},
    limits::EMAIL_CALL,
};

use crate::{
    domain::EmailMessage,
    provider::{SendError, at_own_endpoint, client_config},
};

/// The tag with the user's id, which SES returns to `feedback` with a bounce.
pub const USER_TAG: &str = "user";

/// SES's code for an invalid address (SendEmail, API reference).
// `MessageRejected` is for an unverified sender or bad content. A person can correct that, so the message is
// retried and ends in the dead-letter queue.
const INVALID: [&str; 1] = ["BadRequestException"];

/// Sends from one address.
#[derive(Debug, Clone)]
pub struct EmailSender {
    ses: Client,
    from: String,
    /// The configuration set by which SES reports bounces and complaints.
    configuration_set: Option<String>,
}

impl EmailSender {
    /// Sends from the address `EMAIL_FROM`, with the configuration set `SES_CONFIGURATION_SET` if that is set, and through
    /// `AWS_ENDPOINT_URL_SESV2` if that is set (the SDKs' own name for it).
    ///
    /// # Errors
    /// When `EMAIL_FROM` is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let from = config::required("EMAIL_FROM")?;
        let sdk = at_own_endpoint(sdk, "AWS_ENDPOINT_URL_SESV2");
        Ok(Self::new(&sdk, from, config::optional("SES_CONFIGURATION_SET")))
    }

    pub fn new(sdk: &SdkConfig, from: String, configuration_set: Option<String>) -> Self {
        Self { ses: Client::new(&client_config(sdk, EMAIL_CALL)), from, configuration_set }
    }

    /// Sends once, and returns the provider's id of the message.
    pub async fn send(&self, user: &UserId, to: &str, email: &EmailMessage) -> Result<String, SendError> {
        let body = Body::builder().text(content(&email.text)?).html(content(&email.html)?).build();
        let message = Message::builder().subject(content(&email.subject)?).body(body).build();
        let tag = MessageTag::builder().name(USER_TAG).value(user.as_str());
        let answer = self
            .ses
            .send_email()
            .from_email_address(&self.from)
            .set_configuration_set_name(self.configuration_set.clone())
            .email_tags(tag.build().map_err(|_| SendError::Content)?)
            .destination(Destination::builder().to_addresses(to).build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await
            .map_err(|error| SendError::of(&error, &INVALID))?;
        // SES has accepted the message, even if the answer has no id. An error would send it again.
        Ok(answer.message_id.unwrap_or_default())
    }
}

fn content(text: &str) -> Result<Content, SendError> {
    Content::builder().charset("UTF-8").data(text).build().map_err(|_| SendError::Content)
}
