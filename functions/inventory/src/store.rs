//! The table of inventory: with the modules under it the only place that knows its keys and expressions.
//!
//! | pk | sk | what |
//! |---|---|---|
//! | `STOCK#<sku>#<shard>` | `STOCK` | `available` of one shard, and a copy of the SKU's `low_stock` for the relay |
//! | `SKU#<sku>` | `SETTINGS` | over how many shards it is spread, what is called low |
//! | `SKU#<sku>` | `SUMMARY` | the class that was told last, with its outbox; written by the relay alone |
//! | `SKU#<sku>` | `ADJUSTMENT#<id>` | the trace of one setting or adjustment |
//! | `RESERVATION#<order>` | `RESERVATION` | what is held for an order, with its outbox; in the index `held` while it is held |
//!
//! `domain::shard_items` lists the shards of a SKU.

mod held;
mod sold_out;
mod spread;
mod stock;
mod stream;
mod summary;

use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update, builders::UpdateBuilder};
use contracts::{OrderId, Sku};
use lambda_kit::{
    dynamodb::{
        Item, OUTBOX, Table, TableError, Transacted, condition_failed, is_busy, key, number, outbox, string,
    },
    health::Check,
};
use serde::{Serialize, de::DeserializeOwned};

#[cfg(test)]
pub use self::held::HELD_INDEX;
use self::{held::HELD, sold_out::SoldOut, spread::Spread};
pub use self::{
    held::{Held, HeldPartitions},
    stock::Snapshot,
    stream::touched,
};
use crate::domain::{Change, Move, Reservation, Status};

const RESERVATION: &str = "RESERVATION";
const STOCK: &str = "STOCK";

/// The outcome of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Done,
    /// The state that the decision was made on has changed, or the write was done before.
    Moved,
    /// A shard has less than the quantity to take.
    Short,
    /// Another transaction was running on the same items, or the table was throttled.
    Busy,
}

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
    spread: Spread,
    sold_out: SoldOut,
    held_partitions: HeldPartitions,
}

impl Store {
    pub fn new(table: Table, held_partitions: HeldPartitions) -> Self {
        Self { table, spread: Spread::default(), sold_out: SoldOut::default(), held_partitions }
    }

    pub fn health(&self) -> Check {
        self.table.health()
    }

    /// The order's reservation (a consistent read).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn reservation(&self, order: &OrderId) -> Result<Option<Reservation>, TableError> {
        self.get("reservation", reservation_key(order)).await
    }

    /// Writes a reservation and moves its stock, all or nothing.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn write(&self, change: &Change) -> Result<Written, TableError> {
        let put = self.reservation_put(change)?;
        if change.moves.is_empty() {
            return self.put("write reservation", put).await;
        }
        let mut items = vec![TransactWriteItem::builder().put(put).build()];
        items.extend(self.stock_moves(&change.moves)?);
        self.transact("move stock", items).await
    }

    fn reservation_put(&self, change: &Change) -> Result<Put, TableError> {
        let operation = "write reservation";
        let reservation = &change.reservation;
        let mut item = item(operation, reservation_key(&reservation.order_id), reservation)?;
        let events = change.events().map_err(|error| TableError::item(operation, error))?;
        item.insert(OUTBOX.to_owned(), outbox(&events).map_err(|error| TableError::item(operation, error))?);
        if reservation.status == Status::Held {
            item.insert(
                HELD.to_owned(),
                string(held::partition(&reservation.order_id, self.held_partitions)),
            );
        }
        let put = Put::builder().table_name(&self.table.name).set_item(Some(item));
        let put = match change.expected {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(version) => put
                .condition_expression("version = :expected")
                .expression_attribute_values(":expected", number(version)),
        };
        put.build().map_err(|error| TableError::call(operation, error))
    }

    fn stock_moves(&self, moves: &[Move]) -> Result<Vec<TransactWriteItem>, TableError> {
        moves
            .iter()
            .map(|step| Ok(TransactWriteItem::builder().update(self.stock_move(step)?).build()))
            .collect()
    }

    /// `ADD` returns stock even to a shard that does not exist any more; taking requires a shard with enough.
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
            Err(error) if is_busy(&error) => Ok(Written::Busy),
            Err(error) => Err(TableError::call(operation, error)),
        }
    }

    /// The first item is the one whose condition yields `Moved`; the others are shards.
    async fn transact(
        &self,
        operation: &'static str,
        items: Vec<TransactWriteItem>,
    ) -> Result<Written, TableError> {
        Ok(match self.table.transact_items(operation, items).await? {
            Transacted::Done => Written::Done,
            Transacted::First => Written::Moved,
            Transacted::Other => Written::Short,
            Transacted::Busy => Written::Busy,
        })
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
}

fn item<T: Serialize>(operation: &'static str, key: Item, value: &T) -> Result<Item, TableError> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(|error| TableError::item(operation, error))?;
    item.extend(key);
    Ok(item)
}

fn reservation_key(order: &OrderId) -> Item {
    key(format!("RESERVATION#{order}"), RESERVATION)
}

fn stock_key(sku: &Sku, shard: u32) -> Item {
    key(format!("STOCK#{sku}#{shard}"), STOCK)
}

/// The key of an item about a SKU as a whole.
fn sku_key(sku: &Sku, sk: impl Into<String>) -> Item {
    key(format!("SKU#{sku}"), sk)
}
