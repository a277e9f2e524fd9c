//! The events that customers are notified of.

use contracts::{
    DecodeError, Envelope, EventPayload, Money,
    events::{
        OrderCancelled, OrderCompleted, OrderCreated, PaymentPending, PaymentRefunded, RefundCause,
        ShipmentDelivered, ShipmentShipped, WaitsFor,
    },
};

/// An order's event, as its customer is notified of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderUpdate {
    Received {
        total: Money,
    },
    /// The bank requires the customer to confirm the payment.
    ActionNeeded {
        amount: Money,
    },
    Completed {
        total: Money,
    },
    Cancelled {
        /// The saga's error name.
        reason: String,
    },
    Refunded {
        amount: Money,
        cause: RefundCause,
    },
    Shipped {
        carrier: String,
        tracking_number: String,
    },
    Delivered,
}

impl OrderUpdate {
    /// The types of events that customers are notified of at once. [`Self::Received`] waits (`confirmation`).
    pub const TYPES: [&str; 6] = [
        OrderCompleted::TYPE,
        OrderCancelled::TYPE,
        PaymentPending::TYPE,
        PaymentRefunded::TYPE,
        ShipmentShipped::TYPE,
        ShipmentDelivered::TYPE,
    ];

    /// The notification for an event; `None` when it is pending on the bank's side, or has another type.
    ///
    /// # Errors
    /// When the event's payload cannot be read.
    pub fn from_event(event: &Envelope) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match event.event_type.as_str() {
            OrderCreated::TYPE => Self::Received { total: event.decode::<OrderCreated>()?.total },
            OrderCompleted::TYPE => Self::Completed { total: event.decode::<OrderCompleted>()?.total },
            OrderCancelled::TYPE => Self::Cancelled { reason: event.decode::<OrderCancelled>()?.reason },
            PaymentPending::TYPE => match event.decode()? {
                PaymentPending { amount, waits_for: WaitsFor::Customer, .. } => Self::ActionNeeded { amount },
                // The customer can do nothing while the bank decides.
                PaymentPending { waits_for: WaitsFor::Bank, .. } => return Ok(None),
            },
            PaymentRefunded::TYPE => {
                let PaymentRefunded { amount, cause, .. } = event.decode()?;
                Self::Refunded { amount, cause }
            }
            ShipmentShipped::TYPE => {
                let ShipmentShipped { carrier, tracking_number, .. } = event.decode()?;
                Self::Shipped { carrier, tracking_number }
            }
            ShipmentDelivered::TYPE => Self::Delivered,
            _ => return Ok(None),
        }))
    }

    /// Whether the order has ended with this update.
    pub const fn ends_order(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Cancelled { .. })
    }
}
