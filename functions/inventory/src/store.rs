//! The table of inventory: the only place that knows its keys and expressions.
//!
//! | pk | sk | what |
//! |---|---|---|
//! | `STOCK#<sku>#<shard>` | `STOCK` | `available` of one shard |
//! | `SKU#<sku>` | `SUMMARY` | how many shards, how many adjustments |
//! | `SKU#<sku>` | `ADJUSTMENT#<version, 8 digits>` | the trace of one adjustment |
//! | `RESERVATION#<order>` | `RESERVATION` | what is held for an order, with its outbox |

mod verdict;

use aws_sdk_dynamodb::{
    error::ProvideErrorMetadata,
    types::{Put, TransactWriteItem, Update, builders::UpdateBuilder},
};
use contracts::{OrderId, Sku};
use futures::future::try_join_all;
use lambda_kit::{
    dynamodb::{
        Item, OUTBOX, Table, TableError, cancellation_reasons, condition_failed, key, number, outbox,
    },
    health::Check,
};
use serde::{Serialize, de::DeserializeOwned};

use self::verdict::{Verdict, judge};
use crate::domain::{Change, Move, Reservation, Shard, Stock, StockChange, Summary};

const RESERVATION: &str = "RESERVATION";
const STOCK: &str = "STOCK";
const SUMMARY: &str = "SUMMARY";

/// How a conditional write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Done,
    /// The reservation, or the stock that is set, is no longer what the write was decided on.
    Moved,
    /// A shard has too little for what should be taken from it.
    Short,
    /// Another transaction was under way on the same items, or the table took no more.
    Busy,
}

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

impl Store {
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    pub fn health(&self) -> Check {
        self.table.health()
    }

    /// The order's reservation, read consistently.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn reservation(&self, order: &OrderId) -> Result<Option<Reservation>, TableError> {
        self.get("reservation", reservation_key(order)).await
    }

    /// The SKU's stock, read consistently; `None` when it was never set.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn stock(&self, sku: &Sku) -> Result<Option<Stock>, TableError> {
        let Some(summary) = self.get::<Summary>("stock summary", summary_key(sku)).await? else {
            return Ok(None);
        };
        let shards = try_join_all((0..summary.shards).map(|shard| self.shard(sku, shard))).await?;
        Ok(Some(Stock { summary, shards }))
    }

    async fn shard(&self, sku: &Sku, shard: u32) -> Result<Shard, TableError> {
        #[derive(serde::Deserialize)]
        struct Row {
            available: u32,
        }
        let row = self.get::<Row>("stock", stock_key(sku, shard)).await?;
        Ok(Shard { shard, available: row.map_or(0, |row| row.available) })
    }

    /// Writes a reservation and moves its stock, all or nothing.
    ///
    /// # Errors
    /// When the call failed, or its answer was lost: then it may have had its effect.
    pub async fn write(&self, change: &Change) -> Result<Written, TableError> {
        let put = self.reservation_put(change)?;
        if change.moves.is_empty() {
            return self.put("write reservation", put).await;
        }
        let mut items = vec![TransactWriteItem::builder().put(put).build()];
        for change in &change.moves {
            items.push(TransactWriteItem::builder().update(self.stock_move(change)?).build());
        }
        self.transact("move stock", items).await
    }

    /// Sets a SKU's stock and leaves the trace of it, all or nothing.
    ///
    /// # Errors
    /// As `write`.
    pub async fn write_stock(&self, change: &StockChange) -> Result<Written, TableError> {
        let operation = "set stock";
        let summary = &change.after.summary;
        let adjusted =
            self.item(operation, adjustment_key(&summary.sku, summary.version), &change.adjustment)?;
        let mut put = Put::builder().table_name(&self.table.name).set_item(Some(self.item(
            operation,
            summary_key(&summary.sku),
            summary,
        )?));
        put = match &change.before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(before) => put
                .condition_expression("version = :expected")
                .expression_attribute_values(":expected", number(before.summary.version)),
        };
        let put = put.build().map_err(|error| TableError::call(operation, error))?;
        let trace = Put::builder()
            .table_name(&self.table.name)
            .set_item(Some(adjusted))
            .build()
            .map_err(|error| TableError::call(operation, error))?;
        let mut items = vec![
            TransactWriteItem::builder().put(put).build(),
            TransactWriteItem::builder().put(trace).build(),
        ];
        for shard in &change.after.shards {
            let before = change.before.iter().flat_map(|stock| &stock.shards);
            let before = before.copied().find(|before| before.shard == shard.shard);
            let update = self.stock_set(&summary.sku, *shard, before)?;
            items.push(TransactWriteItem::builder().update(update).build());
        }
        self.transact(operation, items).await.map(|written| match written {
            // Nothing is taken here: a shard that is not as it was read has been written by somebody else.
            Written::Short => Written::Moved,
            other => other,
        })
    }

    fn reservation_put(&self, change: &Change) -> Result<Put, TableError> {
        let operation = "write reservation";
        let mut item =
            self.item(operation, reservation_key(&change.reservation.order_id), &change.reservation)?;
        let events = change.events().map_err(|error| TableError::item(operation, error))?;
        item.insert(OUTBOX.to_owned(), outbox(&events).map_err(|error| TableError::item(operation, error))?);
        let put = Put::builder().table_name(&self.table.name).set_item(Some(item));
        let put = match change.expected {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(version) => put
                .condition_expression("version = :expected")
                .expression_attribute_values(":expected", number(version)),
        };
        put.build().map_err(|error| TableError::call(operation, error))
    }

    /// `ADD` gives back also to a shard that is not there any more; taking needs one that has enough.
    fn stock_move(&self, change: &Move) -> Result<Update, TableError> {
        let update = self
            .stock_update(&change.sku, change.shard)
            .update_expression("ADD available :delta")
            .expression_attribute_values(":delta", number(change.delta));
        let update = if change.delta < 0 {
            update
                .condition_expression("available >= :needed")
                .expression_attribute_values(":needed", number(-change.delta))
        } else {
            update
        };
        update.build().map_err(|error| TableError::call("move stock", error))
    }

    fn stock_set(&self, sku: &Sku, after: Shard, before: Option<Shard>) -> Result<Update, TableError> {
        let update = self
            .stock_update(sku, after.shard)
            .update_expression("SET available = :available")
            .expression_attribute_values(":available", number(after.available));
        let update = match before {
            None => update.condition_expression("attribute_not_exists(available)"),
            Some(before) => update
                .condition_expression("available = :before")
                .expression_attribute_values(":before", number(before.available)),
        };
        update.build().map_err(|error| TableError::call("set stock", error))
    }

    fn stock_update(&self, sku: &Sku, shard: u32) -> UpdateBuilder {
        Update::builder().table_name(&self.table.name).set_key(Some(stock_key(sku, shard)))
    }

    async fn put(&self, operation: &'static str, put: Put) -> Result<Written, TableError> {
        let sent = self
            .table
            .client
            .put_item()
            .table_name(put.table_name())
            .set_item(Some(put.item().clone()))
            .set_condition_expression(put.condition_expression().map(str::to_owned))
            .set_expression_attribute_values(put.expression_attribute_values().cloned())
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Written::Done),
            Err(error) if condition_failed(&error) => Ok(Written::Moved),
            Err(error) if error.code() == Some("TransactionConflictException") => Ok(Written::Busy),
            Err(error) => Err(TableError::call(operation, error)),
        }
    }

    /// The first item is the one whose condition says `Moved`; the others are shards.
    async fn transact(
        &self,
        operation: &'static str,
        items: Vec<TransactWriteItem>,
    ) -> Result<Written, TableError> {
        // The SDK gives each call a ClientRequestToken of its own, which makes its tries one; between calls the
        // conditions judge, since a token is remembered for ten minutes only.
        let sent = self.table.client.transact_write_items().set_transact_items(Some(items)).send().await;
        let Err(error) = sent else { return Ok(Written::Done) };
        if error.code() == Some("TransactionInProgressException") {
            return Ok(Written::Busy);
        }
        match cancellation_reasons(&error).map(|reasons| judge(reasons.iter().map(|reason| reason.code()))) {
            Some(Verdict::First) => Ok(Written::Moved),
            Some(Verdict::Other) => Ok(Written::Short),
            Some(Verdict::Busy) => Ok(Written::Busy),
            Some(Verdict::Fault) | None => Err(TableError::call(operation, error)),
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        key: Item,
    ) -> Result<Option<T>, TableError> {
        let answer = self
            .table
            .client
            .get_item()
            .table_name(&self.table.name)
            .set_key(Some(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| TableError::call(operation, error))?;
        answer
            .item
            .map(serde_dynamo::from_item)
            .transpose()
            .map_err(|error| TableError::item(operation, error))
    }

    fn item<T: Serialize>(&self, operation: &'static str, key: Item, value: &T) -> Result<Item, TableError> {
        let mut item: Item =
            serde_dynamo::to_item(value).map_err(|error| TableError::item(operation, error))?;
        item.extend(key);
        Ok(item)
    }
}

fn reservation_key(order: &OrderId) -> Item {
    key(format!("RESERVATION#{order}"), RESERVATION)
}

fn stock_key(sku: &Sku, shard: u32) -> Item {
    key(format!("STOCK#{sku}#{shard}"), STOCK)
}

fn summary_key(sku: &Sku) -> Item {
    key(format!("SKU#{sku}"), SUMMARY)
}

fn adjustment_key(sku: &Sku, version: u64) -> Item {
    key(format!("SKU#{sku}"), format!("ADJUSTMENT#{version:08}"))
}
