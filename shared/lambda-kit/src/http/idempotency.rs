//! The headers `Idempotency-Key` and `Idempotent-Replayed`.

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, request::Parts},
    response::{IntoResponse, Response},
};
use contracts::IdempotencyKey;

use super::Problem;

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The response to a repeated request, marked with `Idempotent-Replayed: true`.
pub fn replayed(response: impl IntoResponse) -> Response {
    ([(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"))], response).into_response()
}

/// The client's `Idempotency-Key`. A request without a valid one is answered with 400.
#[derive(Debug)]
pub struct Idempotency(pub IdempotencyKey);

impl<S: Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let header = parts.headers.get("idempotency-key").ok_or_else(|| {
            Problem::bad_request(
                "Send an `Idempotency-Key`: a name of your own for this request, so that repeating it does nothing twice.",
            )
        })?;
        header.to_str().ok().and_then(|key| IdempotencyKey::try_from(key).ok()).map(Self).ok_or_else(|| {
            Problem::bad_request("An `Idempotency-Key` has 1 to 255 visible ASCII characters.")
        })
    }
}
