//! The order views (`orders-views`): what lists of orders are read from. A second reader of the table's stream, and not a
//! part of orders-relay: a view that cannot be written must hold back neither an event nor a saga. Against the topic it
//! wakes once a commit and not once an event, and needs no queue.
//!
//! A view is the fold over its order's events, whatever woke the projector: written as often as it comes, in any order.

mod function;

use std::collections::{BTreeMap, BTreeSet};

use contracts::OrderId;
use futures::future::join_all;
use lambda_kit::{
    command::chain,
    relay::{StreamEvent, StreamRecord},
};

pub use self::function::run;
use crate::{
    api::OrderView,
    domain::History,
    store::{Store, StoreError, View, Written, shard_of},
};

/// How often a view is folded again because another writer was faster: the relay's stream gives an order to one projector
/// at a time, beside it there is a replay.
const TRIES: usize = 5;

/// What became of a batch of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Projected {
    /// The sequence numbers of the records that must come again.
    pub failed: BTreeSet<String>,
    /// Orders that have no new view, and will not have one when they come again.
    pub unreadable: u64,
}

/// Brings the view of every order of the batch up to date.
pub async fn project_all(store: &Store, batch: &StreamEvent) -> Projected {
    // Orders of one shard one after the other, so that they do not meet in what they count.
    let mut shards: BTreeMap<usize, BTreeMap<OrderId, &str>> = BTreeMap::new();
    for (order_id, record) in batch.records.iter().filter_map(order_of) {
        // A failure brings back the order's first record, and what comes after it.
        let orders = shards.entry(shard_of(&order_id)).or_default();
        orders.entry(order_id).or_insert(&record.dynamodb.sequence_number);
    }
    let shards = shards.into_values().map(|orders| async move {
        let mut projected = Projected::default();
        for (order_id, sequence_number) in orders {
            let Err(error) = project(store, &order_id).await else { continue };
            tracing::error!(order_id = order_id.as_str(), error = chain(&error), "an order has no new view");
            // What cannot be read stays so: it must not hold back the views of all others.
            if error.is_retryable() {
                projected.failed.insert(sequence_number.to_owned());
            } else {
                projected.unreadable += 1;
            }
        }
        projected
    });
    join_all(shards).await.into_iter().fold(Projected::default(), |mut all, one| {
        all.failed.extend(one.failed);
        all.unreadable += one.unreadable;
        all
    })
}

fn order_of(record: &StreamRecord) -> Option<(OrderId, &StreamRecord)> {
    let pk = record.dynamodb.new_image.as_ref()?.string("pk")?;
    Some((OrderId::try_from(pk.strip_prefix("ORDER#")?).ok()?, record))
}

/// Brings one order's view up to date.
///
/// # Errors
/// When its history cannot be read, or the table cannot be written.
pub async fn project(store: &Store, order_id: &OrderId) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let Some(history) = store.load(order_id).await? else { return Ok(()) };
        let before = store.view(&history).await?;
        if before.as_ref().is_some_and(|view| view.version >= history.order.version) {
            return Ok(());
        }
        match store.put_view(&history, &view(&history, before.as_ref())?).await? {
            Written::Done => return Ok(()),
            Written::Raced => {}
        }
    }
    Err(StoreError::Contended(order_id.clone()))
}

/// The view of an order after the one that is there.
fn view(history: &History, before: Option<&View>) -> Result<View, StoreError> {
    Ok(View {
        revision: before.map_or(0, |view| view.revision) + 1,
        version: history.order.version,
        order: OrderView::json(history).map_err(|e| StoreError::item("writing a view", e))?,
    })
}

#[cfg(test)]
mod tests;
