//! A REST API in the process of its test.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use serde_json::Value;
use tower::ServiceExt;

use crate::{http, jwt::Verifier};

/// Routes behind everything that `http::app` adds to them.
#[derive(Debug, Clone)]
pub struct App {
    router: Router,
}

/// The response to one request.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// All headers, those of `http::app` among them.
    pub headers: HeaderMap,
    /// The body as it was sent.
    pub bytes: Vec<u8>,
    /// The body as JSON. `Null` when the response is not JSON.
    pub body: Value,
}

impl App {
    /// The API of these routes, which accepts the tokens that `verifier` trusts (`Tokens::verifier`).
    pub fn new(routes: Router, verifier: Arc<Verifier>) -> Self {
        Self { router: http::app(routes, verifier) }
    }

    /// Sends a request and reads the whole response.
    pub async fn send(&self, request: Request<Body>) -> Response {
        let answered = self.router.clone().oneshot(request).await;
        let (parts, body) = answered.expect("a router does not fail").into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("the body is in memory").to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Response { status: parts.status, headers: parts.headers, bytes, body }
    }

    /// Sends a request that is made of these parts (see [`request`]).
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Response {
        self.send(request(method, path, headers, body)).await
    }

    /// `GET` with this `Authorization` header (`Tokens::user`); without one when it is empty.
    pub async fn get(&self, path: &str, authorization: &str) -> Response {
        let headers = [("authorization", authorization)];
        self.call("GET", path, if authorization.is_empty() { &[] } else { &headers }, Body::empty()).await
    }
}

/// A request; the value of a header is sent as it is.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.into()).expect("method, path and headers are valid")
}

impl Response {
    /// The value of a header; `None` when the response does not have it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("the header is text"))
    }

    /// The fields that a problem reports as invalid.
    pub fn invalid_fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().expect("an error names its field")).collect()
    }

    /// Checks that this is a complete problem document with this status (RFC 9457).
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_problem(&self, status: StatusCode) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.body["status"], status.as_u16());
        assert_eq!(self.body["correlation_id"].as_str(), self.header("x-correlation-id"));
    }
}
