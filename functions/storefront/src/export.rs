//! `GET /v1/users/me/export`: what the system holds about a person. All of it or nothing: an export that leaves something
//! out without saying so would be wrong.

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::upstream::{Caller, Context, Upstream, UpstreamError};

/// The most orders in one answer. A customer with more orders reads on with `cursor`.
// An order takes four calls of some 15 ms. That is well within the function's 3 s, also when the functions
// have to start first.
const ORDERS: usize = 50;
/// Orders that are read at the same time.
// Each call keeps an instance of a function busy.
const CONCURRENCY: usize = 4;

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Export {
    exported_at: Timestamp,
    profile: Value,
    orders: Vec<ExportedOrder>,
    /// The start of the next page, when there are more orders.
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct ExportedOrder {
    /// With the address that it goes to.
    order: Value,
    events: Value,
    payment: Option<Value>,
    shipment: Option<Value>,
}

/// The data of the person's account from `cursor` on; `None` when the account no longer exists.
///
/// # Errors
/// When a context is down.
pub async fn export(
    upstream: &Upstream,
    caller: &Caller,
    cursor: Option<&str>,
    now: Timestamp,
) -> Result<Option<Export>, UpstreamError> {
    let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    let list = format!("/v1/orders?limit={ORDERS}&customer={}{after}", caller.user_id);
    let (profile, list) = tokio::try_join!(
        upstream.get(Context::Users, "/v1/users/me?include=sessions", caller),
        upstream.get(Context::Orders, &list, caller)
    )?;
    let Some(profile) = profile else { return Ok(None) };
    let mut list = list.unwrap_or_default();
    let next_cursor = list["next_cursor"].as_str().map(str::to_owned);
    let Value::Array(orders) = list["items"].take() else { return Ok(None) };
    let orders = stream::iter(orders).map(|order| exported(upstream, caller, order)).buffered(CONCURRENCY);
    Ok(Some(Export { exported_at: now, profile, orders: orders.try_collect().await?, next_cursor }))
}

async fn exported(
    upstream: &Upstream,
    caller: &Caller,
    listed: Value,
) -> Result<ExportedOrder, UpstreamError> {
    let order_id = listed["order_id"].as_str().unwrap_or_default();
    let order = format!("/v1/orders/{order_id}?include=address");
    let events = format!("/v1/orders/{order_id}/events?after=0");
    let payment = format!("/v1/payments/{order_id}");
    let shipment = format!("/v1/shipments/{order_id}?include=address");
    let (order, events, payment, shipment) = tokio::try_join!(
        upstream.get(Context::Orders, &order, caller),
        upstream.get(Context::Orders, &events, caller),
        upstream.get(Context::Payments, &payment, caller),
        upstream.get(Context::Fulfillment, &shipment, caller)
    )?;
    let events = events.map(|mut events| events["items"].take()).unwrap_or_default();
    Ok(ExportedOrder { order: order.unwrap_or(listed), events, payment, shipment })
}
