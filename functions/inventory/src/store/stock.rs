//! Reading, setting and adjusting a SKU's stock.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    error::ProvideErrorMetadata,
    types::{Get, KeysAndAttributes, Put, TransactGetItem, TransactWriteItem, Update},
};
use contracts::{OrderId, OrderLine, Sku};
use futures::future::join_all;
use jiff::Timestamp;
use lambda_kit::dynamodb::{Item, PK, TableError, is_busy, number};
use serde::Deserialize;

use super::{Store, Written, item, sku_key, stock_key};
use crate::domain::{
    Adjusting, Adjustment, AdjustmentId, Move, Settings, Shard, Stock, StockChange, Taken, first_try, merged,
    shard_items,
};

pub(super) const SETTINGS: &str = "SETTINGS";
/// Tries of a read that returns only a part.
const READS: usize = 4;
/// DynamoDB leaves keys out while it throttles, and would leave them out again if they were requested at
/// once.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// A SKU's stock at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snapshot {
    Taken(Option<Stock>),
    /// Transactions were running on it.
    Busy,
}

#[derive(Deserialize)]
struct Row {
    available: u32,
}

/// The items of a stock that were found, by their partition keys.
type Found = HashMap<String, Item>;

impl Store {
    /// The SKU's stock, each shard read consistently; `None` when it was never set. Shards are read one by
    /// one, so stock that moves between them meanwhile may be missing from both: good enough to plan with,
    /// not to reject with.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn stock(&self, sku: &Sku) -> Result<Option<Stock>, TableError> {
        let mut shards = self.spread.shards(sku);
        loop {
            let stock = self.read(sku, self.batch_get(keys(sku, shards)).await?)?;
            match stock {
                Some(stock) if stock.settings.shards > shards => shards = stock.settings.shards,
                other => return Ok(other),
            }
        }
    }

    /// The SKU's stock at one moment, from which no moving stock can be missing.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn snapshot(&self, sku: &Sku) -> Result<Snapshot, TableError> {
        let mut shards = self.spread.shards(sku);
        loop {
            let Some(found) = self.transact_get(keys(sku, shards)).await? else { return Ok(Snapshot::Busy) };
            match self.read(sku, found)? {
                Some(stock) if stock.settings.shards > shards => shards = stock.settings.shards,
                other => return Ok(Snapshot::Taken(other)),
            }
        }
    }

    /// Takes each line from the shard that this order tries first. Reads nothing, except for a spread SKU
    /// once a minute; if that read fails, the known number of shards is used.
    pub async fn first_try(
        &self,
        lines: &[OrderLine],
        order: &OrderId,
        attempt: u32,
        now: Timestamp,
    ) -> Vec<Taken> {
        let lines_of = merged(lines);
        let stale = lines_of.keys().filter(|sku| self.spread.is_stale(sku, now));
        join_all(stale.map(async |sku| {
            if let Ok(Some(settings)) = self.get::<Settings>("stock settings", sku_key(sku, SETTINGS)).await {
                self.spread.learn(sku, settings.shards, now);
            }
        }))
        .await;
        first_try(lines, order, attempt, |sku| self.spread.shards(sku))
    }

    /// The SKUs of these lines that were seen to be sold out a moment ago. Reads nothing.
    pub fn known_short(&self, lines: &[OrderLine], now: Timestamp) -> Vec<Sku> {
        let lines = merged(lines).into_iter();
        lines.filter(|(sku, wanted)| self.sold_out.covers(sku, *wanted, now)).map(|(sku, _)| sku).collect()
    }

    /// Remembers for a moment that there was too little of these SKUs for these lines.
    pub fn learn_short(&self, short: &[Sku], lines: &[OrderLine], now: Timestamp) {
        for (sku, wanted) in merged(lines).into_iter().filter(|(sku, _)| short.contains(sku)) {
            self.sold_out.learn(&sku, wanted, now);
        }
    }

    /// Sets a SKU's stock and records the adjustment, all or nothing.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn write_stock(&self, change: &StockChange) -> Result<Written, TableError> {
        const OPERATION: &str = "set stock";
        let settings = &change.after.settings;
        let put = Put::builder().table_name(&self.table.name).set_item(Some(item(
            OPERATION,
            sku_key(&settings.sku, SETTINGS),
            settings,
        )?));
        let put = match &change.before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(before) => put
                .condition_expression("version = :expected")
                .expression_attribute_values(":expected", number(before.settings.version)),
        };
        let put = put.build().map_err(|error| TableError::call(OPERATION, error))?;
        let trace = self.trace_put(&change.adjustment)?;
        let mut items = vec![
            TransactWriteItem::builder().put(put).build(),
            TransactWriteItem::builder().put(trace).build(),
        ];
        for shard in &change.after.shards {
            let before = change.before.iter().flat_map(|stock| &stock.shards);
            let before = before.copied().find(|before| before.shard == shard.shard);
            let update = self.stock_set(settings, *shard, before)?;
            items.push(TransactWriteItem::builder().update(update).build());
        }
        self.transact(OPERATION, items).await.map(|written| match written {
            // Nothing is taken here, so a failed condition means that another writer changed the shard.
            Written::Short => Written::Moved,
            other => other,
        })
    }

    /// Adjusts a SKU's stock and records the adjustment, all or nothing. `Moved` when it was made before.
    ///
    /// # Errors
    /// As `write_stock`.
    pub async fn write_adjustment(&self, adjusting: &Adjusting) -> Result<Written, TableError> {
        let trace = self.trace_put(&adjusting.adjustment)?;
        let mut items = vec![TransactWriteItem::builder().put(trace).build()];
        items.extend(self.stock_moves(&adjusting.moves)?);
        self.transact("adjust stock", items).await
    }

    /// The record of an adjustment.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn adjustment(&self, sku: &Sku, id: &AdjustmentId) -> Result<Option<Adjustment>, TableError> {
        self.get("adjustment", adjustment_key(sku, id)).await
    }

    /// Moves stock between the shards of a SKU. The total stays the same.
    ///
    /// # Errors
    /// As `write_stock`.
    pub async fn gather(&self, moves: &[Move]) -> Result<Written, TableError> {
        self.transact("gather stock", self.stock_moves(moves)?).await.map(|written| match written {
            // The first item only receives and has no condition. So whichever condition failed, a shard had
            // less than was read.
            Written::Moved => Written::Short,
            other => other,
        })
    }

    fn trace_put(&self, adjustment: &Adjustment) -> Result<Put, TableError> {
        const OPERATION: &str = "leave trace";
        Put::builder()
            .table_name(&self.table.name)
            .set_item(Some(item(OPERATION, adjustment_key(&adjustment.sku, &adjustment.id), adjustment)?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(|error| TableError::call(OPERATION, error))
    }

    fn stock_set(
        &self,
        settings: &Settings,
        after: Shard,
        before: Option<Shard>,
    ) -> Result<Update, TableError> {
        let update = self
            .stock_update(&settings.sku, after.shard)
            .update_expression("SET available = :available, low_stock = :low_stock")
            .expression_attribute_values(":available", number(after.available))
            .expression_attribute_values(":low_stock", number(settings.low_stock));
        let update = match before {
            None => update.condition_expression("attribute_not_exists(available)"),
            Some(before) => update
                .condition_expression("available = :before")
                .expression_attribute_values(":before", number(before.available)),
        };
        update.build().map_err(|error| TableError::call("set stock", error))
    }

    /// Parses the found items, and remembers the number of the SKU's shards.
    fn read(&self, sku: &Sku, mut found: Found) -> Result<Option<Stock>, TableError> {
        const OPERATION: &str = "stock";
        let settings = found.remove(&partition(&sku_key(sku, SETTINGS))).map(serde_dynamo::from_item);
        let settings: Option<Settings> =
            settings.transpose().map_err(|error| TableError::item(OPERATION, error))?;
        let Some(settings) = settings else { return Ok(None) };
        self.spread.learn(sku, settings.shards, Timestamp::now());
        let mut shards = Vec::new();
        for shard in shard_items(settings.shards) {
            let row = found.remove(&partition(&stock_key(sku, shard))).map(serde_dynamo::from_item::<_, Row>);
            let row = row.transpose().map_err(|error| TableError::item(OPERATION, error))?;
            if let Some(Row { available }) = row {
                shards.push(Shard { shard, available });
            }
        }
        Ok(Some(Stock { settings, shards }))
    }

    async fn batch_get(&self, keys: Vec<Item>) -> Result<Found, TableError> {
        const OPERATION: &str = "read stock";
        let failed = |error| TableError::call(OPERATION, error);
        let mut found = Found::new();
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let mut wanted = wanted.map_err(|error| TableError::call(OPERATION, error))?;
        for read in 0..READS {
            if read > 0 {
                tokio::time::sleep(READ_PAUSE).await;
            }
            let call = self.table.client.batch_get_item().request_items(&self.table.name, wanted);
            let answer = call.send().await.map_err(|error| failed(Box::new(error)))?;
            let items = answer.responses.unwrap_or_default().into_values().flatten();
            found.extend(items.map(|item| (partition(&item), item)));
            match answer.unprocessed_keys.unwrap_or_default().remove(&self.table.name) {
                Some(rest) if !rest.keys.is_empty() => wanted = rest,
                _ => return Ok(found),
            }
        }
        Err(TableError::call(OPERATION, "the table left out a part of what was asked for"))
    }

    /// `None` when transactions were running on these items.
    async fn transact_get(&self, keys: Vec<Item>) -> Result<Option<Found>, TableError> {
        const OPERATION: &str = "read stock at one moment";
        let gets: Result<Vec<_>, _> = keys
            .into_iter()
            .map(|key| {
                let get = Get::builder().table_name(&self.table.name).set_key(Some(key)).build()?;
                Ok(TransactGetItem::builder().get(get).build())
            })
            .collect();
        let gets =
            gets.map_err(|error: aws_sdk_dynamodb::error::BuildError| TableError::call(OPERATION, error))?;
        match self.table.client.transact_get_items().set_transact_items(Some(gets)).send().await {
            Ok(answer) => {
                let items = answer.responses.unwrap_or_default().into_iter().filter_map(|found| found.item);
                Ok(Some(items.map(|item| (partition(&item), item)).collect()))
            }
            // A transaction of reads is cancelled by a conflict or throttling only (TransactGetItems, API reference).
            Err(error) if is_busy(&error) || error.code() == Some("TransactionCanceledException") => Ok(None),
            Err(error) => Err(TableError::call(OPERATION, error)),
        }
    }
}

/// The keys to read for a SKU with this many shards: at most 66 of the 100 that one call may have.
fn keys(sku: &Sku, shards: u32) -> Vec<Item> {
    let mut keys = vec![sku_key(sku, SETTINGS)];
    keys.extend(shard_items(shards).map(|shard| stock_key(sku, shard)));
    keys
}

fn partition(item: &Item) -> String {
    item.get(PK).and_then(|pk| pk.as_s().ok()).cloned().unwrap_or_default()
}

fn adjustment_key(sku: &Sku, id: &AdjustmentId) -> Item {
    sku_key(sku, format!("ADJUSTMENT#{}", id.as_str()))
}
