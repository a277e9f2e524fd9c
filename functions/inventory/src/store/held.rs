//! The index `held`: held reservations, the oldest first. Sparse: an item leaves it when it is settled.

use contracts::OrderId;
use jiff::Timestamp;
use lambda_kit::dynamodb::{Item, ItemPage, PK, TableError, string, string_of};

use super::{
    Store,
    held_index::{HELD, HELD_INDEX, partition_name},
};

/// The index's sort key: an attribute of every reservation.
const SINCE: &str = "created_at";

/// An order that stock is held for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub order_id: OrderId,
    pub since: Timestamp,
}

#[derive(Debug)]
pub struct HeldPage {
    pub held: Vec<Held>,
    /// The start of the next page, if there is one.
    pub next: Option<Item>,
}

impl Store {
    /// The partitions of the index.
    pub fn held_partitions(&self) -> Vec<String> {
        self.held_partitions.0.all().map(partition_name).collect()
    }

    /// Orders of the partition whose stock has been held since before `before`, the oldest first. An index
    /// lags behind its table, so some of them may be settled already.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn held_since_before(
        &self,
        partition: &str,
        before: Timestamp,
        start: Option<Item>,
        limit: i32,
    ) -> Result<HeldPage, TableError> {
        const OPERATION: &str = "list held reservations";
        let query = self
            .table
            .query()
            .index_name(HELD_INDEX)
            .key_condition_expression("#held = :partition AND #since < :before")
            .expression_attribute_names("#held", HELD)
            .expression_attribute_names("#since", SINCE)
            .expression_attribute_values(":partition", string(partition))
            .expression_attribute_values(":before", string(before.to_string()))
            .set_exclusive_start_key(start)
            .limit(limit);
        let ItemPage { items, next } = self.table.query_page(OPERATION, query).await?;
        let held = items.iter().map(read).collect::<Result<_, _>>();
        Ok(HeldPage { held: held.map_err(|error| TableError::item(OPERATION, error))?, next })
    }
}

fn read(item: &Item) -> Result<Held, String> {
    let text = |name| string_of(item, name);
    let order_id = text(PK).and_then(|pk| pk.strip_prefix("RESERVATION#")).map(OrderId::try_from);
    let since = text(SINCE).map(str::parse);
    match (order_id, since) {
        (Some(Ok(order_id)), Some(Ok(since))) => Ok(Held { order_id, since }),
        _ => Err(format!("{:?} is no reservation", text(PK))),
    }
}
