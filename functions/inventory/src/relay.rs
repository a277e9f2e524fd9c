//! Publishes a SKU's stock class when it changes. The relay does it because it sees every change of stock in
//! the stream, so that a reservation needs no additional read or write.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{CorrelationId, Sku};
use futures::future::join_all;
use jiff::Timestamp;
use lambda_kit::{command::chain, dynamodb::TableError, relay::StreamEvent};

use crate::{
    domain::reclassify,
    store::{Store, touched},
};

/// Rounds of reading and publishing for one SKU. Each but the last publishes a class, so this many changes of
/// class would have to happen within milliseconds. After that the records are retried.
const ROUNDS: usize = 5;

#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the event has no JSON form")]
    Event(#[from] serde_json::Error),
    #[error("the class of the stock keeps changing")]
    Restless,
}

/// Publishes the stock classes that this batch of the stream may have changed. Returns the sequence numbers
/// of the records to retry.
pub async fn tell_classes(store: &Store, batch: &StreamEvent, now: Timestamp) -> BTreeSet<String> {
    let mut records: BTreeMap<Sku, Vec<&str>> = BTreeMap::new();
    for record in &batch.records {
        if let Some(sku) = touched(record) {
            records.entry(sku).or_default().push(&record.dynamodb.sequence_number);
        }
    }
    let told = records.into_iter().map(async |(sku, numbers)| {
        // Several changes in a batch are handled together, by the state after them. The last one is named as the cause.
        let causation_id = numbers.last().copied().unwrap_or_default();
        match tell(store, &sku, causation_id, now).await {
            Ok(()) => Vec::new(),
            Err(error) => {
                tracing::error!(%sku, error = chain(&error), "the class of a stock could not be told");
                numbers.into_iter().map(str::to_owned).collect()
            }
        }
    });
    join_all(told).await.into_iter().flatten().collect()
}

/// Reads the stock and publishes its class if it differs from the last published one, then reads again. A
/// change that the first read missed has its own record, which is processed later. Either that processing
/// sees the class published here; or this publishing came after its read, and then the second read here sees
/// the change.
async fn tell(store: &Store, sku: &Sku, causation_id: &str, now: Timestamp) -> Result<(), TellError> {
    for _ in 0..ROUNDS {
        // The summary is read first: its version is the write's condition, so that stock read after it is not
        // older.
        let told = store.summary(sku).await?;
        // Stock was returned to a SKU that was never set: there is nothing to publish.
        let Some(stock) = store.stock(sku).await? else { return Ok(()) };
        let correlation_id = CorrelationId::generate();
        let Some(change) = reclassify(told.as_ref(), &stock, &correlation_id, causation_id, now)? else {
            return Ok(());
        };
        if store.write_summary(&change).await?.is_ok() {
            let availability = change.summary.availability.as_str();
            tracing::info!(%sku, availability, version = change.summary.version, "the class of a stock changed");
        }
    }
    Err(TellError::Restless)
}

#[cfg(test)]
mod tests;
