//! Maintains the order views and the sales by day (`orders-views`), which lists and reports read. It is a
//! second reader of the table's stream and not a part of orders-relay: a view that cannot be written must
//! delay no event and no saga. Compared with a subscription to the topic, it is invoked once a commit and not
//! once an event, and needs no queue.
//!
//! A view is the fold of its order's events, whatever triggered the projection. So it may be written
//! repeatedly and in any order.

mod function;
mod replay;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use contracts::OrderId;
use futures::future::join_all;
use lambda_kit::{
    command::chain,
    dynamodb::{Budget, Conflict, TransactOutcome, retry_on_conflict_with},
    relay::{StreamEvent, StreamRecord},
};

pub use self::function::run;
use crate::{
    api::OrderView,
    domain::{History, tallies},
    store::{Counts, Generations, Store, StoreError, View},
};

/// Tries to write a view when another writer is faster. The stream gives an order to one projector at a time,
/// but a replay may run concurrently, and projectors of other shards update the same sums.
const TRIES: u32 = 6;
/// The pause, for each try so far, after a conflict with another transaction on the same sums, which takes
/// some 20 ms.
const CONFLICT_PAUSE: Duration = Duration::from_millis(30);

/// The result of projecting a batch of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Projected {
    /// The sequence numbers of the records to retry.
    pub failed: BTreeSet<String>,
    /// Orders whose view cannot be written, and could not on a retry.
    pub unreadable: u64,
}

/// Why an order is projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Skips views that are up to date.
    CatchUp,
    /// Whatever is there, it is written anew.
    Rebuild,
}

/// Brings views and sums up to date.
#[derive(Debug)]
pub struct Projector {
    store: Store,
    /// The generations, as read at the end of the previous batch.
    generations: Mutex<Option<Generations>>,
}

impl Projector {
    pub fn new(store: Store) -> Self {
        Self { store, generations: Mutex::default() }
    }

    /// Brings the view of every order of the batch up to date, and counts what is new about it.
    ///
    /// The generations of the sales are read again after the writes: either that read sees one that a replay has begun, and
    /// the batch is counted there, too, or the replay began later, and finds what was written here.
    pub async fn project_all(&self, batch: &StreamEvent) -> Projected {
        let mut orders: BTreeMap<OrderId, &str> = BTreeMap::new();
        for (order_id, record) in batch.records.iter().filter_map(order_of) {
            // A failure brings back the order's first record, and what comes after it.
            orders.entry(order_id).or_insert(&record.dynamodb.sequence_number);
        }
        let known = *self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut projected = Projected::default();
        let settled: Result<(), StoreError> = async {
            let mut generations = match known {
                Some(generations) => generations,
                None => self.store.generations().await?,
            };
            loop {
                projected = self.project_orders(&orders, generations).await;
                let now = self.store.generations().await?;
                *self.generations.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
                if now == generations {
                    return Ok(());
                }
                generations = now;
            }
        }
        .await;
        if let Err(error) = settled {
            tracing::error!(error = chain(&error), "a batch may not be counted, will be retried");
            projected.failed.extend(orders.values().map(|number| (*number).to_owned()));
        }
        projected
    }

    async fn project_orders(&self, orders: &BTreeMap<OrderId, &str>, generations: Generations) -> Projected {
        let mut projected = Projected::default();
        let orders = orders.iter().map(|(order_id, number)| (order_id.clone(), *number));
        let results = by_partition(&self.store, orders, |order_id| {
            self.project(order_id, generations, Purpose::CatchUp)
        })
        .await;
        for (sequence_number, order_id, result) in results {
            let Err(error) = result else { continue };
            tracing::error!(order_id = order_id.as_str(), error = chain(&error), "an order has no new view");
            // A history that cannot be parsed stays so. It must not block all other views.
            if error.is_retryable() {
                projected.failed.insert(sequence_number.to_owned());
            } else {
                projected.unreadable += 1;
            }
        }
        projected
    }

    /// Brings one order's view up to date, and counts it in these generations.
    async fn project(
        &self,
        order_id: OrderId,
        generations: Generations,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        let order_id = &order_id;
        let projected = retry_on_conflict_with(Budget::Tries(TRIES), 1, |attempt: u32| async move {
            let Some(mut history) = self.store.load(order_id).await? else { return Ok(Ok(())) };
            let before = self.store.view(&history).await?;
            if before.as_ref().is_some_and(|view| view.version > history.order.version) {
                // Read after the view, the history is no older than it.
                let Some(newer) = self.store.load(order_id).await? else { return Ok(Ok(())) };
                history = newer;
            }
            if purpose == Purpose::CatchUp
                && before.as_ref().is_some_and(|view| is_current(view, &history, generations))
            {
                return Ok(Ok(()));
            }
            let (view, counts) = next(&history, before, generations)?;
            let outcome = self.store.put_view(&history, &view, &counts).await?;
            if outcome == TransactOutcome::Conflict {
                tokio::time::sleep(CONFLICT_PAUSE * attempt).await;
            }
            Ok::<_, StoreError>(outcome.done().map_err(|Conflict| attempt + 1))
        });
        projected.await?.map_err(|Conflict| StoreError::Contended(order_id.clone()))
    }
}

fn order_of(record: &StreamRecord) -> Option<(OrderId, &StreamRecord)> {
    let pk = record.dynamodb.new_image.as_ref()?.string("pk")?;
    Some((OrderId::try_from(pk.strip_prefix("ORDER#")?).ok()?, record))
}

/// Runs an action for each order; sequentially within a partition, so that the actions do not conflict on its
/// sums.
async fn by_partition<T, F>(
    store: &Store,
    orders: impl Iterator<Item = (OrderId, T)>,
    act: impl Fn(OrderId) -> F,
) -> Vec<(T, OrderId, Result<(), StoreError>)>
where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut partitions: BTreeMap<u16, Vec<(OrderId, T)>> = BTreeMap::new();
    for (order_id, with) in orders {
        partitions.entry(store.list_partition_of(&order_id)).or_default().push((order_id, with));
    }
    let act = &act;
    let partitions = partitions.into_values().map(|orders| async move {
        let mut results = vec![];
        for (order_id, with) in orders {
            let result = act(order_id.clone()).await;
            results.push((with, order_id, result));
        }
        results
    });
    join_all(partitions).await.into_iter().flatten().collect()
}

fn is_current(view: &View, history: &History, generations: Generations) -> bool {
    let version = history.order.version;
    view.version == version
        && generations.wanted().all(|generation| view.counted.get(&generation) >= Some(&version))
}

/// The view of an order after the one that is there, and what the order adds to the sums of each generation.
fn next(
    history: &History,
    before: Option<View>,
    generations: Generations,
) -> Result<(View, Vec<(u64, Counts)>), StoreError> {
    const OPERATION: &str = "folding a view";
    let version = history.order.version;
    let (revision, mut counted) = before.map_or_else(Default::default, |view| (view.revision, view.counted));
    // The process that began a newer generation counted this order there. The count is kept, also by
    // processes that do not know that generation yet.
    counted.retain(|generation, _| *generation >= generations.oldest);
    for generation in generations.wanted() {
        counted.entry(generation).or_insert(0);
    }
    let mut counts = vec![];
    for (generation, until) in &mut counted {
        let count = tallies(history, *until).map_err(|e| StoreError::item(OPERATION, e))?;
        counts.extend((!count.is_empty()).then_some((*generation, count)));
        *until = version;
    }
    let order = OrderView::json(history).map_err(|e| StoreError::item(OPERATION, e))?;
    Ok((View { revision: revision + 1, version, order, counted }, counts))
}

#[cfg(test)]
mod tests;
