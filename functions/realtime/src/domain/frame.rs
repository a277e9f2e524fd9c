//! The frames that the server sends.

use contracts::{CorrelationId, Envelope, InvalidId, OrderId, OrderStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One message to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Frame {
    /// From now on the connection gets the frames of this order; without one, of all the user's orders.
    Subscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        order_id: Option<OrderId>,
    },
    /// From now on it does not.
    Unsubscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        order_id: Option<OrderId>,
    },
    /// `dropped` order frames are missing here. The client gets them by `GET /v1/orders/{id}/events`.
    Gap {
        order_id: OrderId,
        dropped: u64,
    },
    Pong,
    Error(Refusal),
    #[serde(untagged)]
    Event(EventFrame),
}

/// Why a client's frame had no effect. The connection stays open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Refusal {
    pub code: ErrorCode,
    /// What the client has to do about it.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    BadRequest,
    UnknownAction,
    NotFound,
    TooManySubscriptions,
}

impl Frame {
    pub fn error(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Error(Refusal { code, message: message.into() })
    }

    /// The text that goes over the wire.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always have a JSON form")
    }
}

/// What one event looks like to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventFrame {
    Order {
        order_id: OrderId,
        version: u64,
        /// Null when the event keeps the status and no earlier one is known.
        status: Option<OrderStatus>,
        event_type: String,
        occurred_at: Timestamp,
        correlation_id: CorrelationId,
    },
    Payment(ProgressFrame),
    Shipment(ProgressFrame),
}

/// A step of another context, by that context's own count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ProgressFrame {
    pub order_id: OrderId,
    pub sequence: u64,
    /// The event type's second half: `succeeded`, `shipped`, …
    pub status: String,
    pub event_type: String,
    pub occurred_at: Timestamp,
    pub correlation_id: CorrelationId,
}

/// Whose count a frame's number belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    Order,
    Payment,
    Shipment,
}

/// The event has no frame.
#[derive(Debug, thiserror::Error)]
pub enum NoFrame {
    #[error("{0} events have no frame")]
    Type(String),
    #[error("the subject is not an order")]
    Subject(#[from] InvalidId),
}

impl EventFrame {
    /// The frame of an event. An order event that keeps the status has the status `before`.
    ///
    /// # Errors
    /// When the event is none of an order, a payment or a shipment.
    pub fn of(event: &Envelope, before: Option<OrderStatus>) -> Result<Self, NoFrame> {
        let (context, fact) =
            event.event_type.split_once('.').ok_or_else(|| NoFrame::Type(event.event_type.clone()))?;
        let order_id = OrderId::try_from(event.subject.as_str())?;
        let progress = |order_id| ProgressFrame {
            order_id,
            sequence: event.sequence,
            status: fact.to_owned(),
            event_type: event.event_type.clone(),
            occurred_at: event.occurred_at,
            correlation_id: event.correlation_id.clone(),
        };
        match context {
            "order" => Ok(Self::Order {
                order_id,
                version: event.sequence,
                status: OrderStatus::after(&event.event_type).or(before),
                event_type: event.event_type.clone(),
                occurred_at: event.occurred_at,
                correlation_id: event.correlation_id.clone(),
            }),
            "payment" => Ok(Self::Payment(progress(order_id))),
            "shipment" => Ok(Self::Shipment(progress(order_id))),
            _ => Err(NoFrame::Type(event.event_type.clone())),
        }
    }

    /// Identifies the frame within its order: the sequence that it counts in, and the number.
    pub const fn place(&self) -> (FrameKind, u64) {
        match self {
            Self::Order { version, .. } => (FrameKind::Order, *version),
            Self::Payment(progress) => (FrameKind::Payment, progress.sequence),
            Self::Shipment(progress) => (FrameKind::Shipment, progress.sequence),
        }
    }

    pub const fn order_id(&self) -> &OrderId {
        match self {
            Self::Order { order_id, .. } => order_id,
            Self::Payment(progress) | Self::Shipment(progress) => &progress.order_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ORDER: &str = "ord_0123456789abcdef0123456789abcdef";

    fn event(event_type: &str, subject: &str, sequence: u64) -> Envelope {
        serde_json::from_value(json!({
            "event_id": "evt_0123456789abcdef0123456789abcdef", "event_type": event_type, "event_version": 1,
            "occurred_at": "2026-11-20T12:00:00Z", "source": "orders", "subject": subject, "sequence": sequence,
            "correlation_id": "cor_1", "causation_id": "c", "data": {}, "metadata": {"user_id": null, "tenant_id": null}
        }))
        .unwrap()
    }

    fn json_of(event_type: &str, before: Option<OrderStatus>) -> Value {
        let frame = EventFrame::of(&event(event_type, ORDER, 3), before).unwrap();
        serde_json::from_str(&Frame::Event(frame).to_json()).unwrap()
    }

    #[test]
    fn an_order_event_tells_version_and_status() {
        assert_eq!(
            json_of("order.payment_pending", None),
            json!({
                "type": "order", "order_id": ORDER, "version": 3, "status": "PaymentPending",
                "event_type": "order.payment_pending", "occurred_at": "2026-11-20T12:00:00Z", "correlation_id": "cor_1"
            })
        );
    }

    #[test]
    fn an_event_that_keeps_the_status_repeats_the_one_before() {
        let before = Some(OrderStatus::PaymentPending);
        assert_eq!(json_of("order.cancel_requested", before)["status"], "PaymentPending");
        assert_eq!(json_of("order.cancel_requested", None)["status"], Value::Null);
    }

    #[test]
    fn payments_and_shipments_tell_their_own_count() {
        let shipped = json_of("shipment.shipped", None);
        assert_eq!(
            (&shipped["type"], &shipped["sequence"], &shipped["status"]),
            (&json!("shipment"), &json!(3), &json!("shipped"))
        );
        assert_eq!(json_of("payment.succeeded", None)["type"], "payment");
    }

    /// API Gateway limits a frame to 32 KB. A frame leaves out the event's payload, however large that is.
    #[test]
    fn a_frame_is_small_whatever_its_event_holds() {
        let mut large = event("order.inventory_not_available", ORDER, u64::MAX);
        large.correlation_id = CorrelationId::try_from("c".repeat(128)).unwrap();
        large.data = json!({"note": "x".repeat(32 * 1024)});
        let frame = EventFrame::of(&large, None).unwrap();
        assert!(Frame::Event(frame).to_json().len() < lambda_kit::limits::FRAME_BYTES / 32);
    }

    #[test]
    fn other_events_have_no_frame() {
        assert!(EventFrame::of(&event("product.created", ORDER, 1), None).is_err());
        assert!(EventFrame::of(&event("order.created", "MUG", 1), None).is_err());
    }

    #[test]
    fn errors_and_notices_look_as_the_contract_says() {
        let order_id = OrderId::try_from(ORDER).unwrap();
        let frames = [
            (Frame::Pong, json!({"type": "pong"})),
            (Frame::Subscribed { order_id: None }, json!({"type": "subscribed"})),
            (Frame::Gap { order_id, dropped: 2 }, json!({"type": "gap", "order_id": ORDER, "dropped": 2})),
            (
                Frame::error(ErrorCode::TooManySubscriptions, "m"),
                json!({"type": "error", "code": "too_many_subscriptions", "message": "m"}),
            ),
        ];
        for (frame, expected) in frames {
            assert_eq!(serde_json::from_str::<Value>(&frame.to_json()).unwrap(), expected);
        }
    }
}
