//! The catalogue's events keep the price book, and whoever was deleted orders no more (`orders-consumer`).

use contracts::{
    Envelope, EventPayload, Money, Sku,
    events::{ProductCreated, ProductDiscontinued, ProductUpdated, UserDeleted},
};
use lambda_kit::sqs::MessageError;

use crate::store::{Noted, Store};

/// Notes a product's price, or its end, or a customer's. In any order, and as often as it comes.
///
/// # Errors
/// When the event cannot be read, or the table cannot be written.
pub async fn handle(store: &Store, event: Envelope) -> Result<(), MessageError> {
    if event.event_type == UserDeleted::TYPE {
        let UserDeleted { user_id } = event.decode()?;
        return store.bar(&user_id, event.occurred_at).await.map_err(MessageError::handler);
    }
    let Some((sku, price)) = read(&event)? else {
        tracing::warn!(event_type = event.event_type, "not an event for the price book: check the filter");
        return Ok(());
    };
    let noted = store.note_price(&sku, event.sequence, price).await.map_err(MessageError::handler)?;
    if noted == Noted::Outdated {
        tracing::info!(version = event.sequence, "as much was known already");
    }
    Ok(())
}

/// The SKU and its price, if it has one from here on; nothing when the event is not about products.
fn read(event: &Envelope) -> Result<Option<(Sku, Option<Money>)>, MessageError> {
    Ok(Some(match event.event_type.as_str() {
        ProductCreated::TYPE => {
            let ProductCreated { sku, price, .. } = event.decode()?;
            (sku, Some(price))
        }
        ProductUpdated::TYPE => {
            let ProductUpdated { sku, price, .. } = event.decode()?;
            (sku, Some(price))
        }
        ProductDiscontinued::TYPE => {
            let ProductDiscontinued { sku } = event.decode()?;
            (sku, None)
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests;
