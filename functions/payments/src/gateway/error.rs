//! What can go wrong at the gateway, told apart by what it means for the money.

use jiff::SignedDuration;
use lambda_kit::breaker::Open;
use serde::Deserialize;

use crate::secrets::SecretError;

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No answer: it may have happened.
    #[error("the gateway does not answer")]
    NoAnswer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It was not called: it has not happened.
    #[error(transparent)]
    Open(Open),
    /// 5xx: it may have happened, and its idempotency key will say the same again.
    #[error("the gateway failed with {0}")]
    Failed(u16),
    /// 409 while an equal request is on its way, 429: it has not happened.
    #[error("the gateway is busy ({0})")]
    Busy(u16),
    /// 401 and 403: our key is not good. It has not happened.
    #[error("the gateway does not take our key")]
    Unauthorized,
    #[error("the gateway's key cannot be had")]
    NoKey(#[from] SecretError),
    /// An answer of success that is not one of an intent or a refund.
    #[error("the gateway's answer cannot be read")]
    Unreadable,
    /// 402: the bank said no.
    #[error("the payment was declined: {code}")]
    Declined { code: String },
    /// Another 4xx: it will never happen.
    #[error("the gateway refused with {status}: {code}")]
    Refused { status: u16, code: String },
}

impl GatewayError {
    /// Whether the same may go well later.
    pub const fn is_retryable(&self) -> bool {
        !matches!(self, Self::Declined { .. } | Self::Refused { .. })
    }

    /// Whether the gateway is down, or close to it: what its breaker counts.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Failed(_) | Self::Busy(429))
    }

    /// How long it is of no use to try again.
    pub const fn retry_after(&self) -> SignedDuration {
        match self {
            Self::Open(open) => open.retry_after,
            _ => SignedDuration::ZERO,
        }
    }

    /// Whether the idempotency key keeps this failure, so that another try needs another key.
    pub const fn keeps_key(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    error: ErrorObject,
}

/// <https://docs.stripe.com/api/errors>; only its codes, since the messages quote what was sent.
#[derive(Default, Deserialize)]
struct ErrorObject {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
}

/// The error that an answer of this status is.
pub(super) fn of(status: u16, body: &[u8]) -> GatewayError {
    let error = serde_json::from_slice::<Body>(body).unwrap_or_default().error;
    let declined = error.kind.as_deref() == Some("card_error");
    let mut code = error.decline_code.or(error.code).or(error.kind).unwrap_or_else(|| "unknown".to_owned());
    // Ours to bound: it is stored, and told to the saga.
    code.truncate(code.floor_char_boundary(100));
    match status {
        500.. => GatewayError::Failed(status),
        401 | 403 => GatewayError::Unauthorized,
        409 | 429 => GatewayError::Busy(status),
        402 => GatewayError::Declined { code },
        _ if declined => GatewayError::Declined { code },
        _ => GatewayError::Refused { status, code },
    }
}
