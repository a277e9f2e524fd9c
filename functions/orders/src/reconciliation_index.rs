//! Updates the reconciliation index (`orders-relay`, concurrently with publishing): each order is in it from its first
//! commit until it ends.

use std::collections::BTreeMap;

use contracts::{InvalidId, OrderId};
use futures::{StreamExt, stream};
use lambda_kit::{
    error::error_chain,
    relay::{Handled, Outgoing},
    stream::StreamEvent,
};

use crate::store::{Store, StoreError};

/// Writes at the same time.
// A full batch (infra/orders.yaml) takes five turns, as starting its sagas does.
const CONCURRENCY: usize = 10;

/// Why an entry could not be updated.
#[derive(Debug, thiserror::Error)]
enum IndexError {
    #[error("the order's id cannot be read")]
    OrderId(#[from] InvalidId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Updates or removes the entry of each order of the batch. Returns the records that failed.
pub async fn update_index(store: &Store, batch: &StreamEvent) -> Handled {
    // Records that cannot be parsed are reported by the relay itself.
    let commits = batch.records.iter().filter_map(|record| record.new_events().ok()?.pop());
    // Only the last event of an order decides its entry. So several commits of one order in a batch cost one
    // write.
    let mut latest: BTreeMap<String, Outgoing> = BTreeMap::new();
    for last in commits {
        let known = latest.get(&last.event.subject).map_or(0, |known| known.event.sequence);
        if known < last.event.sequence {
            latest.insert(last.event.subject.clone(), last);
        }
    }
    let updates = stream::iter(latest.into_values()).map(|last| async move {
        match update(store, &last).await {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(
                    order_id = last.event.subject,
                    correlation_id = last.event.correlation_id.as_str(),
                    error = error_chain(&error),
                    "the reconciliation index could not be updated"
                );
                // An id that cannot be read stays so. Its record is parked, and does not block the shard.
                Some((last.origin, matches!(error, IndexError::OrderId(_))))
            }
        }
    });
    let mut updates = updates.buffer_unordered(CONCURRENCY).filter_map(std::future::ready);
    let mut handled = Handled::default();
    while let Some((origin, is_final)) = updates.next().await {
        if is_final { &mut handled.unprocessable } else { &mut handled.failed }.insert(origin);
    }
    handled
}

async fn update(store: &Store, last: &Outgoing) -> Result<(), IndexError> {
    let order_id = OrderId::try_from(last.event.subject.as_str())?;
    Ok(store.update_index_entry(&order_id, &last.event).await?)
}

#[cfg(test)]
mod tests;
