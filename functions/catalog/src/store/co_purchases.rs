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

use std::collections::HashMap;

use contracts::{EventId, Sku};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::dynamodb::{
    ABSENT, BatchRead, EXPIRES_AT, Item, PK, TableError, TransactOutcome, Write, at_version, from_item, key,
    number, string_of, to_item,
};
use tokio::sync::MutexGuard;

use super::{Store, partition};
use crate::domain::co_purchases::CoPurchases;

const CO_PURCHASES: &str = "TOGETHER";
/// How long the mark of a counted event is kept.
// An event can be redelivered within the 14 days of its queue, or the 14 of the dead-letter queue. After that,
// an event that is sent again by hand is counted again.
const EVENT_RETENTION: SignedDuration = SignedDuration::from_hours(35 * 24);

impl Store {
    /// Waits until no other event is counted in this process.
    pub async fn lock_counting(&self) -> MutexGuard<'_, ()> {
        self.counting.lock().await
    }

    /// Counts an order of these products over the companions that were read, in one transaction. The write at index
    /// 0 is the event's mark: its condition fails when the event was counted before.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn count_order(
        &self,
        event_id: &EventId,
        counted: &[(Sku, CoPurchases)],
        now: Timestamp,
    ) -> Result<TransactOutcome, TableError> {
        const OPERATION: &str = "counting what was bought together";
        let mut writes = vec![event_mark(event_id, now)];
        for (sku, co_purchases) in counted {
            let item = to_item(OPERATION, co_purchases_key(sku), co_purchases)?;
            writes.push(Write::put(item).when(at_version(co_purchases.version - 1)));
        }
        self.table.transact(OPERATION, writes).await
    }

    /// The companions of these products. A product that was only bought alone is left out.
    pub async fn co_purchases(&self, skus: &[Sku]) -> Result<HashMap<Sku, CoPurchases>, TableError> {
        const OPERATION: &str = "reading what is bought together";
        let mut co_purchases = HashMap::new();
        let keys = skus.iter().map(co_purchases_key).collect();
        // The read is eventually consistent, at half the price. An outdated version fails the condition of the
        // write, and the order is counted again from a new read.
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

fn co_purchases_key(sku: &Sku) -> Item {
    key(partition(sku), CO_PURCHASES)
}
