//! The index `held`: held reservations, the oldest first. Sparse: an item leaves it when it is settled.

use contracts::OrderId;
use jiff::Timestamp;
use lambda_kit::{
    config::{self, ConfigError},
    dynamodb::{Item, PK, Page, Partitions, TableError, string, string_of},
};

use super::Store;

pub const HELD_INDEX: &str = "held";
/// The index's partition key: the name of a partition. Only held items have it.
pub(super) const HELD: &str = "held";
/// The index's sort key: an attribute of every reservation.
const SINCE: &str = "created_at";

/// The number of the index's partitions: a setting that only grows. A single one would throttle the table
/// behind it.
#[derive(Debug, Clone, Copy)]
pub struct HeldPartitions(pub Partitions);

impl HeldPartitions {
    /// Reads `HELD_PARTITIONS`.
    ///
    /// # Errors
    /// When it is not from 1 to 64.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self(config::parsed_or("HELD_PARTITIONS", Self::default().0)?))
    }
}

impl Default for HeldPartitions {
    fn default() -> Self {
        // 16 take more than 16 shards bring.
        Self(Partitions::new(16))
    }
}

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

fn named(number: u16) -> String {
    format!("{number:x}")
}

/// The partition of an order, from the first digits of its id, which is a hash. Shards are chosen by its last
/// digits.
pub(super) fn partition(order: &OrderId, partitions: HeldPartitions) -> String {
    named(partitions.0.of(order.as_str().get(4..8).unwrap_or_default()))
}

impl Store {
    /// The partitions of the index.
    pub fn held_partitions(&self) -> Vec<String> {
        self.held_partitions.0.all().map(named).collect()
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
        let Page { items, next } = self.table.query_page(OPERATION, query).await?;
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
