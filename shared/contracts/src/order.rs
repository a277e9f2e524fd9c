//! What an order is made of, as other contexts see it.

use serde::{Deserialize, Serialize};

use crate::{
    EventPayload, Money, Sku,
    events::{
        OrderCancelled, OrderCompensationFailed, OrderCompleted, OrderCreated, OrderInventoryNotAvailable,
        OrderInventoryReleased, OrderInventoryReserved, OrderPaymentFailed, OrderPaymentPending,
        OrderPaymentRefunded, OrderPaymentSucceeded, OrderShipmentScheduled,
    },
};

/// A quantity of one SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderLine {
    pub sku: Sku,
    pub quantity: u32,
}

/// A line with the price that it was ordered at, and keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PricedLine {
    pub sku: Sku,
    pub quantity: u32,
    pub unit_price: Money,
}

impl PricedLine {
    pub fn unpriced(&self) -> OrderLine {
        OrderLine { sku: self.sku.clone(), quantity: self.quantity }
    }
}

/// What a discount code took off an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderDiscount {
    /// As the code is written by those who gave it out.
    pub code: String,
    pub amount: Money,
}

/// Personal data: travels in the saga's input only, never in an event or a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShippingAddress {
    pub name: String,
    pub line1: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    pub city: String,
    pub postal_code: String,
    /// ISO 3166-1 alpha-2, upper case.
    pub country: String,
}

impl std::fmt::Debug for ShippingAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShippingAddress {{ country: {}, .. }}", self.country)
    }
}

/// The status of an order after its last event, as customers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OrderStatus {
    OrderCreated,
    InventoryReserved,
    InventoryNotAvailable,
    PaymentPending,
    PaymentSucceeded,
    PaymentFailed,
    PaymentRefunded,
    InventoryReleased,
    OrderCompleted,
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
            _ => return None,
        })
    }

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
