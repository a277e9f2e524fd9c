//! How far an order is.

use serde::{Deserialize, Serialize};

use crate::{
    EventPayload,
    events::{
        OrderCancelled, OrderCompensationFailed, OrderCompleted, OrderCreated, OrderInventoryNotAvailable,
        OrderInventoryReleased, OrderInventoryReserved, OrderPaymentFailed, OrderPaymentPending,
        OrderPaymentRefunded, OrderPaymentSucceeded, OrderShipmentScheduled,
    },
};

/// The status of an order after its last event, as customers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OrderStatus {
    /// The order is placed. Its stock is not reserved yet.
    OrderCreated,
    /// Its stock is held.
    InventoryReserved,
    /// Too little stock. The order is about to be cancelled.
    InventoryNotAvailable,
    /// It waits for the customer's payment.
    PaymentPending,
    /// It is paid, and perhaps its shipment booked.
    PaymentSucceeded,
    /// It was not paid. The order is about to be cancelled.
    PaymentFailed,
    /// Its payment was undone. The order is about to be cancelled.
    PaymentRefunded,
    /// Its stock was released. The order is about to be cancelled.
    InventoryReleased,
    /// It is paid, and its shipment booked. Final.
    OrderCompleted,
    /// It is cancelled, and everything was undone. Final.
    OrderCancelled,
    /// Not final: an undo failed, and a retry can still end the order as `OrderCancelled`.
    NeedsAttention,
}

impl OrderStatus {
    /// Whether no further event can follow.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::OrderCompleted | Self::OrderCancelled)
    }

    /// The status of an order after an event of this type. `None` for types that keep the status:
    /// `order.cancel_requested`, and every type that this code does not know.
    pub fn after(event_type: &str) -> Option<Self> {
        Some(match event_type {
            OrderCreated::TYPE => Self::OrderCreated,
            OrderInventoryReserved::TYPE => Self::InventoryReserved,
            OrderInventoryNotAvailable::TYPE => Self::InventoryNotAvailable,
            OrderPaymentPending::TYPE => Self::PaymentPending,
            OrderPaymentSucceeded::TYPE | OrderShipmentScheduled::TYPE => Self::PaymentSucceeded,
            OrderPaymentFailed::TYPE => Self::PaymentFailed,
            OrderCompleted::TYPE => Self::OrderCompleted,
            OrderPaymentRefunded::TYPE => Self::PaymentRefunded,
            OrderInventoryReleased::TYPE => Self::InventoryReleased,
            OrderCancelled::TYPE => Self::OrderCancelled,
            OrderCompensationFailed::TYPE => Self::NeedsAttention,
            // A later release may add types. The order keeps the status that this release knows.
            _ => return None,
        })
    }

    /// The status as it is on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderCreated => "OrderCreated",
            Self::InventoryReserved => "InventoryReserved",
            Self::InventoryNotAvailable => "InventoryNotAvailable",
            Self::PaymentPending => "PaymentPending",
            Self::PaymentSucceeded => "PaymentSucceeded",
            Self::PaymentFailed => "PaymentFailed",
            Self::PaymentRefunded => "PaymentRefunded",
            Self::InventoryReleased => "InventoryReleased",
            Self::OrderCompleted => "OrderCompleted",
            Self::OrderCancelled => "OrderCancelled",
            Self::NeedsAttention => "NeedsAttention",
        }
    }
}

impl std::fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shipment_leaves_the_status_at_paid_and_a_wish_to_cancel_leaves_it_as_it_was() {
        assert_eq!(OrderStatus::after("order.created"), Some(OrderStatus::OrderCreated));
        assert_eq!(OrderStatus::after("order.shipment_scheduled"), Some(OrderStatus::PaymentSucceeded));
        assert_eq!(OrderStatus::after("order.compensation_failed"), Some(OrderStatus::NeedsAttention));
        assert_eq!(OrderStatus::after("order.cancel_requested"), None);
        assert_eq!(OrderStatus::after("payment.succeeded"), None);
    }
}
