//! `/v1/inventory/{sku}`: reads, sets and adjusts the stock of a SKU, and shows what has changed it.

mod history;

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use contracts::{Availability, Sku};
use garde::Validate;
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{Budget, Conflict, TableError, retry_on_conflict, retry_on_conflict_with},
    http::{Admin, Body, Correlation, Idempotency, Problem, limit, replayed},
    last_known::{LastKnown, cache_control},
    limits::{CATALOG_READS, STAFF},
    switch::FeatureSwitch,
    text::Line,
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        Adjustment, AdjustmentContext, AdjustmentId, InvalidAdjustment, SettingDecision, Stock, Target,
        adjust as decide_adjustment, set as decide_setting,
    },
    store::Store,
};

/// No try starts later than this.
// An API function has 3 s, and the last try needs its part of them.
const BUDGET: Budget = Budget::Time(Duration::from_secs(1));

/// The stocks that an instance keeps for times when the table does not answer.
// They take a megabyte or two.
const CACHED_STOCKS: usize = 10_000;

type LastStocks = LastKnown<Sku, StockView>;

/// The REST routes of inventory.
/// While `limited_stock` is off, stock that cannot be read is refused.
pub fn routes(store: Store, limited_stock: FeatureSwitch) -> Router {
    Router::new()
        .route(
            "/v1/inventory/{sku}",
            limit::during(&CATALOG_READS, get(show)).merge(limit::before(&STAFF, put(set))),
        )
        .route("/v1/inventory/{sku}/adjustments", limit::before(&STAFF, post(adjust)))
        .merge(history::routes())
        .layer(Extension(LastStocks::new(CACHED_STOCKS)))
        .layer(Extension(limited_stock))
        .with_state(store)
}

/// The routes as openapi.json describes them.
#[cfg(feature = "openapi")]
pub fn operations() -> Vec<lambda_kit::openapi::Operation> {
    use lambda_kit::openapi::{Operation, Who};
    use serde_json::json;

    let stock =
        |available: u32| json!({"sku": "MUG-BLUE", "available": available, "availability": "in_stock"});
    let mut operations = vec![
        Operation::get(
            "/v1/inventory/{sku}",
            "getStock",
            Who::Public,
            "What can be sold of a SKU at this moment",
            "Stock that is reserved for orders is not counted.",
        )
        .limited(&CATALOG_READS)
        .answers::<StockView>(
            200,
            "The stock. While it cannot be read, as it was `as_of`: `low_stock` at best.",
            &["Cache-Control"],
            stock(40),
        ),
        Operation::put(
            "/v1/inventory/{sku}",
            "setStock",
            Who::Admin,
            "Set what can be sold of a SKU",
            "Replaces the count, whatever it was: for the first count of a SKU, and after a stocktaking. Reservations \
             stay. `shards` spreads a bestseller over several items of the table.",
        )
        .limited(&STAFF)
        .takes::<SetStock>(json!({"available": 40, "shards": 4, "low_stock": 5}))
        .answers::<StockView>(200, "The stock as it is now.", &[], stock(40)),
        Operation::post(
            "/v1/inventory/{sku}/adjustments",
            "adjustStock",
            Who::Admin,
            "Add to the stock of a SKU, or take from it",
            "For deliveries and for pieces that are broken or lost. The stock does not fall below zero.",
        )
        .limited(&STAFF)
        .takes::<AdjustStock>(json!({"delta": -2, "reason": "broken"}))
        .idempotent()
        .answers::<StockView>(200, "The stock as it is now.", &["Idempotent-Replayed"], stock(38)),
    ];
    operations.extend(history::operations());
    operations
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct StockView {
    sku: Sku,
    available: u64,
    availability: Availability,
    /// When this was so. Only while the stock cannot be read: `availability` is `low_stock` at best then.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<Timestamp>,
}

/// Why the last known stock is not shown.
#[derive(Debug, thiserror::Error)]
#[error("the stock cannot be read, and showing the last known one is switched off")]
struct LimitedStockIsOff;

impl StockView {
    fn last_known_at(self, at: Timestamp) -> Self {
        Self { availability: self.availability.limited(), as_of: Some(at), ..self }
    }
}

impl From<Stock> for StockView {
    fn from(stock: Stock) -> Self {
        let (available, availability) = (stock.available(), stock.availability());
        Self { sku: stock.settings.sku, available, availability, as_of: None }
    }
}

impl From<Adjustment> for StockView {
    fn from(Adjustment { sku, available, availability, .. }: Adjustment) -> Self {
        Self { sku, available, availability, as_of: None }
    }
}

#[derive(Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct SetStock {
    // A million of one SKU is more than the shop's warehouse holds; a larger number is a typing error.
    #[garde(range(min = 0, max = 1_000_000))]
    available: u32,
    // 64 shards, the settings, the adjustment, its moves and its audit entry stay below the 100 items of a
    // transaction, and sell 32,000 a second.
    #[serde(default)]
    #[garde(inner(range(min = 1, max = 64)))]
    shards: Option<u32>,
    #[serde(default)]
    #[garde(inner(range(min = 0, max = 1_000_000)))]
    low_stock: Option<u32>,
}

#[derive(Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct AdjustStock {
    #[garde(range(min = -1_000_000, max = 1_000_000), custom(is_a_change))]
    delta: i64,
    #[garde(dive)]
    reason: Line<200>,
}

fn is_a_change(delta: &i64, _: &()) -> garde::Result {
    if *delta == 0 { Err(garde::Error::new("changes nothing")) } else { Ok(()) }
}

/// The stock; the last known one while the table does not answer.
async fn show(
    State(store): State<Store>,
    Extension(last): Extension<LastStocks>,
    Extension(limited_stock): Extension<FeatureSwitch>,
    Path(sku): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let (sku, now) = (parse(&sku)?, Timestamp::now());
    let read = async { store.stock(&sku).await.map(|stock| stock.map(StockView::from)) };
    let stock = last.or_last(sku.clone(), now, TableError::is_outage, read).await.map_err(ApiError::from)?;
    let (stock, last_known_at) = stock.ok_or_else(|| no_such(&sku))?.into_parts();
    // The switch is read only when there is a last known value to show.
    if last_known_at.is_some() && !limited_stock.is_on(now).await {
        return Err(Problem::unavailable(&LimitedStockIsOff));
    }
    // Zero seconds: a stock changes with every order, so a cache may use it only while we do not answer.
    let cache = cache_control(Duration::ZERO, last_known_at.unwrap_or(now), now);
    let stock = match last_known_at {
        None => stock,
        Some(at) => stock.last_known_at(at),
    };
    Ok(([(header::CACHE_CONTROL, cache)], Json(stock)))
}

async fn set(
    State(store): State<Store>,
    Admin(admin): Admin,
    Correlation(correlation_id): Correlation,
    Path(sku): Path<String>,
    Body(SetStock { available, shards, low_stock }): Body<SetStock>,
) -> Result<Json<StockView>, Problem> {
    let context =
        AdjustmentContext { by: &admin.user_id, correlation_id: &correlation_id, at: Timestamp::now() };
    let target = Target { available, shards, low_stock };
    let stock = set_stock(&store, &parse(&sku)?, target, context).await?;
    Ok(Json(stock.into()))
}

/// Sets the stock. Reads it again whenever an order changed it in between.
async fn set_stock(
    store: &Store,
    sku: &Sku,
    target: Target,
    context: AdjustmentContext<'_>,
) -> Result<Stock, ApiError> {
    let set = retry_on_conflict(BUDGET, || async {
        let change = match decide_setting(store.stock(sku).await?, sku, target, context)? {
            SettingDecision::Keep(stock) => return Ok(Ok(stock)),
            SettingDecision::Write(change) => change,
        };
        Ok::<_, ApiError>(store.write_stock(&change).await?.map(|()| change.after))
    });
    Ok(set.await??)
}

async fn adjust(
    State(store): State<Store>,
    Admin(admin): Admin,
    Correlation(correlation_id): Correlation,
    Path(sku): Path<String>,
    Idempotency(key): Idempotency,
    Body(body): Body<AdjustStock>,
) -> Result<Response, Problem> {
    let context =
        AdjustmentContext { by: &admin.user_id, correlation_id: &correlation_id, at: Timestamp::now() };
    let id = AdjustmentId::of_request(context.by, &key);
    match adjust_stock(&store, &parse(&sku)?, &id, &body, context).await? {
        Adjusted::Now(adjustment) => Ok(Json(StockView::from(adjustment)).into_response()),
        Adjusted::Earlier(first) if first.delta == body.delta && first.reason == body.reason.as_str() => {
            Ok(replayed(Json(StockView::from(first))))
        }
        Adjusted::Earlier(_) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "This Idempotency-Key was used for another adjustment of this SKU. Repeat a request with the same body, and send a new key for a new adjustment.",
        )),
    }
}

enum Adjusted {
    Now(Adjustment),
    /// An earlier request made it, with this result.
    Earlier(Adjustment),
}

/// Adjusts the stock, once for each id. The write's condition is that the shards have enough, not that they
/// are unchanged, so it succeeds among any number of concurrent orders.
async fn adjust_stock(
    store: &Store,
    sku: &Sku,
    id: &AdjustmentId,
    body: &AdjustStock,
    context: AdjustmentContext<'_>,
) -> Result<Adjusted, ApiError> {
    let adjusted = retry_on_conflict_with(BUDGET, Attempt::default(), |mut attempt| async move {
        loop {
            if let Some(made) = store.adjustment(sku, id).await? {
                // A try of this request may have written it and lost the answer. Then it is this request's
                // own adjustment and no repeat.
                let ours = attempt.written && made.correlation_id == *context.correlation_id;
                return Ok(Ok(if ours { Adjusted::Now(made) } else { Adjusted::Earlier(made) }));
            }
            let stock =
                if attempt.from_snapshot { store.snapshot(sku).await? } else { Ok(store.stock(sku).await?) };
            // A transaction is under way on the stock. A snapshot cannot be read during it, so it is read
            // again after a pause.
            let Ok(stock) = stock else { return Ok(Err(attempt)) };
            let stock = stock.ok_or_else(|| ApiError::Unknown(sku.clone()))?;
            match decide_adjustment(&stock, id.clone(), body.delta, body.reason.as_str().to_owned(), context)
            {
                Ok(planned) => {
                    // Before the write, because its answer may be lost.
                    attempt.written = true;
                    let written = store.write_adjustment(&planned).await?;
                    let done = written.map(|()| Adjusted::Now(planned.adjustment));
                    return Ok::<_, ApiError>(done.map_err(|Conflict| attempt));
                }
                Err(invalid) if attempt.from_snapshot => return Err(invalid.into()),
                // The shards were read one by one. Only a snapshot of all of them may lead to a rejection.
                Err(_) => attempt.from_snapshot = true,
            }
        }
    });
    Ok(adjusted.await??)
}

/// The state of an adjustment between its tries.
#[derive(Clone, Copy, Default)]
struct Attempt {
    /// It may have been written.
    written: bool,
    /// The stock must be read at one moment.
    from_snapshot: bool,
}

fn parse(sku: &str) -> Result<Sku, Problem> {
    Sku::try_from(sku).map_err(|_| Problem::not_found("There is no such SKU."))
}

fn no_such(sku: &Sku) -> Problem {
    Problem::not_found(format!("There is no stock record of {sku}."))
}

/// Why an endpoint failed.
#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("other writers of the stock were faster every time")]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    Invalid(#[from] InvalidAdjustment),
    #[error("there is no stock record of {0}")]
    Unknown(Sku),
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Table(error) => error.into(),
            ApiError::Conflict(_) => Self::unavailable(&error),
            ApiError::Invalid(invalid) => {
                let field = if matches!(invalid, InvalidAdjustment::ShardCountDecreased { .. }) {
                    "shards"
                } else {
                    "delta"
                };
                Self::field(field, invalid.to_string())
            }
            ApiError::Unknown(sku) => no_such(&sku),
        }
    }
}

#[cfg(test)]
mod tests;
