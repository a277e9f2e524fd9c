//! Reading, setting and adjusting a SKU's stock.

use std::collections::HashMap;

use contracts::{OrderId, OrderLine, Sku};
use futures::future::join_all;
use jiff::Timestamp;
use lambda_kit::{
    audit::{self, Actor, Entry},
    dynamodb::{
        ABSENT, BatchRead, Conflict, Expression, Item, PK, TableError, Write, at_version, from_item, number,
        string_of, to_item,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Store, moves::recorded, sku_key, stock_key, stock_move};
use crate::domain::{
    Adjustment, AdjustmentId, Allocation, EventContext, Move, PlannedAdjustment, Settings, Shard, Stock,
    StockChange, StockMoves, merged, optimistic_allocation, shard_items,
};

pub(super) const SETTINGS: &str = "SETTINGS";
/// How stock is read.
// A reservation that cannot read the stock fails its order, so it tries twice as often as other reads.
const STOCK_READ: BatchRead = BatchRead { tries: 4, ..BatchRead::CONSISTENT };

#[derive(Deserialize)]
struct Row {
    available: u32,
}

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
            let items = self.table.batch_get("read stock", keys(sku, shards), STOCK_READ).await?;
            match self.read(sku, items)? {
                // This process did not know of all shards. They are only ever added, so a second read has
                // them.
                Some(stock) if stock.settings.shards > shards => shards = stock.settings.shards,
                other => return Ok(other),
            }
        }
    }

    /// The SKU's stock at one moment, from which no moving stock can be missing. Conflicts with transactions
    /// that are under way on it.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn snapshot(&self, sku: &Sku) -> Result<Result<Option<Stock>, Conflict>, TableError> {
        const OPERATION: &str = "read stock at one moment";
        let mut shards = self.spread.shards(sku);
        loop {
            let items = match self.table.transact_get(OPERATION, keys(sku, shards)).await? {
                Ok(items) => items,
                Err(Conflict) => return Ok(Err(Conflict)),
            };
            match self.read(sku, items)? {
                Some(stock) if stock.settings.shards > shards => shards = stock.settings.shards,
                other => return Ok(Ok(other)),
            }
        }
    }

    /// Takes each line from the shard that this order tries first. Reads nothing, except for a spread SKU
    /// once a minute.
    pub async fn optimistic_allocation(
        &self,
        lines: &[OrderLine],
        order: &OrderId,
        attempt: u32,
        now: Timestamp,
    ) -> Vec<Allocation> {
        let lines_of = merged(lines);
        let stale = lines_of.keys().filter(|sku| self.spread.is_stale(sku, now));
        join_all(stale.map(async |sku| {
            let settings = self.table.get::<Settings>("stock settings", sku_key(sku, SETTINGS));
            // A failure is ignored. The known number of shards is smaller at worst, and all its shards exist.
            if let Ok(Some(settings)) = settings.await {
                self.spread.record(sku, settings.shards, now);
            }
        }))
        .await;
        optimistic_allocation(lines, order, attempt, |sku| self.spread.shards(sku))
    }

    /// The SKUs of these lines that were seen to be sold out a moment ago. Reads nothing.
    pub fn known_sold_out(&self, lines: &[OrderLine], now: Timestamp) -> Vec<Sku> {
        let lines = merged(lines).into_iter();
        lines.filter(|(sku, wanted)| self.sold_out.covers(sku, *wanted, now)).map(|(sku, _)| sku).collect()
    }

    /// Remembers for a moment that there was too little of these SKUs for these lines.
    pub fn record_sold_out(&self, short: &[Sku], lines: &[OrderLine], now: Timestamp) {
        for (sku, wanted) in merged(lines).into_iter().filter(|(sku, _)| short.contains(sku)) {
            self.sold_out.record(&sku, wanted, now);
        }
    }

    /// Sets a SKU's stock and records the adjustment, its moves and its audit entry, all or nothing.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn write_stock(&self, change: &StockChange) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "set stock";
        let settings = &change.after.settings;
        let version = change.before.as_ref().map_or(0, |before| before.settings.version);
        let item = to_item(OPERATION, sku_key(&settings.sku, SETTINGS), settings)?;
        let mut writes = vec![Write::put(item).when(at_version(version)), record(&change.adjustment)?];
        for shard in &change.after.shards {
            let before = change.before.iter().flat_map(|stock| &stock.shards);
            let before = before.copied().find(|before| before.shard == shard.shard);
            writes.push(stock_set(settings, *shard, before));
        }
        let moves = StockMoves::of_setting(change);
        writes.extend(moves.map(|moves| recorded(OPERATION, &moves)).transpose()?);
        let before = change.before.as_ref().map(Audited::of);
        let after = Audited::of(&change.after);
        writes.push(entry(OPERATION, "stock.set", &change.adjustment, &before, &after)?.write()?);
        Ok(self.table.transact(OPERATION, writes).await?.done())
    }

    /// Adjusts a SKU's stock and records the adjustment, its moves and its audit entry, all or nothing. Conflicts
    /// when it was made before, or a shard has less than was read.
    ///
    /// # Errors
    /// As `write_stock`.
    pub async fn write_adjustment(
        &self,
        planned: &PlannedAdjustment,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "adjust stock";
        let adjustment = &planned.adjustment;
        let mut writes = vec![record(adjustment)?];
        writes.extend(planned.moves.iter().map(stock_move));
        writes.push(recorded(OPERATION, &StockMoves::of_adjustment(planned))?);
        // Computed from the stock that the decision was made on, as the answer is. Orders may have changed it since;
        // what the adjustment itself changed is among the moves.
        let available = |quantity| json!({"available": quantity});
        let before = available(adjustment.available.saturating_add_signed(-adjustment.delta));
        let after = available(adjustment.available);
        let entry = entry(OPERATION, "stock.adjusted", adjustment, &before, &after)?;
        writes.push(entry.with_reason(&adjustment.reason).write()?);
        Ok(self.table.transact(OPERATION, writes).await?.done())
    }

    /// The record of an adjustment.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn adjustment(&self, sku: &Sku, id: &AdjustmentId) -> Result<Option<Adjustment>, TableError> {
        self.table.get("adjustment", adjustment_key(sku, id)).await
    }

    /// Moves stock between the shards of a SKU for an order, and records it. The total stays the same. Conflicts
    /// when a shard has less than was read.
    ///
    /// # Errors
    /// As `write_stock`.
    pub async fn rebalance(
        &self,
        moves: &[Move],
        context: &EventContext,
        now: Timestamp,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "rebalance stock";
        let mut writes: Vec<Write> = moves.iter().map(stock_move).collect();
        let record = StockMoves::of_rebalancing(moves, context, now);
        writes.extend(record.map(|record| recorded(OPERATION, &record)).transpose()?);
        Ok(self.table.transact(OPERATION, writes).await?.done())
    }

    /// Parses the found items, and remembers the number of the SKU's shards.
    fn read(&self, sku: &Sku, items: Vec<Item>) -> Result<Option<Stock>, TableError> {
        const OPERATION: &str = "stock";
        let mut found: HashMap<String, Item> =
            items.into_iter().map(|item| (partition(&item), item)).collect();
        let Some(settings) = found.remove(&partition(&sku_key(sku, SETTINGS))) else { return Ok(None) };
        let settings: Settings = from_item(OPERATION, settings)?;
        self.spread.record(sku, settings.shards, Timestamp::now());
        let mut shards = Vec::new();
        for shard in shard_items(settings.shards) {
            if let Some(row) = found.remove(&partition(&stock_key(sku, shard))) {
                let Row { available } = from_item(OPERATION, row)?;
                shards.push(Shard { shard, available });
            }
        }
        Ok(Some(Stock { settings, shards }))
    }
}

/// What an administrator sets of a SKU's stock, as the audit trail shows it.
#[derive(Serialize)]
struct Audited {
    available: u64,
    shards: u32,
    low_stock: u32,
}

impl Audited {
    fn of(stock: &Stock) -> Self {
        let Settings { shards, low_stock, .. } = stock.settings;
        Self { available: stock.available(), shards, low_stock }
    }
}

/// The audit entry of a setting or adjustment.
fn entry<B: Serialize, A: Serialize>(
    operation: &'static str,
    action: &str,
    adjustment: &Adjustment,
    before: &B,
    after: &A,
) -> Result<Entry, TableError> {
    let Adjustment { sku, by, at, correlation_id, .. } = adjustment;
    let difference = audit::difference(before, after).map_err(|e| TableError::item(operation, e))?;
    let actor = Actor::User(by.clone());
    Ok(Entry::new(*at, actor, action, sku.as_str(), correlation_id).with_change(difference))
}

/// The record of a setting or adjustment, which makes a repeat of it fail.
fn record(adjustment: &Adjustment) -> Result<Write, TableError> {
    let item = to_item("record an adjustment", adjustment_key(&adjustment.sku, &adjustment.id), adjustment)?;
    Ok(Write::put(item).when(ABSENT))
}

/// Sets a shard, unless it has changed since it was read.
fn stock_set(settings: &Settings, after: Shard, before: Option<Shard>) -> Write {
    let set = Expression::new("SET available = :available, low_stock = :low_stock")
        .value(":available", number(after.available))
        .value(":low_stock", number(settings.low_stock));
    // A setting replaces the quantity, so an order that took from the shard meanwhile would be forgotten.
    // With this condition, the setting is decided again.
    let unchanged = match before {
        None => "attribute_not_exists(available)".into(),
        Some(before) => Expression::new("available = :before").value(":before", number(before.available)),
    };
    Write::update(stock_key(&settings.sku, after.shard), set).when(unchanged)
}

/// The keys to read for a SKU with this many shards.
// At most 66 keys: one call may have 100.
fn keys(sku: &Sku, shards: u32) -> Vec<Item> {
    let mut keys = vec![sku_key(sku, SETTINGS)];
    keys.extend(shard_items(shards).map(|shard| stock_key(sku, shard)));
    keys
}

fn partition(item: &Item) -> String {
    string_of(item, PK).unwrap_or_default().to_owned()
}

fn adjustment_key(sku: &Sku, id: &AdjustmentId) -> Item {
    sku_key(sku, format!("ADJUSTMENT#{}", id.as_str()))
}
