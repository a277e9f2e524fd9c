//! Errors as RFC 9457 problems.

use axum::{
    extract::{Request, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::request_id::Correlation;
#[cfg(feature = "dynamodb")]
use crate::dynamodb::TableError;
use crate::error::error_chain;

/// A field of the request that cannot be accepted, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct FieldError {
    /// As a path into the body: `items[0].sku`.
    pub field: String,
    /// What the value must be, without the field's name: `must be 1 or more`.
    pub message: String,
}

/// A type of problem that clients distinguish from others with the same status (RFC 9457 section 3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemType {
    /// The identifier. It is no address.
    pub uri: &'static str,
    /// What it is called. The same for every occurrence.
    pub title: &'static str,
}

/// An endpoint's error response (RFC 9457). `instance` and `correlation_id` are added by [`render`].
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    kind: Option<&'static ProblemType>,
    detail: String,
    errors: Vec<FieldError>,
    /// Extension members (RFC 9457 section 3.2).
    members: serde_json::Map<String, serde_json::Value>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Rendered<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(flatten)]
    members: &'a serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// `detail` is read by the client: it says what is wrong and what to do, and nothing internal.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind: None,
            detail: detail.into(),
            errors: Vec::new(),
            members: serde_json::Map::new(),
            headers: Vec::new(),
        }
    }

    /// 400: the request cannot be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: no valid access token.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ordersaga\""))
    }

    /// 401: the login of the access token is older than `max_age` seconds (RFC 9470 section 3).
    pub(super) fn recent_login_required(max_age: i64) -> Self {
        let challenge = format!("Bearer error=\"insufficient_user_authentication\", max_age={max_age}");
        let detail = "Log in again with the password, and repeat the request with the new access token.";
        let challenge =
            HeaderValue::try_from(challenge).expect("a number and constants are a header's value");
        Self::new(StatusCode::UNAUTHORIZED, detail).with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// 403: the caller's role does not allow it.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: no such resource, or one that the caller may not see.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409: the state of the resource does not allow it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 422: these fields break a rule.
    pub fn unprocessable(errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "The request cannot be accepted: see `errors`.")
        }
    }

    /// One field that cannot be accepted.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::unprocessable(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// A query string that cannot be read: names the parameter.
    pub(super) fn query(rejection: &QueryRejection) -> Self {
        let text = rejection.body_text();
        let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        let twice = text.split_once("duplicate field `").and_then(|(_, rest)| rest.split('`').next());
        match (twice, text.split_once(": ")) {
            (Some(name), _) => Self::field(name, "must be there once"),
            (None, Some((name, message))) => Self::field(name, message),
            (None, None) => Self::bad_request(format!("The query cannot be read: {text}.")),
        }
    }

    /// A dependency is down or did not answer: logged here, once, and hidden from the client.
    pub fn unavailable(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = error_chain(error), "a dependency failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service temporarily unavailable. Try again in a moment.")
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// Our own mistake: logged here, once, and hidden from the client.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = error_chain(error), "an operation failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side.")
    }

    /// Of a type that clients distinguish. Without one, the status says it all.
    #[must_use]
    pub fn with_type(self, kind: &'static ProblemType) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds an extension member.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    #[cfg(test)]
    pub(crate) fn fields(&self) -> Vec<&str> {
        self.errors.iter().map(|error| &*error.field).collect()
    }
}

#[cfg(feature = "dynamodb")]
impl From<TableError> for Problem {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Call { .. } => Self::unavailable(&error),
            TableError::Item { .. } => Self::internal(&error),
        }
    }
}

impl IntoResponse for Problem {
    /// The body is written by [`render`], which knows the request.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.headers_mut().extend(self.headers.iter().cloned());
        response.extensions_mut().insert(self);
        response
    }
}

/// In a response's extensions: this error has a body in a format of its own (a health report), which is kept.
#[derive(Debug, Clone, Copy)]
pub struct OwnBody;

/// Writes the body of a problem. Also turns axum's own refusals into problems, so that there is one format.
pub(super) async fn render(correlation: Correlation, request: Request, next: Next) -> Response {
    let instance = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if response.extensions().get::<OwnBody>().is_some() => return response,
        None if status.is_client_error() || status.is_server_error() => {
            Problem::new(status, status.canonical_reason().unwrap_or("The request failed."))
        }
        None => return response,
    };
    // Without a type of its own, the status says all that there is to say (RFC 9457 section 4.2.1).
    let by_status = ProblemType { uri: "about:blank", title: status.canonical_reason().unwrap_or("Error") };
    let ProblemType { uri, title } = *problem.kind.unwrap_or(&by_status);
    let rendered = Rendered {
        r#type: uri,
        title,
        status: status.as_u16(),
        detail: &problem.detail,
        instance: &instance,
        correlation_id: correlation.0.as_str(),
        errors: &problem.errors,
        members: &problem.members,
    };
    // Strings and numbers only: this has a JSON form.
    let body = serde_json::to_vec(&rendered).unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    // It is the length of the body that is replaced here.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::from_parts(parts, axum::body::Body::from(body))
}
