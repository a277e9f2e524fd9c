//! Products that are bought together: `pk = PRODUCT#<sku>`, `sk = TOGETHER`, one item per product, so that a
//! product's companions are one read. An order of n products changes n items in one transaction, together
//! with `pk = EVENT#<event>`, `sk = EVENT`, which keeps the event from being counted twice.
//!
//! A transaction, although an estimate would do: with single writes, an order could be counted for some of
//! its products only, and each item would have to remember the events that it counted. Its price is that
//! orders with the same popular product are serialised, at some 50 a second. Only the queue of these events
//! waits for that.
//!
//! An order of three products costs 8 write units with short SKUs, one of twenty 42 to 162, and one of a single product
//! none.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use contracts::{EventId, Sku};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::dynamodb::{
    ABSENT, BatchRead, Budget, Conflict, EXPIRES_AT, Item, PK, TableError, TransactOutcome, Write,
    at_version, from_item, key, number, retry_on_conflict, string_of, to_item,
};
use tokio::time::timeout;

use super::{Store, partition};
use crate::domain::co_purchases::CoPurchases;

const CO_PURCHASES: &str = "TOGETHER";
/// An event can be redelivered within the 14 days of its queue, or the 14 of the dead-letter queue. After
/// that, an event that is sent again by hand is counted again.
const EVENT_RETENTION: SignedDuration = SignedDuration::from_hours(35 * 24);
/// Other instances count the same popular products, and the events of a batch are counted one after the
/// other. A batch must end within the consumer's 30 s, so that its counted events are not delivered again
/// with the others.
const BUDGET: Duration = Duration::from_secs(10);

impl Store {
    /// Counts an order of these products, which must be unique. Conflicts when the event was counted before.
    pub async fn record_order(
        &self,
        event_id: &EventId,
        skus: &[Sku],
        now: Timestamp,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "counting what was bought together";
        if skus.len() < 2 {
            return Ok(Ok(()));
        }
        // The events of a batch would conflict with each other.
        let waiting = Instant::now();
        let _alone = timeout(BUDGET, self.counting.lock())
            .await
            .map_err(|_| TableError::call(OPERATION, "other events of the batch took all the time"))?;
        let budget = Budget::Time(BUDGET.saturating_sub(waiting.elapsed()));
        let counted = retry_on_conflict(budget, || async {
            let stored = self.co_purchases(skus).await?;
            let mut writes = vec![event_mark(event_id, now)];
            for sku in skus {
                writes.push(co_purchase_write(OPERATION, sku, skus, stored.get(sku))?);
            }
            Ok::<_, TableError>(match self.table.transact(OPERATION, writes).await? {
                TransactOutcome::Done => Ok(Ok(())),
                TransactOutcome::ConditionFailed { index: 0 } => Ok(Err(Conflict)),
                TransactOutcome::ConditionFailed { .. } | TransactOutcome::Conflict => Err(Conflict),
            })
        });
        counted.await?.map_err(|conflict| TableError::call(OPERATION, conflict))
    }

    /// The companions of these products. A product that was only bought alone is left out.
    pub async fn co_purchases(&self, skus: &[Sku]) -> Result<HashMap<Sku, CoPurchases>, TableError> {
        const OPERATION: &str = "reading what is bought together";
        let mut co_purchases = HashMap::new();
        let keys = skus.iter().map(co_purchases_key).collect();
        for item in self.table.batch_get(OPERATION, keys, BatchRead::EVENTUAL).await? {
            let sku = string_of(&item, PK).and_then(|pk| pk.strip_prefix(&partition("")));
            let sku = sku.and_then(|sku| Sku::try_from(sku).ok());
            let sku = sku.ok_or_else(|| TableError::item(OPERATION, "its key has no SKU"))?;
            co_purchases.insert(sku, from_item(OPERATION, item)?);
        }
        Ok(co_purchases)
    }
}

/// The item that keeps an event from being counted twice.
fn event_mark(event_id: &EventId, now: Timestamp) -> Write {
    let mut item = key(format!("EVENT#{event_id}"), "EVENT");
    item.insert(EXPIRES_AT.to_owned(), number((now + EVENT_RETENTION).as_second()));
    Write::put(item).when(ABSENT)
}

fn co_purchase_write(
    operation: &'static str,
    sku: &Sku,
    skus: &[Sku],
    stored: Option<&CoPurchases>,
) -> Result<Write, TableError> {
    let mut co_purchases = stored.cloned().unwrap_or_default();
    let before = co_purchases.version;
    co_purchases.record_order(skus.iter().filter(|other| *other != sku));
    Ok(Write::put(to_item(operation, co_purchases_key(sku), &co_purchases)?).when(at_version(before)))
}

fn co_purchases_key(sku: &Sku) -> Item {
    key(partition(sku), CO_PURCHASES)
}
