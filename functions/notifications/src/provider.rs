//! Common to the providers of e-mail and SMS messages: how a call can fail.

use std::time::Duration;

use aws_sdk_sesv2::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use lambda_kit::{
    aws::{RetryConfig, SdkConfig, TimeoutConfig},
    config,
    limits::CONNECT,
    provider::{CallOutcome, ProviderError},
};

/// Why a message was not sent, or may not have been. Without the provider's own text, which contains the
/// address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The address is invalid, so retries cannot succeed.
    #[error("the provider rejected the address: {0}")]
    Invalid(String),
    #[error("the provider refused the message: {0}")]
    Refused(String),
    /// 5xx.
    #[error("the provider cannot take the message now: {0}")]
    Unavailable(String),
    /// More messages than it accepts now.
    #[error("the provider throttles messages: {0}")]
    Throttled(String),
    #[error("the provider did not answer in time")]
    Timeout,
    #[error("the provider could not be reached or understood")]
    Connection,
    #[error("the message could not be built")]
    Content,
}

impl SendError {
    /// Whether the message may have been sent anyway, because the provider did not refuse it.
    pub const fn is_uncertain(&self) -> bool {
        matches!(self, Self::Timeout | Self::Connection)
    }

    /// Classifies an SDK error. `invalid` lists the provider's codes for an invalid address.
    pub fn of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, invalid: &[&str]) -> Self {
        match error {
            SdkError::ServiceError(refusal) => {
                let code = refusal.err().code().unwrap_or("no code").to_owned();
                let status = refusal.raw().status().as_u16();
                // SNS answers throttling with 400, and SES v2 with 429 (Common errors; SendEmail, API references).
                if status == 429 || code.starts_with("Throttl") || code == "TooManyRequestsException" {
                    Self::Throttled(code)
                } else if status >= 500 {
                    Self::Unavailable(code)
                } else if invalid.contains(&code.as_str()) {
                    Self::Invalid(code)
                } else {
                    Self::Refused(code)
                }
            }
            SdkError::TimeoutError(_) => Self::Timeout,
            // An answer that cannot be parsed is one of these. The message may have been sent.
            _ => Self::Connection,
        }
    }
}

impl ProviderError for SendError {
    fn outcome(&self) -> CallOutcome {
        match self {
            Self::Unavailable(_) | Self::Timeout | Self::Connection => CallOutcome::Failed,
            Self::Throttled(_) => CallOutcome::Throttled,
            Self::Invalid(_) | Self::Refused(_) | Self::Content => CallOutcome::Refused,
        }
    }
}

/// The configuration of a provider's client, without retries by the SDK.
// The caller retries itself, because each call has to wait for the rate limit first, and because a call without
// an answer may have sent the message.
pub fn client_config(sdk: &SdkConfig, call: Duration) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(call).build();
    sdk.to_builder().timeout_config(timeouts).retry_config(RetryConfig::disabled()).build()
}

/// Like `sdk`, with the endpoint in `variable`, if it is set.
pub fn at_own_endpoint(sdk: &SdkConfig, variable: &'static str) -> SdkConfig {
    match config::optional(variable) {
        Some(url) => sdk.to_builder().endpoint_url(url).build(),
        None => sdk.clone(),
    }
}
