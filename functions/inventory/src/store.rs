//! The table of inventory: with the modules under it the only place that knows its keys and expressions.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `STOCK#<sku>#<shard>` | `STOCK` | `available` of one shard, and a copy of the SKU's `low_stock` for the relay |
//! | `SKU#<sku>` | `SETTINGS` | the number of its shards, and the quantity up to which its stock is low |
//! | `SKU#<sku>` | `SUMMARY` | the availability that was published last, with its outbox; written by the relay alone |
//! | `SKU#<sku>` | `ADJUSTMENT#<id>` | the record of one setting or adjustment, by which a repeat is recognised |
//! | `MOVES#<sku>`, `MOVES#<sku>#<shard>` | `<time>#<id>#<kind>` | one change of the stock, with its shards (`moves`) |
//! | `AUDIT#<sku>` | | who changed the stock (`lambda_kit::audit`) |
//! | `RESERVATION#<order>` | `RESERVATION` | the stock that is held for an order, with its outbox; in the index `held` while it is held |
//!
//! `domain::shard_items` lists the shards of a SKU.

mod held;
mod held_index;
mod moves;
mod sold_out;
mod spread;
mod stock;
mod stream;
mod summary;

use contracts::{OrderId, Sku};
use lambda_kit::{
    audit::{self, Entry},
    dynamodb::{
        Expression, Item, Table, TableError, TransactOutcome, Write, at_version, key, number, string,
        to_item, with_outbox,
    },
    health::Check,
    http::{List, Page, Problem},
};

#[cfg(test)]
pub use self::held_index::HELD_INDEX;
pub use self::{
    held::Held,
    held_index::HeldPartitions,
    moves::{Place, Posting},
    stream::{changed_sku, moves_of},
};
use self::{held_index::HELD, sold_out::SoldOut, spread::Spread};
use crate::domain::{Change, Move, Reservation, Status};

const RESERVATION: &str = "RESERVATION";
const STOCK: &str = "STOCK";

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

    /// Who set or adjusted the SKU's stock, the newest change first.
    ///
    /// # Errors
    /// As `audit::list`.
    pub async fn audit_entries(&self, sku: &Sku, page: Page) -> Result<List<Entry>, Problem> {
        audit::list(&self.table, sku.as_str(), page).await
    }

    /// The order's reservation (a consistent read).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn reservation(&self, order: &OrderId) -> Result<Option<Reservation>, TableError> {
        self.table.get("reservation", reservation_key(order)).await
    }

    /// Writes a reservation and moves its stock, all or nothing. The write at index 0 is the reservation's: its
    /// condition fails when the reservation has changed, or the write was done before. The others are shards:
    /// their conditions fail when one has less than the quantity to take.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn write(&self, change: &Change) -> Result<TransactOutcome, TableError> {
        let mut writes = vec![self.reservation_put(change)?];
        writes.extend(change.moves.iter().map(stock_move));
        self.table.transact("write reservation", writes).await
    }

    fn reservation_put(&self, change: &Change) -> Result<Write, TableError> {
        const OPERATION: &str = "write reservation";
        let reservation = &change.reservation;
        let mut item = to_item(OPERATION, reservation_key(&reservation.order_id), reservation)?;
        // Only a held reservation has the attribute. The put of a later status leaves it out, and the
        // reservation leaves the index.
        if reservation.status == Status::Held {
            let partition = held_index::partition(&reservation.order_id, self.held_partitions);
            item.insert(HELD.to_owned(), string(partition));
        }
        let events = change.events().map_err(|error| TableError::item(OPERATION, error))?;
        let item = with_outbox(OPERATION, item, &events)?;
        Ok(Write::put(item).when(at_version(change.expected.unwrap_or(0))))
    }
}

/// Takes from a shard, or returns to it.
fn stock_move(change: &Move) -> Write {
    // `ADD` and not `SET`: concurrent orders change the same shard, and none of them needs to know its
    // quantity. It also returns stock to a shard that has no item yet.
    let add = Expression::new("ADD available :delta").value(":delta", number(change.delta));
    let update = Write::update(stock_key(&change.sku, change.shard), add);
    if change.delta < 0 {
        // This condition is what never sells more than the stock.
        update.when(Expression::new("available >= :needed").value(":needed", number(-change.delta)))
    } else {
        update
    }
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
