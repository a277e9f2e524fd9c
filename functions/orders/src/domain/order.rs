//! An order as its events made it.

use contracts::{Money, OrderDiscount, OrderStatus, PricedLine};

use super::Event;

/// The fold over an order's events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    NotPlaced,
    Placed(Placed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The number of events, which is the sequence of the last one.
    pub version: u64,
    pub items: Vec<PricedLine>,
    /// After the discount.
    pub total: Money,
    pub discount: Option<OrderDiscount>,
    /// The status for customers. `state` decides which commands are allowed.
    pub status: OrderStatus,
    pub cancel_requested: bool,
    pub(super) state: State,
    pub(super) facts: Facts,
    /// The reason of the cancellation, once the order is cancelled.
    pub(super) cancelled_for: Option<CancelledFor>,
}

/// The step that failed, and the name of its error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CancelledFor {
    pub step: String,
    pub error: String,
}

/// The order's state between its commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Created,
    /// Its stock is held, its payment awaited.
    Reserved,
    Completed,
    /// These undos failed: `shipment`, `payment`, `inventory`.
    NeedsAttention {
        failed: Vec<String>,
    },
    Cancelled,
}

/// The facts that were recorded before a cancellation, so that a retry does not record them twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub not_available: bool,
    pub payment_failed: bool,
    pub payment_refunded: bool,
    pub inventory_released: bool,
}

impl Order {
    pub fn version(&self) -> u64 {
        match self {
            Self::NotPlaced => 0,
            Self::Placed(placed) => placed.version,
        }
    }
}

/// The order after one more event. Only a creation makes something of an order that is not placed.
// No event is rejected here. It has happened, and `decide` allowed it by the rules of its time. Old orders
// must stay readable when the rules change.
pub fn apply(order: Order, event: &Event) -> Order {
    match (order, event) {
        (Order::NotPlaced, Event::Created(created)) => Order::Placed(Placed {
            version: 1,
            items: created.items.clone(),
            total: created.total,
            discount: created.discount.clone(),
            status: OrderStatus::OrderCreated,
            cancel_requested: false,
            state: State::Created,
            facts: Facts::default(),
            cancelled_for: None,
        }),
        (Order::NotPlaced, _) => Order::NotPlaced,
        (Order::Placed(placed), event) => Order::Placed(advance(placed, event)),
    }
}

pub(super) fn advance(mut placed: Placed, event: &Event) -> Placed {
    placed.version += 1;
    // Some events, such as a cancel request, do not change what the customer sees as the status.
    placed.status = OrderStatus::after(event.event_type()).unwrap_or(placed.status);
    match event {
        Event::InventoryReserved(_) => placed.state = State::Reserved,
        Event::Completed(_) => placed.state = State::Completed,
        Event::Cancelled(end) => {
            placed.state = State::Cancelled;
            placed.cancelled_for = Some(CancelledFor { step: end.step.clone(), error: end.reason.clone() });
        }
        Event::CompensationFailed(failure) => {
            placed.state = State::NeedsAttention { failed: failure.failed.clone() };
        }
        Event::CancelRequested(_) => placed.cancel_requested = true,
        Event::InventoryNotAvailable(_) => placed.facts.not_available = true,
        Event::PaymentFailed(_) => placed.facts.payment_failed = true,
        Event::PaymentRefunded(_) => placed.facts.payment_refunded = true,
        Event::InventoryReleased(_) => placed.facts.inventory_released = true,
        Event::Created(_)
        | Event::PaymentPending(_)
        | Event::PaymentSucceeded(_)
        | Event::ShipmentScheduled(_) => {}
    }
    placed
}
