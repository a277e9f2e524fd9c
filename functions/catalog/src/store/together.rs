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

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::{Put, TransactWriteItem, builders::PutBuilder};
use contracts::{EventId, Sku};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    backoff::Backoff,
    dynamodb::{EXPIRES_AT, Item, PK, TableError, Transacted, key, number},
};

use tokio::time::timeout;

use super::{Noted, Store, partition};
use crate::domain::together::Together;

const TOGETHER: &str = "TOGETHER";
const VERSION: &str = "version";
/// An event can be redelivered within the 14 days of its queue, or the 14 of the dead-letter queue. After
/// that, an event that is sent again by hand is counted again.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(35 * 24);
/// Other instances count the same popular products, and the events of a batch are counted one after the
/// other. A batch must end within the consumer's 30 s, so that its counted events are not delivered again
/// with the others.
const BUDGET: Duration = Duration::from_secs(10);

impl Store {
    /// Counts an order of these products, which must be unique.
    pub async fn note_together(
        &self,
        event_id: &EventId,
        skus: &[Sku],
        now: Timestamp,
    ) -> Result<Noted, TableError> {
        const OPERATION: &str = "counting what was bought together";
        if skus.len() < 2 {
            return Ok(Noted::Done);
        }
        let mut backoff = Backoff::within(BUDGET);
        // The events of a batch would conflict with each other.
        let _alone = timeout(BUDGET, self.counting.lock())
            .await
            .map_err(|_| TableError::call(OPERATION, "other events of the batch took all the time"))?;
        loop {
            let known = self.together(skus).await?;
            let mut writes = vec![self.once(event_id, now)?];
            for sku in skus {
                writes.push(self.bought(sku, skus, known.get(sku))?);
            }
            match self.table.transact_items(OPERATION, writes).await? {
                Transacted::Done => return Ok(Noted::Done),
                Transacted::First => return Ok(Noted::Outdated),
                Transacted::Other | Transacted::Busy => {}
            }
            if !backoff.pause().await {
                return Err(TableError::call(OPERATION, "others counted the same products every time"));
            }
        }
    }

    /// The companions of these products. A product that was only bought alone is left out.
    pub async fn together(&self, skus: &[Sku]) -> Result<HashMap<Sku, Together>, TableError> {
        const OPERATION: &str = "reading what is bought together";
        let mut together = HashMap::new();
        for item in self.items(OPERATION, skus.iter().map(together_key).collect()).await? {
            let sku = item.get(PK).and_then(|pk| pk.as_s().ok()?.strip_prefix(&partition("")));
            let sku = sku.and_then(|sku| Sku::try_from(sku).ok());
            let sku = sku.ok_or_else(|| TableError::item(OPERATION, "its key has no SKU"))?;
            together.insert(sku, serde_dynamo::from_item(item).map_err(|e| TableError::item(OPERATION, e))?);
        }
        Ok(together)
    }

    fn once(&self, event_id: &EventId, now: Timestamp) -> Result<TransactWriteItem, TableError> {
        let mut item = key(format!("EVENT#{event_id}"), "EVENT");
        item.insert(EXPIRES_AT.to_owned(), number((now + REMEMBERED).as_second()));
        self.write_if(item, |put| put.condition_expression("attribute_not_exists(pk)"))
    }

    fn bought(
        &self,
        sku: &Sku,
        skus: &[Sku],
        known: Option<&Together>,
    ) -> Result<TransactWriteItem, TableError> {
        let mut together = known.cloned().unwrap_or_default();
        let before = together.version;
        together.bought_with(skus.iter().filter(|other| *other != sku));
        let item = serde_dynamo::to_item(together);
        let mut item: Item = item.map_err(|e| TableError::item("writing what is bought together", e))?;
        item.extend(together_key(sku));
        self.write_if(item, |put| match known {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(_) => put
                .condition_expression("#version = :before")
                .expression_attribute_names("#version", VERSION)
                .expression_attribute_values(":before", number(before)),
        })
    }

    fn write_if(
        &self,
        item: Item,
        condition: impl FnOnce(PutBuilder) -> PutBuilder,
    ) -> Result<TransactWriteItem, TableError> {
        let put = condition(Put::builder().table_name(&self.table.name).set_item(Some(item)));
        let put = put.build().map_err(|e| TableError::call("building a write", e))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

fn together_key(sku: &Sku) -> Item {
    key(partition(sku), TOGETHER)
}
