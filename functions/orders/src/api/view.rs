//! Orders as customers see them.

use axum::http::HeaderValue;
use contracts::{
    EventPayload, Money, OrderDiscount, OrderId, OrderStatus, PricedLine, UserId,
    events::OrderCompensationFailed,
};
use jiff::Timestamp;
use lambda_kit::http::List;
use serde::Serialize;
use serde_json::Value;

use crate::domain::{CheckoutDetails, History, Recorded};

/// An order is private and changes: clients revalidate it each time, and get 304 while it is unchanged.
pub(super) const CACHE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// An order that was just placed. The same for every repeat of the request.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct PlacedView<'a> {
    order_id: &'a OrderId,
    status: OrderStatus,
    version: u64,
    items: &'a [PricedLine],
    /// After the discount.
    total: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    discount: Option<&'a OrderDiscount>,
    created_at: Timestamp,
}

impl<'a> From<&'a History> for PlacedView<'a> {
    fn from(history: &'a History) -> Self {
        let order = &history.order;
        Self {
            order_id: &history.order_id,
            status: order.status,
            version: order.version,
            items: &order.items,
            total: order.total,
            discount: order.discount.as_ref(),
            created_at: history.created_at,
        }
    }
}

/// An order with what happened to it so far.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct OrderView<'a> {
    #[serde(flatten)]
    placed: PlacedView<'a>,
    user_id: &'a UserId,
    cancel_requested: bool,
    updated_at: Timestamp,
    timeline: Vec<Moment<'a>>,
}

/// One event, without what it says.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct Moment<'a> {
    version: u64,
    event_type: &'a str,
    status: OrderStatus,
    occurred_at: Timestamp,
}

impl<'a> From<&'a Recorded> for Moment<'a> {
    fn from(Recorded { envelope, status }: &'a Recorded) -> Self {
        Self {
            version: envelope.sequence,
            event_type: &envelope.event_type,
            status: *status,
            occurred_at: envelope.occurred_at,
        }
    }
}

impl<'a> From<&'a History> for OrderView<'a> {
    fn from(history: &'a History) -> Self {
        Self {
            placed: PlacedView::from(history),
            user_id: &history.user_id,
            cancel_requested: history.order.cancel_requested,
            updated_at: history.updated_at,
            timeline: history.events.iter().map(Moment::from).collect(),
        }
    }
}

impl OrderView<'_> {
    /// The view of an order, as JSON.
    pub fn json(history: &History) -> Result<String, serde_json::Error> {
        serde_json::to_string(&OrderView::from(history))
    }
}

/// An order with its checkout details, until they are erased.
#[derive(Serialize)]
pub(super) struct AddressedView<'a> {
    #[serde(flatten)]
    order: OrderView<'a>,
    #[serde(flatten)]
    checkout_details: Option<CheckoutDetails>,
}

impl<'a> AddressedView<'a> {
    /// Parses the checkout details as they are stored.
    pub fn new(order: OrderView<'a>, checkout_details: Option<String>) -> Self {
        // The saga could parse them, so they are valid. An order whose details were erased has none.
        Self {
            order,
            checkout_details: checkout_details
                .and_then(|checkout_details| serde_json::from_str(&checkout_details).ok()),
        }
    }
}

/// One event with what it says.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct EventView<'a> {
    #[serde(flatten)]
    moment: Moment<'a>,
    data: Value,
}

impl<'a> EventView<'a> {
    /// The events after version `after`. Fields for administrators are removed for other readers.
    pub fn list(history: &'a History, after: u64, is_admin: bool) -> List<Self> {
        let events = history.events.iter().filter(|event| event.envelope.sequence > after);
        let items = events.map(|event| Self { moment: Moment::from(event), data: data(event, is_admin) });
        // An order has about ten events: one page holds them.
        List::whole(items.collect())
    }
}

/// What an event says, for this reader.
// The cause of a failure is the text of an inner error, which may name what is internal. Customers do not get
// it.
fn data(Recorded { envelope, .. }: &Recorded, is_admin: bool) -> Value {
    let mut data = envelope.data.clone();
    if !is_admin
        && envelope.event_type == OrderCompensationFailed::TYPE
        && let Some(failure) = data.get_mut("failure").and_then(Value::as_object_mut)
    {
        failure.remove("cause");
    }
    data
}
