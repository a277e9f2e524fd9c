//! The events that payments handles: an order with a cancel request waits for its payment no longer.

use contracts::{Envelope, EventPayload, OrderId, events::OrderCancelRequested};
use jiff::Timestamp;
use lambda_kit::sqs::{EventTypes, MessageError};

use crate::{
    domain::{EventContext, PaymentInput},
    recorder::InputRecorder,
};

/// The event types that the subscription brings (infra/payments.yaml).
pub const EVENT_TYPES: EventTypes = &[OrderCancelRequested::TYPE];

/// Gives up a payment that is not decided.
///
/// # Errors
/// When the event must be retried.
// An order does not complete after this event, so giving up is right whenever the event arrives. Before the
// payment, it leaves a mark that makes a late payment fail. A payment that has succeeded is undone by the saga.
pub async fn handle(recorder: &InputRecorder, event: Envelope, now: Timestamp) -> Result<(), MessageError> {
    // The content is not needed. Decoding refuses a version that this code does not know.
    event.decode::<OrderCancelRequested>()?;
    let order_id = OrderId::try_from(event.subject).map_err(MessageError::handler)?;
    tracing::Span::current().record("order_id", order_id.as_str());
    let user_id = event.metadata.user_id.ok_or_else(|| MessageError::handler("the event names no user"))?;
    let requested = PaymentInput::CancelRequested { user_id, correlation_id: event.correlation_id };
    let event_id: String = event.event_id.into();
    let known = recorder.store.get(&order_id).await.map_err(MessageError::handler)?;
    let context = EventContext { now, causation_id: &event_id };
    recorder.record(&order_id, known, &requested, context).await.map_err(MessageError::handler)
}

#[cfg(test)]
mod tests;
