//! What the relay does besides publishing events. It publishes a SKU's availability when it changes, and records
//! what reservations take and return. The relay does it because it sees every change of stock in the stream, so
//! that a reservation needs no additional read or write.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{CorrelationId, Sku};
use futures::future::join_all;
use jiff::Timestamp;
use lambda_kit::{dynamodb::TableError, error::error_chain, relay::Handled, stream::StreamEvent};

use crate::{
    domain::{StockMoves, availability_change},
    store::{Store, changed_sku, moves_of},
};

/// Tries of reading and publishing for one SKU.
// Each try but the last publishes an availability, so this many changes would have to happen within
// milliseconds. After that the records are retried.
const TRIES: usize = 5;

#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the event has no JSON form")]
    Event(#[from] serde_json::Error),
    #[error("the availability changed at every try")]
    Contended,
}

/// Publishes the availabilities that this batch of the stream may have changed, and records the moves of its
/// reservations.
pub async fn follow_stock(store: &Store, batch: &StreamEvent, now: Timestamp) -> Handled {
    let (unpublished, mut handled) =
        tokio::join!(publish_availability_changes(store, batch, now), record_moves(store, batch));
    handled.extend(unpublished.into());
    handled
}

/// Records what the reservations of this batch have taken or returned.
async fn record_moves(store: &Store, batch: &StreamEvent) -> Handled {
    let mut handled = Handled::default();
    let (mut moves, mut records): (Vec<StockMoves>, BTreeSet<String>) = Default::default();
    for record in &batch.records {
        let number = record.dynamodb.sequence_number.clone();
        match moves_of(record) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                moves.extend(found);
                records.insert(number);
            }
            Err(error) => {
                tracing::error!(error = error_chain(&error), "a reservation of the stream cannot be read");
                handled.unprocessable.insert(number);
            }
        }
    }
    // All together, since 25 of them cost one call.
    if !moves.is_empty()
        && let Err(error) = store.record_moves(&moves).await
    {
        tracing::error!(error = error_chain(&error), "moves of stock could not be recorded");
        handled.failed = records;
    }
    handled
}

/// Publishes the availabilities that this batch of the stream may have changed. Returns the sequence numbers
/// of the records to retry.
async fn publish_availability_changes(
    store: &Store,
    batch: &StreamEvent,
    now: Timestamp,
) -> BTreeSet<String> {
    let mut records: BTreeMap<Sku, Vec<&str>> = BTreeMap::new();
    for record in &batch.records {
        if let Some(sku) = changed_sku(record) {
            records.entry(sku).or_default().push(&record.dynamodb.sequence_number);
        }
    }
    let published = records.into_iter().map(async |(sku, numbers)| {
        // Several changes in a batch are handled together, by the state after them. The last one is named as
        // the cause.
        let causation_id = numbers.last().copied().unwrap_or_default();
        match publish_change(store, &sku, causation_id, now).await {
            Ok(()) => Vec::new(),
            Err(error) => {
                tracing::error!(%sku, error = error_chain(&error), "the availability of a SKU could not be published");
                numbers.into_iter().map(str::to_owned).collect()
            }
        }
    });
    join_all(published).await.into_iter().flatten().collect()
}

/// Reads the stock and publishes its availability if it differs from the last published one, then reads
/// again.
// A change that the first read missed has its own record, which is processed later. Either that processing
// sees the availability published here. Or this publishing came after its read, and then the second read here
// sees the change.
async fn publish_change(
    store: &Store,
    sku: &Sku,
    causation_id: &str,
    now: Timestamp,
) -> Result<(), PublishError> {
    for _ in 0..TRIES {
        // The summary is read first: its version is the write's condition, so that stock read after it is not
        // older.
        let published = store.summary(sku).await?;
        // Stock was returned to a SKU that was never set: there is nothing to publish.
        let Some(stock) = store.stock(sku).await? else { return Ok(()) };
        // Several orders may have led to this stock, so it belongs to none of their correlation ids.
        let correlation_id = CorrelationId::generate();
        let Some(change) =
            availability_change(published.as_ref(), &stock, &correlation_id, causation_id, now)?
        else {
            return Ok(());
        };
        if store.write_summary(&change).await?.is_ok() {
            let availability = change.summary.availability.as_str();
            tracing::info!(%sku, availability, version = change.summary.version, "the availability of a SKU changed");
        }
    }
    Err(PublishError::Contended)
}

#[cfg(test)]
mod tests;
