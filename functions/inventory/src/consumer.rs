//! The events that inventory handles: a completed order commits its reservation, which sells the stock.

use contracts::{Envelope, EventPayload, OrderId, events::OrderCompleted};
use jiff::Timestamp;
use lambda_kit::sqs::{EventTypes, MessageError};

use crate::{
    domain::{Command, EventContext},
    handler::end_reservation,
    store::Store,
};

/// The event types of the subscription (infra/inventory.yaml).
pub const EVENT_TYPES: EventTypes = &[OrderCompleted::TYPE];

/// Commits the order's reservation. A repeat changes nothing.
///
/// # Errors
/// When nothing is held for the order, or the table cannot be written.
// An order that completed without stock is a fault. Its message is retried, and then kept in the dead-letter queue
// for a person.
pub async fn handle(store: &Store, event: Envelope, now: Timestamp) -> Result<(), MessageError> {
    // The content is not needed. Decoding refuses a version that this code does not know.
    event.decode::<OrderCompleted>()?;
    let order_id = OrderId::try_from(event.subject).map_err(MessageError::handler)?;
    let context = EventContext {
        order_id,
        user_id: event.metadata.user_id,
        correlation_id: event.correlation_id,
        causation_id: event.event_id.into(),
        at: now,
    };
    end_reservation(store, Command::Commit, &context).await.map_err(MessageError::handler)?;
    Ok(())
}

#[cfg(test)]
mod tests;
