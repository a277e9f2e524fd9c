//! Handles events (`orders-consumer`): the catalogue's events update the copy of prices, a customer whose account is
//! deleted or suspended can place no orders, and an order whose refund failed needs attention.

use contracts::{
    Envelope, EventPayload, Money, Sku, UserId,
    events::{
        PaymentRefundFailed, ProductCreated, ProductDiscontinued, ProductUpdated, UserDeleted, UserRestored,
        UserSuspended,
    },
};
use jiff::Timestamp;
use lambda_kit::{
    account::AccountState,
    dynamodb::Conflict,
    sqs::{EventTypes, MessageError},
};

use crate::{commands, domain::Command, handler, store::Store};

/// The event types that the subscription brings (infra/orders.yaml).
pub const EVENT_TYPES: EventTypes = &[
    ProductCreated::TYPE,
    ProductUpdated::TYPE,
    ProductDiscontinued::TYPE,
    UserDeleted::TYPE,
    UserSuspended::TYPE,
    UserRestored::TYPE,
    PaymentRefundFailed::TYPE,
];

/// Records a product's price or its discontinuation, or the state of a customer's account. Events may come in any
/// order and repeatedly.
///
/// # Errors
/// When the event cannot be read, or the table cannot be written.
pub async fn handle(store: &Store, event: Envelope) -> Result<(), MessageError> {
    if let Some(state) = AccountState::of(&event) {
        let customer = UserId::try_from(event.subject.as_str()).map_err(MessageError::handler)?;
        let recorded = store.record_account(&customer, state, &event).await.map_err(MessageError::handler)?;
        log_stale(recorded, &event);
        return Ok(());
    }
    if event.event_type == PaymentRefundFailed::TYPE {
        return refund_failed(store, &event, Timestamp::now()).await;
    }
    let (sku, price) = read(&event)?;
    let recorded = store.record_price(&sku, event.sequence, price).await.map_err(MessageError::handler)?;
    log_stale(recorded, &event);
    Ok(())
}

/// No error: the copy already has this version or a newer one. Events arrive twice and in any order.
fn log_stale(recorded: Result<(), Conflict>, event: &Envelope) {
    if let Err(Conflict) = recorded {
        tracing::info!(version = event.sequence, "stale event ignored");
    }
}

/// Lets a cancelled order need attention: its customer is owed money.
async fn refund_failed(store: &Store, event: &Envelope, now: Timestamp) -> Result<(), MessageError> {
    let PaymentRefundFailed { order_id, refund_id, reason, .. } = event.decode()?;
    tracing::Span::current().record("order_id", order_id.as_str());
    let failed = Command::RefundFailed { refund_id, reason };
    let history = handler::execute(store, &order_id, &failed, &event.correlation_id, now).await;
    // This alarm is not left to the saga, whose execution has ended long ago: a bank returns a refund up to a
    // month later.
    commands::report_needs_attention(&history.map_err(MessageError::handler)?);
    Ok(())
}

/// The SKU and its price, if it has one from here on.
fn read(event: &Envelope) -> Result<(Sku, Option<Money>), MessageError> {
    Ok(match event.event_type.as_str() {
        ProductCreated::TYPE => {
            let ProductCreated { sku, price, .. } = event.decode()?;
            (sku, Some(price))
        }
        ProductUpdated::TYPE => {
            let ProductUpdated { sku, price, .. } = event.decode()?;
            (sku, Some(price))
        }
        _ => {
            // The only type that is left. `decode` fails for any other one.
            let ProductDiscontinued { sku } = event.decode()?;
            (sku, None)
        }
    })
}

#[cfg(test)]
mod tests;
