//! What the proxy answers, its own refusals included.

use axum::body::{Body, Bytes};
use http::{HeaderMap, Response, StatusCode, header};
use serde_json::json;

/// The upstream's response, fully read.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn error(status: StatusCode, kind: &str, message: &str) -> Self {
        Self::of(status, &json!({"type": kind, "message": message}))
    }

    fn of(status: StatusCode, error: &serde_json::Value) -> Self {
        let body = json!({"error": error}).to_string();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        Self { status, headers, body: body.into() }
    }

    /// <https://docs.stripe.com/rate-limits>
    pub fn too_many() -> Self {
        Self::of(
            StatusCode::TOO_MANY_REQUESTS,
            &json!({"type": "invalid_request_error", "code": "rate_limit", "message": "Too many requests."}),
        )
    }

    /// <https://docs.stripe.com/error-codes#resource-missing>
    pub fn no_such_method() -> Self {
        let error = json!({
            "type": "invalid_request_error", "code": "resource_missing", "param": "payment_method",
            "message": "No such PaymentMethod.",
        });
        Self::of(StatusCode::BAD_REQUEST, &error)
    }

    pub fn server_error() -> Self {
        Self::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "api_error",
            "Sorry! There was an error. (Asked for by a test.)",
        )
    }

    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    pub fn replayed(self) -> Response<Body> {
        let mut response = self.into_response();
        response.headers_mut().insert("idempotent-replayed", header::HeaderValue::from_static("true"));
        response
    }
}
