//! A JSON body: its size, type, syntax, shape and rules, checked in this order.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};
use garde::Validate;
use serde::de::DeserializeOwned;

use super::{FieldError, Problem};

const JSON: &str = "application/json";
/// RFC 7396. All patches of this API are merge patches.
const MERGE_PATCH: &str = "application/merge-patch+json";
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// In bytes. A larger body is answered with 413.
pub const BODY_LIMIT: usize = crate::limits::BODY_BYTES;

/// A request's JSON body that has been validated.
#[derive(Debug, Clone)]
pub struct Body<T>(pub T);

impl<S, T> FromRequest<S> for Body<T>
where
    S: Sync,
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_patch = request.method() == Method::PATCH;
        let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        let is_json = media_type.eq_ignore_ascii_case(JSON)
            || (is_patch && media_type.eq_ignore_ascii_case(MERGE_PATCH));
        let bytes = to_bytes(request.into_body(), BODY_LIMIT).await.map_err(|_| {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("A body may have {BODY_LIMIT} bytes."))
        })?;
        if !is_json {
            return Err(unsupported(is_patch));
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

/// Names the accepted media types: RFC 9110 section 15.5.16, and for a patch RFC 5789 section 2.2.
fn unsupported(is_patch: bool) -> Problem {
    let problem = |detail| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
    if is_patch {
        problem("Send a JSON merge patch, with `Content-Type: application/merge-patch+json`.").with_header(
            ACCEPT_PATCH,
            HeaderValue::from_static("application/merge-patch+json, application/json"),
        )
    } else {
        problem("Send JSON, with `Content-Type: application/json`.")
            .with_header(header::ACCEPT, HeaderValue::from_static(JSON))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => match field_of(&path, &inner) {
                // The body itself: no field of it was sent.
                field if field.is_empty() => Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    format!("The body cannot be accepted: {}.", message_of(&inner)),
                ),
                field => Problem::field(field, message_of(&inner)),
            },
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

/// Without the position, which is useless next to `field`, and without the names of our own types.
fn message_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(&*text, |end| &text[..end]);
    match text.split_once("expected ") {
        Some((found, expected)) if is_own_type(expected) => format!("{found}expected an object"),
        _ => text.to_owned(),
    }
}

/// serde describes a structure by its Rust name: `struct Money`, `struct Money with 2 elements`.
fn is_own_type(expected: &str) -> bool {
    ["struct ", "internally tagged enum ", "adjacently tagged enum "]
        .iter()
        .any(|kind| expected.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Order {
        items: Vec<Line>,
        total: Option<Money>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Line {
        sku: String,
        state: State,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Money {
        amount: i64,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum State {
        New,
    }

    #[rstest]
    #[case::wrong_type(r#"{"items": 5}"#, "items")]
    #[case::no_object(r#"{"items": ["x"]}"#, "items[0]")]
    #[case::nested(
        r#"{"items": [{"sku": "A", "state": "new"}, {"sku": 5, "state": "new"}]}"#,
        "items[1].sku"
    )]
    #[case::unknown_value(r#"{"items": [{"sku": "A", "state": "old"}]}"#, "items[0].state")]
    #[case::not_there(r#"{"items": [{"state": "new"}]}"#, "items[0].sku")]
    #[case::in_an_optional(r#"{"items": [], "total": {"amount": "5"}}"#, "total.amount")]
    #[case::optional_itself(r#"{"items": [], "total": "5"}"#, "total")]
    fn a_field_is_named_as_it_was_sent(#[case] json: &str, #[case] field: &str) {
        let problem = parse::<Order>(json.as_bytes()).unwrap_err();
        assert_eq!(problem.fields(), [field], "{problem:?}");
        assert!(!format!("{problem:?}").contains("struct Money"), "{problem:?}");
    }

    #[rstest]
    #[case("[]")]
    #[case("5")]
    #[case("null")]
    fn a_body_that_is_no_object_names_no_field(#[case] json: &str) {
        let problem = parse::<Order>(json.as_bytes()).unwrap_err();
        assert_eq!((problem.status(), problem.fields()), (StatusCode::UNPROCESSABLE_ENTITY, vec![]));
    }
}
