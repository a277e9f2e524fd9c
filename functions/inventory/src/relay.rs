//! What the relay does beside publishing: it sees every change of stock in the stream, and tells the class of a SKU's
//! stock when it changes. So a reservation neither reads nor writes more for it.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{CorrelationId, Sku};
use futures::future::join_all;
use jiff::Timestamp;
use lambda_kit::{command::chain, dynamodb::TableError, relay::StreamEvent};

use crate::{
    domain::reclassify,
    store::{Store, Written, touched},
};

/// Rounds of look and tell for one SKU. Each but the last tells a class, so that this many changes of class would have
/// to happen within milliseconds; then the records come again.
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

/// Tells the classes that this batch of the stream may have changed. Returns the sequence numbers of the records that
/// must come again.
pub async fn tell_classes(store: &Store, batch: &StreamEvent, now: Timestamp) -> BTreeSet<String> {
    let mut records: BTreeMap<Sku, Vec<&str>> = BTreeMap::new();
    for record in &batch.records {
        if let Some(sku) = touched(record) {
            records.entry(sku).or_default().push(&record.dynamodb.sequence_number);
        }
    }
    let told = records.into_iter().map(async |(sku, numbers)| {
        // Of several changes in a batch only the last one's outcome is looked at; any of them is its cause.
        let cause = numbers.last().copied().unwrap_or_default();
        match tell(store, &sku, cause, now).await {
            Ok(()) => Vec::new(),
            Err(error) => {
                tracing::error!(%sku, error = chain(&error), "the class of a stock could not be told");
                numbers.into_iter().map(str::to_owned).collect()
            }
        }
    });
    join_all(told).await.into_iter().flatten().collect()
}

/// Looks at the stock and tells its class if it is not what was told last; looks again after telling. A change that
/// this look does not see yet has a record of its own behind it, whose look comes later: either that one sees what
/// was told here, or it was told here after that one looked, and then the second look here sees the change.
async fn tell(store: &Store, sku: &Sku, cause: &str, now: Timestamp) -> Result<(), TellError> {
    for _ in 0..ROUNDS {
        // In this order: the summary's version guards the write, so that a stock seen before it can be trusted.
        let told = store.summary(sku).await?;
        // Something was given back to a SKU that was never set: there is nothing to tell of it.
        let Some(stock) = store.stock(sku).await? else { return Ok(()) };
        let correlation_id = CorrelationId::generate();
        let Some(change) = reclassify(told.as_ref(), &stock, &correlation_id, cause, now)? else {
            return Ok(());
        };
        if store.write_summary(&change).await? == Written::Done {
            let availability = change.summary.availability.as_str();
            tracing::info!(%sku, availability, version = change.summary.version, "the class of a stock changed");
        }
    }
    Err(TellError::Restless)
}

#[cfg(test)]
mod tests;
