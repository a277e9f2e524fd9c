//! Sends e-mail through SES.

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sesv2::{
    Client,
    config::{Builder, http::HttpResponse},
    error::{ProvideErrorMetadata, SdkError},
    operation::send_email::SendEmailError,
    types::{Body, Content, Destination, EmailContent, Message as SesMessage},
};
use lambda_kit::{
    config::{self, ConfigError},
    numbers::{CONNECT, EMAIL_CALL},
};

use crate::domain::Message;

/// Why an e-mail was not sent, or may not have been. Without the provider's own text, which names the address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    #[error("the provider refused the e-mail: {0}")]
    Refused(String),
    /// 5xx, or more than it takes now.
    #[error("the provider cannot take the e-mail now: {0}")]
    Unavailable(String),
    #[error("the provider did not answer in time")]
    Timeout,
    #[error("the provider could not be reached or understood")]
    Connection,
    #[error("the e-mail could not be written")]
    Content,
}

impl MailError {
    /// Whether the provider is down, or close to it: what its breaker counts.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout | Self::Connection)
    }
}

/// Sends from one address.
#[derive(Debug, Clone)]
pub struct Mailer {
    ses: Client,
    from: String,
}

impl Mailer {
    /// Sends from the address `EMAIL_FROM`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(sdk, config::required("EMAIL_FROM")?))
    }

    /// One try a call: what timed out may have been sent, and the queue tries again anyway, later and with a lease.
    pub fn new(sdk: &SdkConfig, from: String) -> Self {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(EMAIL_CALL).build();
        let config =
            Builder::from(sdk).timeout_config(timeouts).retry_config(RetryConfig::disabled()).build();
        Self { ses: Client::from_conf(config), from }
    }

    /// Sends, and answers the provider's id of the message.
    pub async fn send(&self, to: &str, message: &Message) -> Result<String, MailError> {
        let body = Body::builder().text(content(&message.text)?).html(content(&message.html)?).build();
        let simple = SesMessage::builder().subject(content(&message.subject)?).body(body).build();
        let answer = self
            .ses
            .send_email()
            .from_email_address(&self.from)
            .destination(Destination::builder().to_addresses(to).build())
            .content(EmailContent::builder().simple(simple).build())
            .send()
            .await
            .map_err(|error| reason(&error))?;
        Ok(answer.message_id.unwrap_or_default())
    }
}

fn content(text: &str) -> Result<Content, MailError> {
    Content::builder().charset("UTF-8").data(text).build().map_err(|_| MailError::Content)
}

fn reason(error: &SdkError<SendEmailError, HttpResponse>) -> MailError {
    match error {
        SdkError::ServiceError(refusal) => {
            let code = refusal.err().code().unwrap_or("no code").to_owned();
            let status = refusal.raw().status().as_u16();
            if status >= 500 || status == 429 || code == "TooManyRequestsException" {
                MailError::Unavailable(code)
            } else {
                MailError::Refused(code)
            }
        }
        SdkError::TimeoutError(_) => MailError::Timeout,
        _ => MailError::Connection,
    }
}
