//! The index `held`: reservations that are held, the oldest first. Sparse: an item leaves it when it is settled.

use contracts::OrderId;
use jiff::Timestamp;
use lambda_kit::dynamodb::{Item, PK, TableError, string};

use super::Store;

pub const HELD_INDEX: &str = "held";
/// The index's partition key: the slot, on items that are held and on no others.
pub(super) const HELD: &str = "held";
/// The index's sort key: an attribute of every reservation.
const SINCE: &str = "created_at";
/// An index's partition takes 1,000 writes a second, as a table's does (DynamoDB developer guide, quotas), and would
/// hold up the table behind it. 16 take more than 16 shards bring.
pub const SLOTS: [&str; 16] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"];

/// An order that stock is held for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub order_id: OrderId,
    pub since: Timestamp,
}

#[derive(Debug)]
pub struct HeldPage {
    pub held: Vec<Held>,
    /// Where the next page begins, if there is one.
    pub next: Option<Item>,
}

/// The slot of an order: the first digit of its id, which is one of a hash. Shards are told by its last ones.
pub(super) fn slot(order: &OrderId) -> &str {
    order.as_str().get(4..5).unwrap_or_default()
}

impl Store {
    /// Orders of the slot whose stock has been held since before `before`, the oldest first. An index follows its
    /// table with a delay, so some of them may be settled already.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn held_since_before(
        &self,
        slot: &str,
        before: Timestamp,
        start: Option<Item>,
        limit: i32,
    ) -> Result<HeldPage, TableError> {
        const OPERATION: &str = "list held reservations";
        let page = self
            .table
            .client
            .query()
            .table_name(&self.table.name)
            .index_name(HELD_INDEX)
            .key_condition_expression("#held = :slot AND #since < :before")
            .expression_attribute_names("#held", HELD)
            .expression_attribute_names("#since", SINCE)
            .expression_attribute_values(":slot", string(slot))
            .expression_attribute_values(":before", string(before.to_string()))
            .set_exclusive_start_key(start)
            .limit(limit)
            .send()
            .await
            .map_err(|error| TableError::call(OPERATION, error))?;
        let held = page.items.unwrap_or_default().iter().map(read).collect::<Result<_, _>>();
        Ok(HeldPage {
            held: held.map_err(|error| TableError::item(OPERATION, error))?,
            next: page.last_evaluated_key,
        })
    }
}

fn read(item: &Item) -> Result<Held, String> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str);
    let order_id = text(PK).and_then(|pk| pk.strip_prefix("RESERVATION#")).map(OrderId::try_from);
    let since = text(SINCE).map(str::parse);
    match (order_id, since) {
        (Some(Ok(order_id)), Some(Ok(since))) => Ok(Held { order_id, since }),
        _ => Err(format!("{:?} is no reservation", text(PK))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_one_of_the_slots() {
        for digit in "0123456789abcdef".chars() {
            let order = OrderId::try_from(format!("ord_{digit}{:031}", 0)).unwrap();
            assert!(SLOTS.contains(&slot(&order)), "{order}");
        }
    }
}
