//! Updates the watch index (`orders-relay`, concurrently with publishing): each order is in it from its first
//! commit until it ends.

use std::collections::BTreeMap;

use contracts::{InvalidId, OrderId};
use futures::{StreamExt, stream};
use lambda_kit::{
    command::chain,
    relay::{Handled, Outgoing, StreamEvent},
};

use crate::store::{Store, StoreError};

/// Writes at the same time: a full batch (infra/orders.yaml) takes five turns, as starting its sagas does.
const CONCURRENCY: usize = 10;

/// Why a watch could not be changed.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("the order's id cannot be read")]
    OrderId(#[from] InvalidId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Ends the watch over every order of the batch that has ended, or changes it, and returns what became of the
/// records.
pub async fn watch_all(store: &Store, batch: &StreamEvent) -> Handled {
    // Records that cannot be parsed are reported by the relay itself.
    let commits = batch.records.iter().filter_map(|record| record.new_events().ok()?.pop());
    let mut latest: BTreeMap<String, Outgoing> = BTreeMap::new();
    for last in commits {
        let known = latest.get(&last.event.subject).map_or(0, |known| known.event.sequence);
        if known < last.event.sequence {
            latest.insert(last.event.subject.clone(), last);
        }
    }
    let watched = stream::iter(latest.into_values()).map(|last| async move {
        match watch(store, &last).await {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(
                    order_id = last.event.subject,
                    correlation_id = last.event.correlation_id.as_str(),
                    error = chain(&error),
                    "the watch over an order could not be changed"
                );
                Some((last.origin, matches!(error, WatchError::OrderId(_))))
            }
        }
    });
    let mut watched = watched.buffer_unordered(CONCURRENCY).filter_map(std::future::ready);
    let mut handled = Handled::default();
    while let Some((origin, is_final)) = watched.next().await {
        if is_final { &mut handled.unprocessable } else { &mut handled.failed }.insert(origin);
    }
    handled
}

async fn watch(store: &Store, last: &Outgoing) -> Result<(), WatchError> {
    let order_id = OrderId::try_from(last.event.subject.as_str())?;
    Ok(store.watch(&order_id, &last.event).await?)
}

#[cfg(test)]
mod tests;
