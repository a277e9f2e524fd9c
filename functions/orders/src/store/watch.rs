//! The watch index: orders that have not been brought to their end. A sparse index over first commits.
//!
//! An order is in the index from the write that places it, so that none can be lost, whatever happens to the
//! stream. The relay removes or changes the entry when the order ends. An order costs 4 write units here:
//! when it is placed, 1 for the index; when it completes, 2 for a first commit of under 2 KB, and 1 for the
//! removal.
//!
//! The same write erases the customer's address and payment method, because only the saga needed them. So
//! nothing is left to erase when a customer is deleted; an order that is open then runs to its end first. If
//! the relay's record is lost, the reconciler does this.

use std::{collections::HashMap, str::FromStr};

use contracts::{
    Envelope, EventPayload, OrderId,
    events::{OrderCancelled, OrderCompensationFailed, OrderCompleted},
    saga::is_before_payment,
};
use jiff::Timestamp;
use lambda_kit::dynamodb::{Conflict, Expression, Item, PK, Partitions, TableError, number, string};

use super::{
    Store, StoreError,
    item::{CHECKOUT_DETAILS, ItemError, first_key, text},
    partitioning::last_digits,
};

/// The sparse index, and its keys.
const WATCH: &str = "watch";
const WATCHED_SINCE: &str = "watched_since";
/// The version of the order that the watch is as of.
const WATCH_VERSION: &str = "watch_version";

/// Why an order is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// It has not ended. Since it was placed.
    Open,
    /// An undo failed. Since then.
    Attention,
    /// It was cancelled, and whether its money is back has not been checked since.
    Cancelled,
}

/// The change of an order's entry that an event causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Keep,
    End,
    Begin(Watch),
}

/// A watched order. As of a read that may be a second late: load the order before anything is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub order_id: OrderId,
    /// As the index has it.
    pub since: String,
}

/// A page of watched orders, and where the next one begins.
#[derive(Debug)]
pub struct Page {
    pub orders: Vec<Watched>,
    pub next: Option<Item>,
}

impl Watch {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Attention => "attention",
            Self::Cancelled => "cancelled",
        }
    }

    fn partition(self, number: u16) -> String {
        format!("{}#{number:x}", self.name())
    }

    /// The partition for an entry that is written now.
    fn partition_of(self, order_id: &OrderId, partitions: Partitions) -> String {
        self.partition(partitions.of(last_digits(order_id)))
    }

    /// The index's partitions that hold these orders.
    fn partitions(self, partitions: Partitions) -> Vec<String> {
        let spread = partitions.all().map(|number| self.partition(number));
        match self {
            Self::Open => spread.collect(),
            // Includes the partition that these orders were in before they were spread.
            Self::Attention | Self::Cancelled => spread.chain([self.name().to_owned()]).collect(),
        }
    }

    /// The order's entry after a commit with this last event.
    pub fn after(last: &Envelope) -> Change {
        match last.event_type.as_str() {
            OrderCompleted::TYPE => Change::End,
            OrderCompensationFailed::TYPE => Change::Begin(Self::Attention),
            OrderCancelled::TYPE => match last.decode::<OrderCancelled>() {
                // Most of those that are cancelled at once, out of stock. No money can have moved.
                Ok(end) if is_before_payment(&end.step) => Change::End,
                _ => Change::Begin(Self::Cancelled),
            },
            _ => Change::Keep,
        }
    }
}

/// With milliseconds, always: times of one length sort as text.
pub(super) fn sortable(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// The index attributes of an order's first commit.
pub(super) fn from_the_beginning(order_id: &OrderId, placed_at: Timestamp, partitions: Partitions) -> Item {
    HashMap::from([
        (WATCH.to_owned(), string(Watch::Open.partition_of(order_id, partitions))),
        (WATCHED_SINCE.to_owned(), string(sortable(placed_at))),
        (WATCH_VERSION.to_owned(), number(1)),
    ])
}

impl Store {
    /// Updates the order's index entry to its state after this commit, unless a later one was applied.
    /// Commits may come in any order and repeatedly.
    pub async fn watch(&self, order_id: &OrderId, last: &Envelope) -> Result<(), StoreError> {
        const OPERATION: &str = "changing the watch over an order";
        let update = match Watch::after(last) {
            Change::Keep => return Ok(()),
            Change::End => {
                Expression::new("SET watch_version = :version REMOVE watch, watched_since, #private")
            }
            Change::Begin(watch) => Expression::new(
                "SET watch_version = :version, watch = :watch, watched_since = :since REMOVE #private",
            )
            .value(":watch", string(watch.partition_of(order_id, self.partitioning.watch)))
            .value(":since", string(sortable(last.occurred_at))),
        };
        let update = update
            // A reserved word of DynamoDB.
            .name("#private", CHECKOUT_DETAILS)
            .value(":version", number(last.sequence));
        let earlier = "watch_version < :version";
        let (Ok(()) | Err(Conflict)) =
            self.table.update_if(OPERATION, first_key(order_id), update, earlier).await?;
        Ok(())
    }

    /// The index's partitions that hold the orders which are watched for this reason.
    pub fn watch_partitions(&self, watch: Watch) -> Vec<String> {
        watch.partitions(self.partitioning.watch)
    }

    /// One page of the orders of a partition that are watched since before `until`, the longest watched first.
    pub async fn watched(
        &self,
        partition: &str,
        until: Timestamp,
        limit: i32,
        from: Option<Item>,
    ) -> Result<Page, StoreError> {
        const OPERATION: &str = "listing watched orders";
        let query = self
            .table
            .query()
            .index_name(WATCH)
            .key_condition_expression("watch = :partition AND watched_since < :until")
            .expression_attribute_values(":partition", string(partition))
            .expression_attribute_values(":until", string(sortable(until)))
            .limit(limit)
            .set_exclusive_start_key(from);
        let page = self.table.query_page(OPERATION, query).await?;
        let orders = page.items.iter().map(watched_order).collect::<Result<_, _>>();
        Ok(Page { orders: orders.map_err(|e| TableError::item(OPERATION, e))?, next: page.next })
    }

    /// Ends the watch over a cancelled order. It may have ended before.
    pub async fn unwatch_cancelled(&self, order_id: &OrderId) -> Result<(), StoreError> {
        const OPERATION: &str = "ending the watch over an order";
        let cancelled = Expression::new("begins_with(watch, :cancelled)")
            .value(":cancelled", string(Watch::Cancelled.name()));
        let update = "REMOVE watch, watched_since";
        let (Ok(()) | Err(Conflict)) =
            self.table.update_if(OPERATION, first_key(order_id), update, cancelled).await?;
        Ok(())
    }
}

/// The index holds keys only: all else is in them.
fn watched_order(item: &Item) -> Result<Watched, ItemError> {
    let order_id = text(item, PK)?.strip_prefix("ORDER#").map(OrderId::from_str);
    let Some(Ok(order_id)) = order_id else { return Err(ItemError::Attribute(PK)) };
    Ok(Watched { order_id, since: text(item, WATCHED_SINCE)?.to_owned() })
}
