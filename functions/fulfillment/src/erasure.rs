//! Erases the address of a deleted customer from all shipments, including those that are booked later: once a
//! shipment is booked, its label has the address.
//!
//! A new shipment is recorded first, and the deletion mark read after that; a deletion is marked first, and the
//! shipments read after that. So either this code sees the mark, or the deletion sees the shipment.

use contracts::{Envelope, EventPayload, InvalidId, OrderId, UserId, events::UserDeleted};
use lambda_kit::{
    dynamodb::TableError,
    error::error_chain,
    relay::Handled,
    sqs::{EventTypes, MessageError},
    stream::{Image, StreamEvent, StreamRecord},
};

use crate::store::Store;

/// The event types of the subscription (infra/fulfillment.yaml).
pub const EVENT_TYPES: EventTypes = &[UserDeleted::TYPE];

/// Why the index of addresses could not be updated for a shipment.
#[derive(Debug, thiserror::Error)]
enum IndexError {
    #[error("an id cannot be read")]
    Id(#[from] InvalidId),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Erases the addresses of a deleted customer (`fulfillment-consumer`). Idempotent; a repeat continues an
/// interrupted run.
///
/// # Errors
/// When the event must be retried.
pub async fn handle_event(store: &Store, event: Envelope) -> Result<(), MessageError> {
    let UserDeleted { user_id } = event.decode()?;
    let erased = erase_all(store, &user_id).await.map_err(MessageError::handler)?;
    tracing::info!(erased, "a deleted customer's addresses are erased");
    Ok(())
}

async fn erase_all(store: &Store, customer: &UserId) -> Result<usize, TableError> {
    // Before the shipments are read. A shipment that is written after that read is erased by the relay, which
    // then finds the mark.
    store.mark_deleted(customer).await?;
    let (mut erased, mut from) = (0, None);
    loop {
        let page = store.addresses(customer, from).await?;
        for order in &page.orders {
            erase(store, customer, order).await?;
        }
        erased += page.orders.len();
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(erased),
        }
    }
}

/// Erases the address of a shipment, and its entry in the index.
// The entry is deleted last. When the function dies in between, a repeat still finds the shipment.
async fn erase(store: &Store, customer: &UserId, order: &OrderId) -> Result<(), TableError> {
    store.erase_address(order).await?;
    store.delete_address_entry(customer, order).await
}

/// Updates the index of addresses for the batch's shipments (`fulfillment-relay`, concurrently with
/// publishing), and returns the result for each record.
pub async fn index_addresses(store: &Store, batch: &StreamEvent) -> Handled {
    let mut handled = Handled::default();
    for record in &batch.records {
        if let Err(error) = index_address(store, record).await {
            tracing::error!(error = error_chain(&error), "a shipment's address could not be indexed");
            let records = match error {
                // An id that cannot be read stays so. Its record is parked, and does not block the shard.
                IndexError::Id(_) => &mut handled.unprocessable,
                IndexError::Table(_) => &mut handled.failed,
            };
            records.insert(record.dynamodb.sequence_number.clone());
        }
    }
    handled
}

async fn index_address(store: &Store, record: &StreamRecord) -> Result<(), IndexError> {
    let (old, new) = (record.dynamodb.old_image.as_ref(), record.dynamodb.new_image.as_ref());
    let has_address = |image: Option<&Image>| image.is_some_and(|image| image.has("shipping_address"));
    // Most changes of a shipment leave its address as it is, and cost no write here.
    let Some(shipment) = new.filter(|_| has_address(old) != has_address(new)) else { return Ok(()) };
    let id = |name| shipment.string(name).unwrap_or_default();
    let (customer, order) = (UserId::try_from(id("user_id"))?, OrderId::try_from(id("order_id"))?);
    if !has_address(new) {
        return Ok(store.delete_address_entry(&customer, &order).await?);
    }
    // The entry first, and then the look for the mark. The deletion does it the other way round: mark, then
    // entries. So one of the two sees the other.
    store.put_address_entry(&customer, &order).await?;
    if store.is_deleted(&customer).await? {
        erase(store, &customer, &order).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
