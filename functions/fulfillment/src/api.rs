//! REST: where a parcel is, and the progress that staff report.

#[cfg(feature = "openapi")]
mod describe;
#[cfg(test)]
mod tests;

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderValue, header},
    response::IntoResponse,
    routing::{get, post},
};
use contracts::{OrderId, OrderStatus, ShippingAddress};
use garde::Validate;
use jiff::{Timestamp, civil::Date};
use lambda_kit::{
    dynamodb::TableError,
    http::{Admin, Body, Correlation, Identity, Problem},
    peers::CallError,
    text,
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "openapi")]
pub use self::describe::operations;
use crate::{
    domain::{Cause, Decision, OutOfOrder, Parcel, Progress, Report, Status, report},
    orders::Orders,
    store::{Store, Written},
};

/// Tries to write when another writer changes the same parcel in between: one colleague, seldom two.
const TRIES: u32 = 4;

/// The dependencies of the REST API.
#[derive(Debug, Clone)]
pub struct Api {
    pub store: Store,
    pub orders: Orders,
}

pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/v1/shipments/{order_id}", get(show))
        .route("/v1/shipments/{order_id}/events", post(progress))
        .with_state(api)
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct ShipmentView {
    order_id: OrderId,
    shipment_id: String,
    status: Status,
    carrier: String,
    tracking_number: String,
    estimated_delivery: Date,
    updated_at: Timestamp,
    /// Where it goes, when that is asked for and still held.
    #[serde(skip_serializing_if = "Option::is_none")]
    shipping_address: Option<ShippingAddress>,
}

/// Characters; the longest numbers of FedEx and USPS have 34.
const TRACKING_NUMBER_MAX: usize = 64;

#[derive(Deserialize)]
struct Shown {
    include: Option<String>,
}

#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct ReportBody {
    #[garde(skip)]
    status: Progress,
    /// Replaces the booked one. Printable ASCII.
    // The text goes into messages to the customer.
    #[serde(default, deserialize_with = "text::optional")]
    #[garde(inner(length(min = 1, max = TRACKING_NUMBER_MAX), ascii, custom(is_printable)))]
    #[cfg_attr(feature = "openapi", schemars(with = "text::OptionalLine<TRACKING_NUMBER_MAX>"))]
    tracking_number: Option<String>,
}

fn is_printable(text: &str, (): &()) -> garde::Result {
    let printable = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if printable { Ok(()) } else { Err(garde::Error::new("must be printable")) }
}

async fn show(
    State(api): State<Api>,
    identity: Identity,
    Path(order_id): Path<String>,
    query: Result<Query<Shown>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Query(Shown { include }) = query.map_err(|error| Problem::query(&error))?;
    if include.as_ref().is_some_and(|part| part != "address") {
        return Err(Problem::field("include", "must be `address`, which adds where the parcel goes"));
    }
    let order_id = parse(&order_id)?;
    let parcel = api.store.parcel(&order_id).await.map_err(ApiError::from)?;
    let parcel = parcel.filter(|parcel| identity.may_see(&parcel.user_id)).ok_or_else(no_such)?;
    let shipping_address = parcel.shipping_address.clone().filter(|_| include.is_some());
    let view = ShipmentView { shipping_address, ..view(parcel).ok_or_else(no_such)? };
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"))], Json(view)))
}

/// Records the parcel's progress. A repeat gets the first answer.
async fn progress(
    State(api): State<Api>,
    Admin(_): Admin,
    Correlation(correlation_id): Correlation,
    Path(order_id): Path<String>,
    Body(ReportBody { status, tracking_number }): Body<ReportBody>,
) -> Result<Json<ShipmentView>, Problem> {
    let order_id = parse(&order_id)?;
    let report = Report { progress: status, tracking_number };
    let parcel = api.record(order_id, &report, correlation_id.as_str()).await?;
    Ok(Json(view(parcel).ok_or_else(no_such)?))
}

impl Api {
    async fn record(
        &self,
        order_id: OrderId,
        asked: &Report,
        causation_id: &str,
    ) -> Result<Parcel, ApiError> {
        let mut order_has_completed = false;
        for _ in 0..TRIES {
            let Some(parcel) = self.store.parcel(&order_id).await? else {
                return Err(match self.orders.status(&order_id).await? {
                    Some(_) => ApiError::NotCompleted,
                    None => ApiError::Unknown,
                });
            };
            let cause = Cause {
                order_id: order_id.clone(),
                user_id: parcel.user_id.clone(),
                correlation_id: parcel.correlation_id.clone(),
                causation_id: causation_id.to_owned(),
                at: Timestamp::now(),
            };
            let change = match report(&parcel, asked, &cause)? {
                Decision::Keep(parcel) => return Ok(parcel),
                Decision::Write(change) => change,
            };
            // Only the first report needs the check: later ones follow it, and a completed order stays
            // completed.
            if parcel.status == Status::Scheduled && !order_has_completed {
                if self.orders.status(&order_id).await? != Some(OrderStatus::OrderCompleted) {
                    return Err(ApiError::NotCompleted);
                }
                order_has_completed = true;
            }
            if self.store.write(&change).await? == Written::Done {
                tracing::info!(status = ?change.parcel.status, "a parcel's progress");
                return Ok(change.parcel);
            }
        }
        Err(ApiError::Busy)
    }
}

fn parse(order_id: &str) -> Result<OrderId, Problem> {
    OrderId::try_from(order_id).map_err(|_| no_such())
}

fn no_such() -> Problem {
    Problem::not_found("There is no shipment of such an order of yours.")
}

/// A parcel that was refused, or cancelled before it was booked, has no shipment to follow.
fn view(parcel: Parcel) -> Option<ShipmentView> {
    let shipment = parcel.shipment?;
    Some(ShipmentView {
        order_id: parcel.order_id,
        shipment_id: shipment.shipment_id,
        status: parcel.status,
        carrier: shipment.carrier,
        tracking_number: shipment.tracking_number,
        estimated_delivery: shipment.estimated_delivery,
        updated_at: parcel.updated_at,
        shipping_address: None,
    })
}

/// Why a report was not recorded.
#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("orders does not answer")]
    Orders(#[from] CallError),
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
    #[error("the order has not completed")]
    NotCompleted,
    #[error("there is no such order")]
    Unknown,
    #[error("the parcel is too busy")]
    Busy,
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Table(TableError::Item { .. }) => Self::internal(&error),
            ApiError::Table(TableError::Call { .. }) | ApiError::Orders(_) | ApiError::Busy => {
                Self::unavailable(&error)
            }
            ApiError::OutOfOrder(OutOfOrder { is, .. }) => Self::conflict(format!(
                "The parcel is {}. It is picked, packed, shipped and delivered, in this order.",
                format!("{is:?}").to_lowercase()
            )),
            ApiError::NotCompleted => {
                Self::conflict("Only the parcel of a completed order is sent. See the order's status.")
            }
            ApiError::Unknown => no_such(),
        }
    }
}
