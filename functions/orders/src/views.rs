//! Maintains the order views and the sales by day (`orders-views`), which lists and reports read. It is a
//! second reader of the table's stream and not a part of orders-relay: a view that cannot be written must
//! delay no event and no saga. Compared with a subscription to the topic, it is invoked once for the commits of
//! some seconds and not once an event, and needs no queue.
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
    dynamodb::{Budget, Conflict, TransactOutcome, retry_on_conflict_with},
    error::error_chain,
    stream::{StreamEvent, StreamRecord},
    trace::{self, Span},
};

pub use self::function::run;
use crate::{
    api::OrderView,
    domain::{History, daily_totals},
    store::{ProjectionVersions, Store, StoreError, TotalsByDay, View},
};

/// Tries to write a view when another writer is faster.
// The stream gives an order to one projector at a time. But a replay may run concurrently, and projectors of
// other shards update the same sums.
const TRIES: u32 = 6;
/// The pause, for each try so far, after a conflict with another transaction on the same sums.
// Such a transaction takes some 20 ms.
const CONFLICT_PAUSE: Duration = Duration::from_millis(30);

/// The result of projecting a batch of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Projected {
    /// The sequence numbers of the records to retry.
    pub failed: BTreeSet<String>,
    /// Orders whose view cannot be written, not even by a retry.
    pub unreadable: u64,
}

/// Why an order is projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Skips views that are up to date.
    CatchUp,
    /// Writes every view again.
    Rebuild,
}

/// Brings views and sums up to date.
#[derive(Debug)]
pub struct Projector {
    store: Store,
    /// The versions of the sales projection, as read at the end of the previous batch.
    projection_versions: Mutex<Option<ProjectionVersions>>,
}

impl Projector {
    pub fn new(store: Store) -> Self {
        Self { store, projection_versions: Mutex::default() }
    }

    /// Brings the view of every order of the batch up to date, and counts its new events.
    pub async fn project_all(&self, batch: &StreamEvent) -> Projected {
        let mut orders: BTreeMap<OrderId, &StreamRecord> = BTreeMap::new();
        for (order_id, record) in batch.records.iter().filter_map(order_of) {
            // An order may have several records here. Reporting the first one as failed also brings back
            // those after it.
            orders.entry(order_id).or_insert(record);
        }
        let known = *self.projection_versions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut projected = Projected::default();
        let settled: Result<(), StoreError> = async {
            let mut projection_versions = match known {
                Some(projection_versions) => projection_versions,
                None => self.store.projection_versions().await?,
            };
            loop {
                projected = self.project_orders(&orders, projection_versions).await;
                // Read again after the writes. Either this read sees the version that a replay has begun, and
                // the batch is counted there, too. Or the replay began later, and finds what was written
                // here.
                let now = self.store.projection_versions().await?;
                *self.projection_versions.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
                if now == projection_versions {
                    return Ok(());
                }
                projection_versions = now;
            }
        }
        .await;
        if let Err(error) = settled {
            tracing::error!(error = error_chain(&error), "a batch may not be counted, will be retried");
            let numbers = orders.values().map(|record| record.dynamodb.sequence_number.clone());
            projected.failed.extend(numbers);
        }
        projected
    }

    async fn project_orders(
        &self,
        orders: &BTreeMap<OrderId, &StreamRecord>,
        projection_versions: ProjectionVersions,
    ) -> Projected {
        let mut projected = Projected::default();
        let records = orders.iter().map(|(order_id, record)| (order_id.clone(), *record));
        let results = by_partition(&self.store, records, |order_id| {
            let span = orders.get(&order_id).and_then(|record| span_of(record));
            let projected = self.project(order_id, projection_versions, Purpose::CatchUp);
            trace::in_span("ProjectOrder", span, projected, Result::is_err)
        })
        .await;
        for (record, order_id, result) in results {
            let Err(error) = result else { continue };
            tracing::error!(
                order_id = order_id.as_str(),
                error = error_chain(&error),
                "the view of an order could not be written"
            );
            // A history that cannot be parsed stays so. It must not block all other views. An alarm is set on
            // its metric.
            if error.is_retryable() {
                projected.failed.insert(record.dynamodb.sequence_number.clone());
            } else {
                projected.unreadable += 1;
            }
        }
        projected
    }

    /// Brings one order's view up to date, and counts it in these versions of the sales projection.
    async fn project(
        &self,
        order_id: OrderId,
        projection_versions: ProjectionVersions,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        let order_id = &order_id;
        let projected = retry_on_conflict_with(Budget::Tries(TRIES), 1, |attempt: u32| async move {
            let Some(mut history) = self.store.load(order_id).await? else { return Ok(Ok(())) };
            let before = self.store.view(&history).await?;
            if before.as_ref().is_some_and(|view| view.version > history.order.version) {
                // The view is newer than the history, so another projector has written it since. A history
                // that is read now is no older than the view.
                let Some(newer) = self.store.load(order_id).await? else { return Ok(Ok(())) };
                history = newer;
            }
            if purpose == Purpose::CatchUp
                && before.as_ref().is_some_and(|view| is_current(view, &history, projection_versions))
            {
                return Ok(Ok(()));
            }
            let (view, counts) = next(&history, before, projection_versions)?;
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

/// The span of an order's projection, if the trace of the record's events was sampled.
fn span_of(record: &StreamRecord) -> Option<Span> {
    let events = record.new_events().ok()?;
    Span::join(events.first()?.event.traceparent.as_deref())
}

/// Runs an action for each order, one after the other within a partition.
// Concurrent actions of one partition would conflict on its sums.
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

fn is_current(view: &View, history: &History, projection_versions: ProjectionVersions) -> bool {
    let version = history.order.version;
    view.version == version
        && projection_versions
            .wanted()
            .all(|projection_version| view.counted.get(&projection_version) >= Some(&version))
}

/// The next view of an order, and what the order adds to the sums of each projection version.
fn next(
    history: &History,
    before: Option<View>,
    projection_versions: ProjectionVersions,
) -> Result<(View, Vec<(u64, TotalsByDay)>), StoreError> {
    const OPERATION: &str = "folding a view";
    let version = history.order.version;
    let (revision, mut counted) = before.map_or_else(Default::default, |view| (view.revision, view.counted));
    // The process that began a newer version counted this order there. The count is kept, also by processes
    // that do not know that version yet.
    counted.retain(|projection_version, _| *projection_version >= projection_versions.oldest);
    for projection_version in projection_versions.wanted() {
        counted.entry(projection_version).or_insert(0);
    }
    let mut counts = vec![];
    for (projection_version, until) in &mut counted {
        let count = daily_totals(history, *until).map_err(|e| StoreError::item(OPERATION, e))?;
        counts.extend((!count.is_empty()).then_some((*projection_version, count)));
        *until = version;
    }
    let order = OrderView::json(history).map_err(|e| StoreError::item(OPERATION, e))?;
    Ok((View { revision: revision + 1, version, order, counted }, counts))
}

#[cfg(test)]
mod tests;
