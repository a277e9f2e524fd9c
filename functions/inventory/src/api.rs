//! `/v1/inventory/{sku}`: what can be sold of a SKU, and setting it.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use contracts::{CorrelationId, Sku, UserId};
use garde::Validate;
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::TableError,
    http::{Admin, Body, Correlation, Problem},
};
use serde::{Deserialize, Serialize};

use crate::{
    backoff::Backoff,
    domain::{Availability, Setting, Stock, set_available},
    store::{Store, Written},
};

/// No try starts later: an API function has 3 s, and the last try needs its part of them.
const BUDGET: Duration = Duration::from_secs(1);

/// The REST routes of inventory.
pub fn routes(store: Store) -> Router {
    Router::new().route("/v1/inventory/{sku}", get(show).put(set)).with_state(store)
}

#[derive(Serialize)]
struct StockView {
    sku: Sku,
    available: u64,
    availability: Availability,
}

impl From<Stock> for StockView {
    fn from(stock: Stock) -> Self {
        let available = stock.available();
        Self { sku: stock.summary.sku, available, availability: Availability::of(available) }
    }
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct SetStock {
    // A million of one SKU is more than the shop's warehouse holds; a larger number is a slip of the finger.
    #[garde(range(min = 0, max = 1_000_000))]
    available: u32,
    // More than one comes with spreading a hot SKU.
    #[serde(default)]
    #[garde(inner(range(min = 1, max = 1)))]
    shards: Option<u32>,
}

async fn show(State(store): State<Store>, Path(sku): Path<String>) -> Result<Json<StockView>, Problem> {
    let sku = parse(&sku)?;
    let stock = store.stock(&sku).await.map_err(ApiError::from)?;
    stock.map(|stock| Json(stock.into())).ok_or_else(|| no_such(&sku))
}

async fn set(
    State(store): State<Store>,
    Admin(admin): Admin,
    correlation: Correlation,
    Path(sku): Path<String>,
    Body(body): Body<SetStock>,
) -> Result<Json<StockView>, Problem> {
    let stock = set_stock(&store, &parse(&sku)?, body.available, &admin.user_id, &correlation.0).await?;
    Ok(Json(stock.into()))
}

/// Sets the stock to what it should be, on what it is: read again whenever an order came in between.
async fn set_stock(
    store: &Store,
    sku: &Sku,
    available: u32,
    by: &UserId,
    correlation_id: &CorrelationId,
) -> Result<Stock, ApiError> {
    let mut backoff = Backoff::within(BUDGET);
    loop {
        let before = store.stock(sku).await?;
        let change = match set_available(before, sku, available, by, correlation_id, Timestamp::now()) {
            Setting::Keep(stock) => return Ok(stock),
            Setting::Write(change) => change,
        };
        match store.write_stock(&change).await? {
            Written::Done => return Ok(change.after),
            Written::Moved | Written::Short | Written::Busy => {}
        }
        if !backoff.pause().await {
            return Err(ApiError::Busy);
        }
    }
}

fn parse(sku: &str) -> Result<Sku, Problem> {
    Sku::try_from(sku).map_err(|_| Problem::not_found("There is no such SKU."))
}

fn no_such(sku: &Sku) -> Problem {
    Problem::not_found(format!("There is no stock record of {sku}."))
}

/// Why an endpoint cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the stock is too busy to be set")]
    Busy,
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Table(TableError::Item { .. }) => Self::internal(&error),
            ApiError::Table(TableError::Call { .. }) | ApiError::Busy => Self::unavailable(&error),
        }
    }
}

#[cfg(test)]
mod tests;
