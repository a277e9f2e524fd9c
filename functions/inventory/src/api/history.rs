//! What has changed a SKU's stock: every move of it, and who set or adjusted it. For administrators.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use contracts::{CorrelationId, OrderId, Sku, UserId};
use jiff::Timestamp;
use lambda_kit::{
    audit::Entry,
    cursor::{self, InvalidCursor},
    http::{Admin, List, Page, Problem, limit},
    limits::LISTS,
};
use serde::{Deserialize, Serialize};

use super::{no_such, parse};
use crate::{
    domain::{MoveKind, ShardDelta, StockMoves},
    store::{Place, Posting, Store},
};

pub(super) fn routes() -> Router<Store> {
    Router::new()
        .route("/v1/inventory/{sku}/moves", limit::before(&LISTS, get(moves)))
        .route("/v1/inventory/{sku}/audit", limit::before(&LISTS, get(audit)))
}

/// The routes as openapi.json describes them.
#[cfg(feature = "openapi")]
pub(super) fn operations() -> [lambda_kit::openapi::Operation; 2] {
    use lambda_kit::openapi::{Operation, Who};
    use serde_json::json;

    let (at, actor) = ("2026-11-21T12:00:00Z", "usr_0123456789abcdef0123456789abcdef");
    [
        Operation::get(
            "/v1/inventory/{sku}/moves",
            "listStockMoves",
            Who::Admin,
            "What was put into the stock of a SKU and taken from it",
            "The newest first. The sum of `delta` is the stock. What orders take and return is in the list a moment \
             after it happens; settings and adjustments are in it at once.",
        )
        .limited(&LISTS)
        .paged()
        .answers::<List<MoveView>>(
            200,
            "The moves, one for each shard that a change concerns.",
            &[],
            json!({
                "items": [
                    {"sku": "MUG-BLUE", "shard": 0, "delta": -2, "kind": "reserved", "at": at,
                        "order_id": "ord_0123456789abcdef0123456789abcdef", "correlation_id": "cor_2"},
                    {"sku": "MUG-BLUE", "shard": 0, "delta": 40, "kind": "set", "at": at, "actor": actor,
                        "correlation_id": "cor_1"},
                ],
                "next_cursor": null
            }),
        ),
        lambda_kit::audit::operation(
            "/v1/inventory/{sku}/audit",
            "listStockChanges",
            "Who set or adjusted the stock of a SKU",
            json!({
                "id": "019ad0c0f00070008000000000000000", "at": at, "actor": actor, "action": "stock.adjusted",
                "subject": "MUG-BLUE", "before": {"available": 40}, "after": {"available": 38}, "reason": "broken",
                "correlation_id": "cor_1"
            }),
        ),
    ]
}

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "StockMove"))]
struct MoveView {
    sku: Sku,
    shard: u32,
    /// What was put into the shard, or with a negative number taken from it.
    delta: i64,
    kind: MoveKind,
    at: Timestamp,
    /// The order that it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
    /// The administrator who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    correlation_id: CorrelationId,
}

impl From<Posting> for MoveView {
    fn from(Posting { moves, shard: ShardDelta { shard, delta } }: Posting) -> Self {
        let StockMoves { sku, kind, at, order_id, actor, reason, correlation_id, .. } = moves;
        Self { sku, shard, delta, kind, at, order_id, actor, reason, correlation_id }
    }
}

/// A place in a SKU's list. Its JSON is a cursor.
#[derive(Serialize, Deserialize)]
struct Position {
    sku: Sku,
    place: Place,
}

async fn moves(
    State(store): State<Store>,
    Admin(_): Admin,
    Path(sku): Path<String>,
    Page { limit, cursor }: Page,
) -> Result<Json<List<MoveView>>, Problem> {
    let sku = parse(&sku)?;
    let after = cursor.map(|cursor| place_of(&sku, &cursor)).transpose()?;
    let page = store.postings(&sku, limit, after.as_ref()).await?.ok_or_else(|| no_such(&sku))?;
    let place = page.postings.last().filter(|_| page.more).map(Posting::place);
    let next_cursor = place.map(|place| cursor::encode(&Position { sku, place })).transpose();
    let next_cursor = next_cursor.map_err(|e| Problem::internal(&e))?;
    Ok(Json(List { items: page.postings.into_iter().map(MoveView::from).collect(), next_cursor }))
}

/// The place that a cursor of this SKU's list names.
fn place_of(sku: &Sku, cursor: &str) -> Result<Place, InvalidCursor> {
    let position: Position = cursor::decode(cursor)?;
    let is_here = position.sku == *sku && position.place.is_valid();
    if is_here { Ok(position.place) } else { Err(InvalidCursor) }
}

/// Who set or adjusted the stock.
async fn audit(
    State(store): State<Store>,
    Admin(_): Admin,
    Path(sku): Path<String>,
    page: Page,
) -> Result<Json<List<Entry>>, Problem> {
    Ok(Json(store.audit_entries(&parse(&sku)?, page).await?))
}

#[cfg(test)]
mod tests;
