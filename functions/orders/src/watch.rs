//! Keeps the watch over orders (`orders-relay`, beside publishing): each is watched from its beginning, until it ends.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{InvalidId, OrderId};
use futures::{StreamExt, stream};
use lambda_kit::{
    command::chain,
    relay::{Outgoing, StreamEvent},
};

use crate::store::{Store, StoreError};

/// Writes at the same time: a full batch (infra/orders.yaml) takes five turns, as starting its sagas does.
const CONCURRENCY: usize = 10;

/// Why a watch could not be changed. Its record comes again.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("the order's id cannot be read")]
    OrderId(#[from] InvalidId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Ends the watch over every order of the batch that has ended, or changes it, and returns the sequence numbers of the
/// records for which that failed.
pub async fn watch_all(store: &Store, batch: &StreamEvent) -> BTreeSet<String> {
    // What cannot be read is reported by the relay itself.
    let commits = batch.records.iter().filter_map(|record| record.new_events().ok()?.pop());
    let mut latest: BTreeMap<String, Outgoing> = BTreeMap::new();
    for last in commits {
        let known = latest.get(&last.event.subject).map_or(0, |known| known.event.sequence);
        if known < last.event.sequence {
            latest.insert(last.event.subject.clone(), last);
        }
    }
    let failures = stream::iter(latest.into_values()).map(|last| async move {
        match watch(store, &last).await {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(
                    order_id = last.event.subject,
                    correlation_id = last.event.correlation_id.as_str(),
                    error = chain(&error),
                    "the watch over an order could not be changed and is tried again"
                );
                Some(last.origin)
            }
        }
    });
    failures.buffer_unordered(CONCURRENCY).filter_map(std::future::ready).collect().await
}

async fn watch(store: &Store, last: &Outgoing) -> Result<(), WatchError> {
    let order_id = OrderId::try_from(last.event.subject.as_str())?;
    Ok(store.watch(&order_id, &last.event).await?)
}

#[cfg(test)]
mod tests;
