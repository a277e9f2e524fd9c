//! REST: where a shipment is, and the progress that staff report.

use axum::{
    Json, Router,
    extract::{Path, State},
    response::IntoResponse,
    routing::{get, post},
};
use contracts::{OrderId, ShippingAddress};
use garde::Validate;
use jiff::{Timestamp, civil::Date};
use lambda_kit::{
    http::{Body, Correlation, Fulfillment, Identity, Problem, Query, limit},
    jwt::Role,
    limits::{READS, STAFF},
    text,
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{OutOfOrder, Progress, ProgressReport, Shipment, Status},
    handler::{RecordError, record},
    orders::OrdersClient,
    store::Store,
};

/// Those who may see every shipment.
const STAFF_ROLES: &[Role] = &[Role::Fulfillment, Role::Support];

/// The dependencies of the REST API.
#[derive(Debug, Clone)]
pub struct Api {
    pub store: Store,
    pub orders: OrdersClient,
}

pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/v1/shipments/{order_id}", limit::during(&READS, get(show)))
        .route("/v1/shipments/{order_id}/events", limit::before(&STAFF, post(progress)))
        .with_state(api)
}

/// The routes as openapi.json describes them.
#[cfg(feature = "openapi")]
pub fn operations() -> Vec<lambda_kit::openapi::Operation> {
    use lambda_kit::openapi::{Operation, Who};
    use serde_json::json;

    let shipment = |status: &str| {
        json!({
            "order_id": "ord_0123456789abcdef0123456789abcdef",
            "shipment_id": "shp_0123456789abcdef0123456789abcdef",
            "status": status, "carrier": "Ordersaga Parcel", "tracking_number": "1Z0000000000000001",
            "estimated_delivery": "2026-11-26", "updated_at": "2026-11-21T12:00:00Z"
        })
    };
    vec![
        Operation::get(
            "/v1/shipments/{order_id}",
            "getShipment",
            Who::OwnerOrStaff,
            "Where the shipment of an order is",
            "An order has a shipment from the moment the carrier accepted it, which is shortly before it completes.",
        )
        .limited(&READS)
        .query("include", "`address`: also where it goes, while that is held.", json!({"enum": ["address"]}))
        .answers::<ShipmentView>(200, "The shipment.", &["Cache-Control"], shipment("scheduled")),
        Operation::post(
            "/v1/shipments/{order_id}/events",
            "reportShipmentProgress",
            Who::Fulfillment,
            "Report how far a shipment is",
            "A shipment is picked, packed, shipped and delivered, in this order. A repeated report changes nothing.",
        )
        .limited(&STAFF)
        .takes::<ReportBody>(json!({"status": "shipped", "tracking_number": "1Z0000000000000001"}))
        .answers::<ShipmentView>(200, "The shipment as it is now.", &[], shipment("shipped"))
        .problem(409, "The shipment is not so far, or its order has not completed."),
    ]
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

/// The most characters of a tracking number.
// The longest numbers of FedEx and USPS have 34.
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
    Query(Shown { include }): Query<Shown>,
) -> Result<impl IntoResponse, Problem> {
    if include.as_ref().is_some_and(|part| part != "address") {
        return Err(Problem::field("include", "must be `address`, which adds where the shipment goes"));
    }
    let order_id = parse(&order_id)?;
    let shipment = api.store.shipment(&order_id).await?;
    // 404 for a shipment of another customer, too. A 403 would confirm that the order exists.
    let shipment =
        shipment.filter(|shipment| identity.may_see(&shipment.user_id, STAFF_ROLES)).ok_or_else(no_such)?;
    let shipping_address = shipment.shipping_address.clone().filter(|_| include.is_some());
    let view = ShipmentView { shipping_address, ..view(shipment).ok_or_else(no_such)? };
    Ok(Json(view))
}

/// Records the shipment's progress. A repeat gets the first answer.
async fn progress(
    State(api): State<Api>,
    Fulfillment(_): Fulfillment,
    Correlation(correlation_id): Correlation,
    Path(order_id): Path<String>,
    Body(ReportBody { status, tracking_number }): Body<ReportBody>,
) -> Result<Json<ShipmentView>, Problem> {
    let order_id = parse(&order_id)?;
    let report = ProgressReport { progress: status, tracking_number };
    let shipment = record(&api.store, &api.orders, &order_id, &report, correlation_id.as_str()).await?;
    Ok(Json(view(shipment).ok_or_else(no_such)?))
}

fn parse(order_id: &str) -> Result<OrderId, Problem> {
    OrderId::try_from(order_id).map_err(|_| no_such())
}

fn no_such() -> Problem {
    Problem::not_found("There is no shipment of such an order of yours.")
}

/// A shipment that was rejected, or cancelled before it was booked, has no view.
fn view(shipment: Shipment) -> Option<ShipmentView> {
    let booking = shipment.booking?;
    Some(ShipmentView {
        order_id: shipment.order_id,
        shipment_id: booking.shipment_id,
        status: shipment.status,
        carrier: booking.carrier,
        tracking_number: booking.tracking_number,
        estimated_delivery: booking.estimated_delivery,
        updated_at: shipment.updated_at,
        shipping_address: None,
    })
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Table(error) => error.into(),
            RecordError::Orders(_) | RecordError::Conflict(_) => Self::unavailable(&error),
            RecordError::OutOfOrder(OutOfOrder { current, .. }) => Self::conflict(format!(
                "The shipment is {}. It is picked, packed, shipped and delivered, in this order.",
                format!("{current:?}").to_lowercase()
            )),
            RecordError::NotCompleted => {
                Self::conflict("Only the shipment of a completed order is sent. See the order's status.")
            }
            RecordError::Unknown => no_such(),
        }
    }
}

#[cfg(test)]
mod tests;
