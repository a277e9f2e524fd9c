//! Handles events (`orders-consumer`): the catalogue's events update the copy of prices, a deleted customer
//! can place no more orders, and an order whose refund failed needs attention.

use contracts::{
    Envelope, EventPayload, Money, Sku,
    events::{PaymentRefundFailed, ProductCreated, ProductDiscontinued, ProductUpdated, UserDeleted},
};
use jiff::Timestamp;
use lambda_kit::{
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
    PaymentRefundFailed::TYPE,
];

/// Records a product's price or its discontinuation, or a customer's deletion. Events may come in any order
/// and repeatedly.
///
/// # Errors
/// When the event cannot be read, or the table cannot be written.
pub async fn handle(store: &Store, event: Envelope) -> Result<(), MessageError> {
    if event.event_type == UserDeleted::TYPE {
        let UserDeleted { user_id } = event.decode()?;
        // The mark counts from the deletion, and not from now. An event that arrives late writes a mark that
        // has expired, and the tokens that it would refuse have expired, too.
        return store.block_orders_of(&user_id, event.occurred_at).await.map_err(MessageError::handler);
    }
    if event.event_type == PaymentRefundFailed::TYPE {
        return refund_failed(store, &event, Timestamp::now()).await;
    }
    let (sku, price) = read(&event)?;
    let recorded = store.record_price(&sku, event.sequence, price).await.map_err(MessageError::handler)?;
    if let Err(Conflict) = recorded {
        // No error: the copy already has this version or a newer one. Events arrive twice and in any order.
        tracing::info!(version = event.sequence, "stale event ignored");
    }
    Ok(())
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
