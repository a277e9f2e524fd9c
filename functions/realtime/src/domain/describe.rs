//! The frames as the description of the WebSocket tells them.

use contracts::OrderStatus;
use jiff::Timestamp;
use lambda_kit::openapi::SchemaOf;
use serde_json::{Value, json};

use super::{
    ErrorCode, Frame,
    frame::{EventFrame, ProgressFrame},
};

const ORDER_ID: &str = "ord_0123456789abcdef0123456789abcdef";

/// What goes over the WebSocket.
#[derive(Debug)]
pub struct Frames {
    /// Of what a client sends.
    pub client: Value,
    /// One of each kind, by its `action`.
    pub client_examples: Vec<Value>,
    /// Of what the server sends.
    pub server: SchemaOf,
    /// One of each kind, by its `type`.
    pub server_examples: Vec<Value>,
}

pub fn frames() -> Frames {
    Frames {
        client: client(),
        client_examples: vec![
            json!({"action": "subscribe", "order_id": ORDER_ID, "after": 3}),
            json!({"action": "unsubscribe", "order_id": ORDER_ID}),
            json!({"action": "ping"}),
        ],
        server: |generator| generator.subschema_for::<Frame>(),
        server_examples: server_examples().iter().map(|frame| json!(frame)).collect(),
    }
}

/// Clients' frames are read by hand, for an answer that says what is wrong: their schema is written by hand, too, and
/// what it says is tried on the reader.
fn client() -> Value {
    let order_id = json!({"type": ["string", "null"], "pattern": "^ord_[0-9a-f]{32}$",
        "description": "Without one: all orders of the user."});
    json!({
        "oneOf": [
            {
                "type": "object",
                "properties": {
                    "action": {"const": "subscribe"},
                    "order_id": order_id,
                    "after": {"type": ["integer", "null"], "minimum": 0,
                        "description": "The order's last version that the client has seen. Without one: live frames only."}
                },
                "required": ["action"]
            },
            {
                "type": "object",
                "properties": {"action": {"const": "unsubscribe"}, "order_id": order_id},
                "required": ["action"]
            },
            {"type": "object", "properties": {"action": {"const": "ping"}}, "required": ["action"]}
        ]
    })
}

fn server_examples() -> Vec<Frame> {
    let order_id = || ORDER_ID.parse().expect("an order id");
    let correlation_id = || "cor_0123456789abcdef0123456789abcdef".parse().expect("a correlation id");
    let occurred_at = Timestamp::constant(1_795_262_400, 0);
    let progress = |event_type: &str| ProgressFrame {
        order_id: order_id(),
        sequence: 2,
        status: event_type.rsplit('.').next().unwrap_or_default().to_owned(),
        event_type: event_type.to_owned(),
        occurred_at,
        correlation_id: correlation_id(),
    };
    vec![
        Frame::Subscribed { order_id: Some(order_id()) },
        Frame::Unsubscribed { order_id: Some(order_id()) },
        Frame::Gap { order_id: order_id(), dropped: 2 },
        Frame::Pong,
        Frame::error(ErrorCode::BadRequest, "A frame is a JSON object with an `action`."),
        Frame::Event(EventFrame::Order {
            order_id: order_id(),
            version: 4,
            status: Some(OrderStatus::PaymentSucceeded),
            event_type: "order.payment_succeeded".to_owned(),
            occurred_at,
            correlation_id: correlation_id(),
        }),
        Frame::Event(EventFrame::Payment(progress("payment.succeeded"))),
        Frame::Event(EventFrame::Shipment(progress("shipment.scheduled"))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::parse;

    #[test]
    fn what_is_described_is_understood() {
        for frame in frames().client_examples {
            assert!(parse(&frame.to_string()).is_ok(), "{frame}");
        }
    }
}
