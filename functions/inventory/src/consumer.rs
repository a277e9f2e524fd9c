//! What inventory does when it hears of others: an order that completed sells what is held for it.

use contracts::{Envelope, OrderId, events::OrderCompleted};
use jiff::Timestamp;
use lambda_kit::sqs::MessageError;

use crate::{
    domain::{Cause, Command},
    settle::settle,
    store::Store,
};

/// Commits the order's reservation. A repeat changes nothing.
///
/// # Errors
/// When nothing is held for the order: the message comes again, and then waits in the dead-letter queue for somebody
/// to look, because an order that completed without stock is a fault.
pub async fn handle(store: &Store, event: Envelope, now: Timestamp) -> Result<(), MessageError> {
    // Read for its type and version: whatever else is sent here is a fault of the subscription.
    event.decode::<OrderCompleted>()?;
    let order_id = OrderId::try_from(event.subject).map_err(MessageError::handler)?;
    let cause = Cause {
        order_id,
        user_id: event.metadata.user_id,
        correlation_id: event.correlation_id,
        causation_id: event.event_id.into(),
        at: now,
    };
    settle(store, Command::Commit, &cause).await.map_err(MessageError::handler)?;
    Ok(())
}

#[cfg(test)]
mod tests;
