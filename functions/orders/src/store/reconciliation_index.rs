//! The reconciliation index (`watch`): the orders that the reconciler has to check. A sparse index over first commits.
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

/// The name of the index, and of its partition key.
const INDEX: &str = "watch";
const SINCE: &str = "watched_since";
/// The version of the order that its entry reflects.
const VERSION: &str = "watch_version";

/// Why an order is in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexReason {
    /// It has not ended. Since it was placed.
    Open,
    /// An undo failed. Since then.
    Attention,
    /// It was cancelled, and whether its money is back has not been checked since.
    Cancelled,
}

/// The change of an order's entry that an event causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexChange {
    Keep,
    Remove,
    Put(IndexReason),
}

/// An order in the index. The index may be a second behind, so load the order before acting on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedOrder {
    pub order_id: OrderId,
    /// The sort key of its entry.
    pub since: String,
}

/// A page of the index, and the start of the next one.
#[derive(Debug)]
pub struct IndexPage {
    pub orders: Vec<IndexedOrder>,
    pub next: Option<Item>,
}

impl IndexReason {
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
    pub fn after(last: &Envelope) -> IndexChange {
        match last.event_type.as_str() {
            OrderCompleted::TYPE => IndexChange::Remove,
            OrderCompensationFailed::TYPE => IndexChange::Put(Self::Attention),
            OrderCancelled::TYPE => match last.decode::<OrderCancelled>() {
                // Nearly all of these were out of stock and cancelled at once. No money can have moved.
                Ok(end) if is_before_payment(&end.step) => IndexChange::Remove,
                _ => IndexChange::Put(Self::Cancelled),
            },
            _ => IndexChange::Keep,
        }
    }
}

/// A time as a sort key, always with milliseconds.
// Times of one length sort as text.
pub(super) fn sortable(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// The index attributes of an order's first commit.
pub(super) fn initial_entry(order_id: &OrderId, placed_at: Timestamp, partitions: Partitions) -> Item {
    HashMap::from([
        (INDEX.to_owned(), string(IndexReason::Open.partition_of(order_id, partitions))),
        (SINCE.to_owned(), string(sortable(placed_at))),
        (VERSION.to_owned(), number(1)),
    ])
}

impl Store {
    /// Updates the order's index entry to its state after this commit, unless a later one was applied.
    /// Commits may come in any order and repeatedly.
    pub async fn update_index_entry(&self, order_id: &OrderId, last: &Envelope) -> Result<(), StoreError> {
        const OPERATION: &str = "updating the reconciliation index";
        let update = match IndexReason::after(last) {
            IndexChange::Keep => return Ok(()),
            IndexChange::Remove => {
                Expression::new("SET watch_version = :version REMOVE watch, watched_since, #private")
            }
            IndexChange::Put(reason) => Expression::new(
                "SET watch_version = :version, watch = :watch, watched_since = :since REMOVE #private",
            )
            .value(":watch", string(reason.partition_of(order_id, self.partitioning.reconciliation)))
            .value(":since", string(sortable(last.occurred_at))),
        };
        let update = update
            // A reserved word of DynamoDB.
            .name("#private", CHECKOUT_DETAILS)
            .value(":version", number(last.sequence));
        // Records arrive twice and in any order. An older one must not bring an entry back that a newer one
        // has removed.
        let earlier = "watch_version < :version";
        let (Ok(()) | Err(Conflict)) =
            self.table.update_if(OPERATION, first_key(order_id), update, earlier).await?;
        Ok(())
    }

    /// The index's partitions that hold the orders with this reason.
    pub fn index_partitions(&self, reason: IndexReason) -> Vec<String> {
        reason.partitions(self.partitioning.reconciliation)
    }

    /// One page of the orders of a partition that entered it before `until`, the oldest entry first.
    pub async fn indexed_orders(
        &self,
        partition: &str,
        until: Timestamp,
        limit: i32,
        from: Option<Item>,
    ) -> Result<IndexPage, StoreError> {
        const OPERATION: &str = "reading the reconciliation index";
        let query = self
            .table
            .query()
            // An index cannot be read consistently. So it only says which orders to look at, and each is read
            // from the table.
            .index_name(INDEX)
            .key_condition_expression("watch = :partition AND watched_since < :until")
            .expression_attribute_values(":partition", string(partition))
            .expression_attribute_values(":until", string(sortable(until)))
            .limit(limit)
            .set_exclusive_start_key(from);
        let page = self.table.query_page(OPERATION, query).await?;
        let orders = page.items.iter().map(indexed_order).collect::<Result<_, _>>();
        Ok(IndexPage { orders: orders.map_err(|e| TableError::item(OPERATION, e))?, next: page.next })
    }

    /// Removes a cancelled order from the index. A repeat changes nothing.
    pub async fn remove_cancelled(&self, order_id: &OrderId) -> Result<(), StoreError> {
        const OPERATION: &str = "removing an order from the reconciliation index";
        // The order may have got another entry since: when its refund fails at the bank, it needs attention,
        // and stays in the index.
        let cancelled = Expression::new("begins_with(watch, :cancelled)")
            .value(":cancelled", string(IndexReason::Cancelled.name()));
        let update = "REMOVE watch, watched_since";
        let (Ok(()) | Err(Conflict)) =
            self.table.update_if(OPERATION, first_key(order_id), update, cancelled).await?;
        Ok(())
    }
}

/// Reads an entry. The index projects keys only, and they have all that is needed.
fn indexed_order(item: &Item) -> Result<IndexedOrder, ItemError> {
    let order_id = text(item, PK)?.strip_prefix("ORDER#").map(OrderId::from_str);
    let Some(Ok(order_id)) = order_id else { return Err(ItemError::Attribute(PK)) };
    Ok(IndexedOrder { order_id, since: text(item, SINCE)?.to_owned() })
}
