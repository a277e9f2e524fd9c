//! The events of an order.

use contracts::{
    DecodeError, Envelope, EventPayload, NewEvent,
    events::{
        OrderCancelRequested, OrderCancelled, OrderCompensationFailed, OrderCompleted, OrderCreated,
        OrderInventoryNotAvailable, OrderInventoryReleased, OrderInventoryReserved, OrderPaymentFailed,
        OrderPaymentPending, OrderPaymentRefunded, OrderPaymentSucceeded, OrderShipmentScheduled,
    },
};

// One list makes all three matches. `read` matches texts, and the compiler would not notice an event that it
// lacks.
macro_rules! events {
    ($($variant:ident($payload:ident)),+ $(,)?) => {
        /// One fact about an order: its type and payload.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $($variant($payload)),+
        }

        impl Event {
            pub fn event_type(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $payload::TYPE),+
                }
            }

            /// The event as others read it, and as it is stored.
            ///
            /// # Errors
            /// When the payload has no JSON form.
            pub fn wrap(&self, new: NewEvent<'_>) -> Result<Envelope, serde_json::Error> {
                match self {
                    $(Self::$variant(payload) => Envelope::new(new, payload)),+
                }
            }

            /// The event in an envelope.
            ///
            /// # Errors
            /// When it is not an order's event, newer than this code, or not of its type's form.
            pub fn read(envelope: &Envelope) -> Result<Self, DecodeError> {
                match envelope.event_type.as_str() {
                    $($payload::TYPE => envelope.decode().map(Self::$variant),)+
                    other => Err(DecodeError::WrongType { expected: "order.*", actual: other.to_owned() }),
                }
            }
        }
    };
}

events! {
    Created(OrderCreated),
    InventoryReserved(OrderInventoryReserved),
    InventoryNotAvailable(OrderInventoryNotAvailable),
    PaymentPending(OrderPaymentPending),
    PaymentSucceeded(OrderPaymentSucceeded),
    PaymentFailed(OrderPaymentFailed),
    ShipmentScheduled(OrderShipmentScheduled),
    Completed(OrderCompleted),
    CancelRequested(OrderCancelRequested),
    PaymentRefunded(OrderPaymentRefunded),
    InventoryReleased(OrderInventoryReleased),
    Cancelled(OrderCancelled),
    CompensationFailed(OrderCompensationFailed),
}
