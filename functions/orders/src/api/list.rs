//! `GET /v1/orders`: a customer's own orders, or for administrators all, the newest first.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::{OrderStatus, UserId};
use lambda_kit::http::{Identity, Problem};
use serde::{Deserialize, de::IntoDeserializer};
use sha2::{Digest, Sha256};

use super::{CACHE, view::List};
use crate::store::{Scope, Store};

const DEFAULT_LIMIT: usize = 20;
/// Orders on one page, at most.
const MAX_LIMIT: usize = 100;
/// The bytes of the digest that binds a cursor to its list: enough that a cursor of another list does not
/// match by chance.
const SEAL_BYTES: usize = 8;

#[derive(Deserialize)]
pub(super) struct Paging {
    status: Option<String>,
    /// Only this customer's, for an administrator; for others there is no other than themselves.
    customer: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(store): State<Store>,
    identity: Identity,
    query: Result<Query<Paging>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Paging { status, customer, limit, cursor }) = query.map_err(|error| Problem::query(&error))?;
    let status = status.as_deref().map(status_of).transpose()?;
    let limit = limit_of(limit.as_deref())?;
    let scope = scope_of(&identity, customer)?;
    let after = cursor.map(|cursor| {
        open(&scope, status, &cursor)
            .ok_or_else(|| Problem::field("cursor", "is not one that this list gave"))
    });
    let listed = store.list(&scope, status, limit, after.transpose()?).await?;
    let next_cursor = listed.next.map(|place| seal(&scope, status, &place));
    Ok(([(header::CACHE_CONTROL, CACHE)], Json(List { items: listed.orders, next_cursor })).into_response())
}

fn scope_of(identity: &Identity, customer: Option<String>) -> Result<Scope, Problem> {
    match customer {
        None if identity.is_admin() => Ok(Scope::All),
        None => Ok(Scope::Customer(identity.user_id.clone())),
        Some(customer) => {
            let customer = UserId::try_from(customer).ok().filter(|customer| identity.may_see(customer));
            customer.map(Scope::Customer).ok_or_else(|| Problem::not_found("There is no such customer."))
        }
    }
}

fn status_of(name: &str) -> Result<OrderStatus, Problem> {
    let status: Result<_, serde::de::value::Error> = OrderStatus::deserialize(name.into_deserializer());
    status.map_err(|_| Problem::field("status", "is not a status of orders, such as OrderCompleted"))
}

fn limit_of(limit: Option<&str>) -> Result<usize, Problem> {
    let limit = limit.map_or(Ok(DEFAULT_LIMIT), str::parse);
    limit
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| Problem::field("limit", format!("must be from 1 to {MAX_LIMIT}")))
}

/// A cursor: a position in a list, bound to the list's owner and filter. It grants no access, since only the
/// token decides whose orders are read: a client with a forged cursor skips some of its own orders.
fn seal(scope: &Scope, status: Option<OrderStatus>, place: &str) -> String {
    let mut bytes = digest(scope, status, place).to_vec();
    bytes.extend(place.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place, if the cursor is one of this list.
fn open(scope: &Scope, status: Option<OrderStatus>, cursor: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (digest_of, place) = bytes.split_at_checked(SEAL_BYTES)?;
    let place = std::str::from_utf8(place).ok()?;
    (digest_of == digest(scope, status, place)).then(|| place.to_owned())
}

fn digest(scope: &Scope, status: Option<OrderStatus>, place: &str) -> [u8; SEAL_BYTES] {
    let whose = match scope {
        Scope::Customer(user_id) => user_id.as_str(),
        Scope::All => "",
    };
    // None of the three holds a line's end.
    let sealed = [whose, status.map_or("", OrderStatus::as_str), place].join("\n");
    let digest = Sha256::digest(sealed);
    std::array::from_fn(|byte| digest[byte])
}

#[cfg(test)]
mod tests;
