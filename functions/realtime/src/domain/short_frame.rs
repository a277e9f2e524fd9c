//! Frames as a buffer stores them: without what all frames of an order have in common, and what follows from the event's
//! type. In full they would take three write units at the end of an order, and so take one.

use contracts::{CorrelationId, OrderId, OrderStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::frame::{EventFrame, NoFrame, ProgressFrame};

/// A frame of an order that is known. The names are short, because each frame repeats them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortFrame {
    #[serde(rename = "e")]
    event_type: String,
    #[serde(rename = "n")]
    number: u64,
    #[serde(rename = "t")]
    occurred_at: Timestamp,
    /// Only where the event's type does not say it.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    status: Option<OrderStatus>,
    /// Only where it differs from that of the frame before.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    correlation_id: Option<CorrelationId>,
}

impl ShortFrame {
    /// The short forms of an order's frames, in their order.
    pub fn all_of(frames: &[EventFrame]) -> Vec<Self> {
        let mut before = None;
        frames.iter().map(|frame| Self::behind(&mut before, frame)).collect()
    }

    fn behind<'a>(before: &mut Option<&'a CorrelationId>, frame: &'a EventFrame) -> Self {
        let (event_type, occurred_at, status, correlation_id) = match frame {
            EventFrame::Order { status, event_type, occurred_at, correlation_id, .. } => {
                (event_type, occurred_at, *status, correlation_id)
            }
            EventFrame::Payment(progress) | EventFrame::Shipment(progress) => {
                (&progress.event_type, &progress.occurred_at, None, &progress.correlation_id)
            }
        };
        let is_new = before.replace(correlation_id) != Some(correlation_id);
        Self {
            event_type: event_type.clone(),
            number: frame.place().1,
            occurred_at: *occurred_at,
            status: status.filter(|status| OrderStatus::after(event_type) != Some(*status)),
            correlation_id: is_new.then(|| correlation_id.clone()),
        }
    }

    /// The frames of an order in full.
    ///
    /// # Errors
    /// When one is of no event that has a frame, or the first one has no correlation id.
    pub fn in_full(order_id: &OrderId, frames: Vec<Self>) -> Result<Vec<EventFrame>, NoFrame> {
        let mut before = None;
        let frames = frames.into_iter().map(|frame| {
            before = frame.correlation_id.clone().or(before.take());
            let correlation_id = before.clone().ok_or_else(|| NoFrame::Type(frame.event_type.clone()))?;
            frame.of_order(order_id.clone(), correlation_id)
        });
        frames.collect()
    }

    fn of_order(self, order_id: OrderId, correlation_id: CorrelationId) -> Result<EventFrame, NoFrame> {
        let Self { event_type, number, occurred_at, status, .. } = self;
        let Some((context, fact)) = event_type.split_once('.') else {
            return Err(NoFrame::Type(event_type));
        };
        let (context, fact) = (context.to_owned(), fact.to_owned());
        if context == "order" {
            let status = status.or_else(|| OrderStatus::after(&event_type));
            let version = number;
            return Ok(EventFrame::Order {
                order_id,
                version,
                status,
                event_type,
                occurred_at,
                correlation_id,
            });
        }
        let progress = ProgressFrame {
            order_id,
            sequence: number,
            status: fact,
            event_type,
            occurred_at,
            correlation_id,
        };
        match context.as_str() {
            "payment" => Ok(EventFrame::Payment(progress)),
            "shipment" => Ok(EventFrame::Shipment(progress)),
            _ => Err(NoFrame::Type(progress.event_type)),
        }
    }
}

#[cfg(test)]
mod tests {
    use contracts::Envelope;
    use serde_json::json;

    use super::*;

    const ORDER: &str = "ord_0123456789abcdef0123456789abcdef";

    fn frame(event_type: &str, number: u64, correlation: &str, before: Option<OrderStatus>) -> EventFrame {
        let event: Envelope = serde_json::from_value(json!({
            "event_id": "evt_0123456789abcdef0123456789abcdef", "event_type": event_type, "event_version": 1,
            "occurred_at": "2026-11-20T12:00:00.123456789Z", "source": "orders", "subject": ORDER,
            "sequence": number, "correlation_id": correlation, "causation_id": "c", "data": {},
            "metadata": {"user_id": null, "tenant_id": null}
        }))
        .unwrap();
        EventFrame::of(&event, before).unwrap()
    }

    /// The ways of an order that completes.
    fn completed() -> Vec<EventFrame> {
        let correlation = "0123456789abcdef0123456789abcdef";
        let paid = Some(OrderStatus::PaymentSucceeded);
        vec![
            frame("order.created", 1, correlation, None),
            frame("order.inventory_reserved", 2, correlation, None),
            frame("order.payment_pending", 3, correlation, None),
            frame("payment.succeeded", 1, correlation, None),
            frame("shipment.scheduled", 1, correlation, None),
            frame("order.payment_succeeded", 4, correlation, None),
            frame("order.shipment_scheduled", 5, correlation, paid),
            frame("order.completed", 6, correlation, paid),
        ]
    }

    fn stored(frames: &[EventFrame]) -> String {
        serde_json::to_string(&ShortFrame::all_of(frames)).unwrap()
    }

    fn read(stored: &str) -> Result<Vec<EventFrame>, NoFrame> {
        ShortFrame::in_full(&OrderId::try_from(ORDER).unwrap(), serde_json::from_str(stored).unwrap())
    }

    #[test]
    fn frames_are_the_same_after_they_were_stored() {
        let mut frames = completed();
        frames.push(frame("order.cancel_requested", 7, "another", Some(OrderStatus::OrderCompleted)));
        frames.push(frame("order.of_a_later_release", 8, "another", None));
        frames.push(frame("shipment.shipped", 2, "third", None));
        assert_eq!(read(&stored(&frames)).unwrap(), frames);
    }

    /// With its key, its owner and its numbers, the item has some 250 bytes more.
    #[test]
    fn the_frames_of_a_completed_order_are_written_by_one_unit() {
        assert!(stored(&completed()).len() < 1024 - 300, "{}", stored(&completed()).len());
    }

    #[test]
    fn a_frame_of_another_event_or_without_a_correlation_id_is_an_error() {
        let time = "2026-11-20T12:00:00Z";
        for (event_type, correlation) in
            [("product.created", Some("c")), ("order.created", None), ("order", Some("c"))]
        {
            let frame = json!([{"e": event_type, "n": 1, "t": time, "c": correlation}]);
            assert!(read(&frame.to_string()).is_err(), "{event_type}");
        }
    }
}
