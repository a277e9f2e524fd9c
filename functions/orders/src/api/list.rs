//! `GET /v1/orders`: a customer's own orders, or for the support and administrators all, the newest first.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use contracts::{OrderStatus, UserId};
use lambda_kit::{
    cursor::{self, InvalidCursor},
    http::{Identity, List, Page, Problem, Query},
};
use serde::{Deserialize, Serialize, de::IntoDeserializer};

use super::{STAFF_ROLES, view::CACHE};
use crate::store::{Scope, Store};

#[derive(Deserialize)]
pub(super) struct OrderFilter {
    status: Option<String>,
    /// Only this customer's orders. For the staff: other users see only their own.
    customer: Option<String>,
}

/// A place in a list, and the list that it belongs to. Its JSON is a cursor.
#[derive(Serialize, Deserialize)]
struct Position {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<OrderStatus>,
    place: String,
}

pub(super) async fn list(
    State(store): State<Store>,
    identity: Identity,
    Query(OrderFilter { status, customer }): Query<OrderFilter>,
    Page { limit, cursor }: Page,
) -> Result<Response, Problem> {
    let status = status.as_deref().map(status_of).transpose()?;
    let scope = scope_of(&identity, customer)?;
    let after = cursor.map(|cursor| place_of(&scope, status, &cursor)).transpose()?;
    let listed = store.list(&scope, status, limit, after).await?;
    let next_cursor = listed.next.map(|place| cursor_of(&scope, status, place)).transpose();
    let list = List { items: listed.orders, next_cursor: next_cursor.map_err(|e| Problem::internal(&e))? };
    Ok(([(header::CACHE_CONTROL, CACHE)], Json(list)).into_response())
}

fn scope_of(identity: &Identity, customer: Option<String>) -> Result<Scope, Problem> {
    match customer {
        None if identity.is_staff(STAFF_ROLES) => Ok(Scope::All),
        None => Ok(Scope::Customer(identity.user_id.clone())),
        Some(customer) => {
            let customer =
                UserId::try_from(customer).ok().filter(|customer| identity.may_see(customer, STAFF_ROLES));
            // 404 for a customer whom the caller may not see. A 403 would confirm that the account exists.
            customer.map(Scope::Customer).ok_or_else(|| Problem::not_found("There is no such customer."))
        }
    }
}

fn status_of(name: &str) -> Result<OrderStatus, Problem> {
    let status: Result<_, serde::de::value::Error> = OrderStatus::deserialize(name.into_deserializer());
    status.map_err(|_| Problem::field("status", "is not a status of orders, such as OrderCompleted"))
}

/// The cursor of a place in a list.
// It is not signed, because it grants no access. Only the token decides whose orders are read. A client with
// a forged cursor skips some of its own orders.
fn cursor_of(scope: &Scope, status: Option<OrderStatus>, place: String) -> Result<String, serde_json::Error> {
    cursor::encode(&Position { customer: customer_of(scope), status, place })
}

/// The place that a cursor of this list names.
fn place_of(scope: &Scope, status: Option<OrderStatus>, cursor: &str) -> Result<String, InvalidCursor> {
    let position: Position = cursor::decode(cursor)?;
    // A place is a sort key, so it would work in another list, too, and silently skip orders there. A client
    // that changes the filter between two pages gets an error instead.
    let is_here = position.customer == customer_of(scope) && position.status == status;
    if is_here { Ok(position.place) } else { Err(InvalidCursor) }
}

fn customer_of(scope: &Scope) -> Option<UserId> {
    match scope {
        Scope::Customer(user_id) => Some(user_id.clone()),
        Scope::All => None,
    }
}

#[cfg(test)]
mod tests;
