//! The gateway's errors, classified by what they mean for the money.

use jiff::SignedDuration;
use lambda_kit::{
    breaker::CircuitOpen,
    provider::{CallOutcome, ProviderError},
};
use serde::Deserialize;

use crate::secrets::SecretError;

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No answer: it may have happened.
    #[error("the gateway does not answer")]
    NoAnswer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It was not called: it has not happened.
    #[error(transparent)]
    Open(CircuitOpen),
    /// It was not called, because others' calls take all that its rate allows for longer than this one could wait.
    #[error("the gateway's rate is used up for {} s", wait.as_secs())]
    RateLimited { wait: SignedDuration },
    /// 5xx: the call may have taken effect, and its idempotency key returns the same failure again.
    #[error("the gateway failed with {0}")]
    Failed(u16),
    /// 409 while an equal request is on its way, 429: it has not happened.
    #[error("the gateway is busy ({0})")]
    Throttled(u16),
    /// 401 and 403: our key is not good. It has not happened.
    #[error("the gateway rejected our API key")]
    Unauthorized,
    #[error("the gateway's API key cannot be read")]
    ApiKeyUnavailable(#[from] SecretError),
    /// An answer of success that is not one of an intent or a refund.
    #[error("the gateway's answer cannot be read")]
    Unreadable,
    /// The card or the payment method is not good for this payment. It will never happen.
    #[error("the payment was declined: {code}")]
    Declined { code: String },
    /// The request is not possible in the current state of the object.
    #[error("the gateway refused with {status}: {code}")]
    Refused { status: u16, code: String },
    /// Another 4xx: a fault of the request or of the account, and not of the customer. It has not happened.
    #[error("the gateway rejected our request: {status} {code}")]
    Misused { status: u16, code: String },
}

impl GatewayError {
    /// Whether a retry may succeed.
    pub const fn is_retryable(&self) -> bool {
        // `Misused` and `Unauthorized` count as retryable. They are our fault, so payments wait until a
        // person has corrected it, and no customer hears of a declined card.
        !matches!(self, Self::Declined { .. } | Self::Refused { .. })
    }

    /// Until then a retry is of no use.
    pub const fn retry_after(&self) -> SignedDuration {
        match self {
            Self::Open(open) => open.retry_after,
            Self::RateLimited { wait } => *wait,
            _ => SignedDuration::ZERO,
        }
    }

    /// Whether the idempotency key is bound to this failure, so that a retry needs a new key.
    // Stripe stores the response of every request that began to execute, a 400 as well as a 500
    // (<https://docs.stripe.com/api/idempotent_requests>).
    pub const fn is_cached_under_key(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Misused { .. })
    }
}

impl ProviderError for GatewayError {
    fn outcome(&self) -> CallOutcome {
        match self {
            Self::NoAnswer(_) | Self::Failed(_) => CallOutcome::Failed,
            Self::Throttled(_) | Self::RateLimited { .. } => CallOutcome::Throttled,
            // The gateway works, but did not do what was requested.
            Self::Open(_)
            | Self::Unauthorized
            | Self::ApiKeyUnavailable(_)
            | Self::Unreadable
            | Self::Declined { .. }
            | Self::Refused { .. }
            | Self::Misused { .. } => CallOutcome::Refused,
        }
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
    #[serde(default)]
    param: Option<String>,
}

/// The codes of <https://docs.stripe.com/error-codes> that are about the card or the payment method that the customer
/// chose, and not about the request or our account. Most of them come as `card_error` as well.
const ABOUT_THE_CARD: &[&str] = &[
    "authentication_required",
    "card_decline_rate_limit_exceeded",
    "card_declined",
    "charge_exceeds_source_limit",
    "expired_card",
    "incorrect_address",
    "incorrect_cvc",
    "incorrect_number",
    "incorrect_zip",
    "insufficient_funds",
    "invalid_card_type",
    "invalid_cvc",
    "invalid_expiry_month",
    "invalid_expiry_year",
    "invalid_number",
    "payment_intent_authentication_failure",
    "payment_intent_incompatible_payment_method",
    "payment_intent_payment_attempt_expired",
    "payment_intent_payment_attempt_failed",
    "payment_method_billing_details_address_missing",
    "payment_method_currency_mismatch",
    "payment_method_customer_decline",
    "payment_method_invalid_parameter",
    "payment_method_not_available",
    "payment_method_provider_decline",
    "payment_method_unexpected_state",
    "payment_method_unsupported_type",
    "postal_code_invalid",
];

/// The codes of the same list that are about the state of the object that a request names.
const ABOUT_THE_STATE: &[&str] = &[
    "charge_already_captured",
    "charge_already_refunded",
    "charge_disputed",
    "charge_not_refundable",
    "intent_invalid_state",
    "payment_intent_unexpected_state",
    "refund_disputed_payment",
    "resource_missing",
];

/// The error that an answer of this status is.
pub(super) fn of(status: u16, body: &[u8]) -> GatewayError {
    let ErrorObject { kind, code, decline_code, param } =
        serde_json::from_slice::<Body>(body).unwrap_or_default().error;
    let is = |codes: &[&str]| code.as_deref().is_some_and(|code| codes.contains(&code));
    let about_card = status == 402
        || kind.as_deref() == Some("card_error")
        || param.as_deref() == Some("payment_method")
        || is(ABOUT_THE_CARD);
    let about_state = status == 404 || is(ABOUT_THE_STATE);
    let mut code = decline_code.or(code).or(kind).unwrap_or_else(|| "unknown".to_owned());
    // The code is stored and passed to the saga, and its length is Stripe's choice.
    code.truncate(code.floor_char_boundary(100));
    match status {
        // By status first. An answer of 5xx or 429 may have any code, and says nothing about the card.
        500.. => GatewayError::Failed(status),
        401 | 403 => GatewayError::Unauthorized,
        409 | 429 => GatewayError::Throttled(status),
        _ if about_card => GatewayError::Declined { code },
        _ if about_state => GatewayError::Refused { status, code },
        _ => GatewayError::Misused { status, code },
    }
}
