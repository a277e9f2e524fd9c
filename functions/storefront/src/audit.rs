//! `GET /v1/audit?subject=`: who changed a thing, composed of the audit trails of the contexts that have a part of it. All
//! of it or nothing: a trail that leaves something out without saying so would be wrong.

use axum::http::StatusCode;
use contracts::{OrderId, UserId};
use futures::future::try_join_all;
use lambda_kit::{
    audit::{Entry, merge},
    cursor::InvalidCursor,
    http::{List, Page, Problem},
};

use crate::upstream::{Caller, Context, Upstream, UpstreamError};

/// The longest subject: a SKU's length.
const SUBJECT_MAX: usize = 64;

/// A thing that was changed, in the words of a path: a SKU, a discount code, an order's id or a user's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(String);

/// The text cannot be the name of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a SKU, a discount code, an order's id or a user's id")]
pub struct InvalidSubject;

impl TryFrom<String> for Subject {
    type Error = InvalidSubject;

    fn try_from(text: String) -> Result<Self, InvalidSubject> {
        // These characters cannot change the path or the query of a call.
        let is_subject = (1..=SUBJECT_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && !text.bytes().all(|b| b == b'.');
        if is_subject { Ok(Self(text)) } else { Err(InvalidSubject) }
    }
}

impl Subject {
    /// The trails that may have entries of it.
    fn trails(&self) -> Vec<(Context, String)> {
        let Self(subject) = self;
        if OrderId::try_from(subject.as_str()).is_ok() {
            return vec![
                (Context::Payments, format!("/v1/payments/{subject}/audit")),
                (Context::Orders, format!("/v1/orders/{subject}/audit")),
            ];
        }
        if UserId::try_from(subject.as_str()).is_ok() {
            return vec![(Context::Users, format!("/v1/users/{subject}/audit"))];
        }
        // A SKU and a discount code may have the same name.
        vec![
            (Context::Catalog, format!("/v1/products/{subject}/audit")),
            (Context::Inventory, format!("/v1/inventory/{subject}/audit")),
            (Context::Orders, format!("/v1/discounts/{subject}/audit")),
        ]
    }
}

/// A page of the entries, the newest first.
///
/// # Errors
/// When a context is down, or the cursor is not one of a trail.
pub async fn trail(
    upstream: &Upstream,
    caller: &Caller,
    subject: &Subject,
    page: Page,
) -> Result<List<Entry>, Problem> {
    let Page { limit, cursor } = page;
    // The cursor becomes a part of the path of a call. These characters cannot add a parameter to it.
    let is_ours =
        |cursor: &str| cursor.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !cursor.as_deref().is_none_or(is_ours) {
        return Err(InvalidCursor.into());
    }
    let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    // All trails are read on with the same cursor, which is a place in time.
    let lists = subject.trails().into_iter().map(|(context, path)| {
        let path = format!("{path}?limit={limit}{after}");
        async move { upstream.get(context, &path, caller).await }
    });
    let lists = try_join_all(lists).await.map_err(|error| match error {
        UpstreamError::Status(StatusCode::UNPROCESSABLE_ENTITY) if !after.is_empty() => InvalidCursor.into(),
        error => Problem::unavailable(&error),
    })?;
    // A subject that cannot be of a context, such as a SKU that is too long for a discount code, is 404 there.
    let lists = lists.into_iter().flatten().map(serde_json::from_value).collect::<Result<_, _>>();
    merge(lists.map_err(|error| Problem::unavailable(&UpstreamError::Answer(error)))?, limit)
}
