//! A JSON body: its size, type, syntax, shape and rules, checked in this order.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use garde::Validate;
use serde::de::DeserializeOwned;

use super::{FieldError, Problem};

/// Bytes that a body may have (DESIGN.md section 10).
pub const BODY_LIMIT: usize = crate::numbers::BODY_BYTES;

/// A request's JSON body that holds its rules, with the hash-worthy bytes left to the handler's own type.
#[derive(Debug, Clone)]
pub struct Body<T>(pub T);

impl<S, T> FromRequest<S> for Body<T>
where
    S: Sync,
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|mime| mime.trim().eq_ignore_ascii_case("application/json"));
        let bytes = to_bytes(request.into_body(), BODY_LIMIT).await.map_err(|_| {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("A body may have {BODY_LIMIT} bytes."))
        })?;
        if !is_json {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Send JSON, with `Content-Type: application/json`.",
            ));
        }
        let body: T = parse(&bytes)?;
        body.validate().map_err(|report| {
            Problem::unprocessable(
                report
                    .iter()
                    .map(|(path, error)| FieldError { field: path.to_string(), message: error.to_string() })
                    .collect(),
            )
        })?;
        Ok(Self(body))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => Problem::field(field_of(&path, &inner), message_of(&inner)),
            _ => Problem::bad_request(format!("The body is not valid JSON: {inner}.")),
        }
    })?;
    json.end().map_err(|error| Problem::bad_request(format!("The body is not one JSON value: {error}.")))?;
    Ok(body)
}

/// serde reports a missing field at its parent and names it only in the text; the client wants its path.
fn field_of(path: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let parent = if path == "." { "" } else { path };
    match missing {
        Some(name) if parent.is_empty() => name.to_owned(),
        Some(name) => format!("{parent}.{name}"),
        None => parent.to_owned(),
    }
}

/// Without the position, which means nothing to whoever reads `field`.
fn message_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
