//! The payments' table: one item a payment, `pk = PAYMENT#<order>`, `sk = PAYMENT`; and who refunded it, `pk =
//! AUDIT#<order>` (`lambda_kit::audit`).
//!
//! Every write replaces the item, with the version that was decided on as its condition. So the stored item
//! is always what one decision wrote, and a writer that lost the race decides again on the new item.

use std::ops::Range;

use contracts::OrderId;
use lambda_kit::{
    audit::{self, Entry},
    dynamodb::{
        Conflict, Item, ItemPage, Table, TableError, Write, at_version, from_item, key, number, string,
        to_item, with_outbox,
    },
    http::{List, Page, Problem},
};

use crate::domain::{Change, Payment};

/// The sort key of every payment.
const PAYMENT: &str = "PAYMENT";

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

impl Store {
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    /// The current payment.
    pub async fn get(&self, order_id: &OrderId) -> Result<Option<Payment>, TableError> {
        self.table.get("reading a payment", payment_key(order_id)).await
    }

    /// One page of the payments whose deadline is in this period, in Unix seconds, and the start of the next
    /// page. Scans the whole table, a megabyte a page, half a read unit for each 4 KB: meant for once a day.
    pub async fn with_deadline_in(
        &self,
        time: Range<i64>,
        from: Option<Item>,
    ) -> Result<(Vec<Payment>, Option<Item>), TableError> {
        const OPERATION: &str = "reading the payments of a day";
        let scan = self
            .table
            // Eventually consistent, at half the price. The payments of a day that is over hardly change.
            .scan()
            .filter_expression("sk = :payment AND charge.deadline >= :from AND charge.deadline < :until")
            .expression_attribute_values(":payment", string(PAYMENT))
            .expression_attribute_values(":from", number(time.start))
            .expression_attribute_values(":until", number(time.end))
            .set_exclusive_start_key(from);
        let ItemPage { items, next } = self.table.scan_page(OPERATION, scan).await?;
        let payments = items.into_iter().map(|item| from_item(OPERATION, item));
        Ok((payments.collect::<Result<_, _>>()?, next))
    }

    /// Who refunded the payment of an order, the newest change first.
    pub async fn audit_entries(&self, order_id: &OrderId, page: Page) -> Result<List<Entry>, Problem> {
        audit::list(&self.table, order_id.as_str(), page).await
    }

    /// Writes the change, with its audit entry if it has one. Conflicts when the payment has changed since the
    /// decision.
    pub async fn write(
        &self,
        change: &Change,
        entry: Option<&Entry>,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "writing a payment";
        let item = to_item(OPERATION, payment_key(&change.payment.order_id), &change.payment)?;
        let item = match &change.event {
            Some(event) => with_outbox(OPERATION, item, std::slice::from_ref(event))?,
            None => item,
        };
        let unchanged = at_version(change.payment.version - 1);
        // A transaction costs twice as much. Only refunds need one.
        let Some(entry) = entry else { return self.table.put_if(OPERATION, item, unchanged).await };
        let writes = vec![Write::put(item).when(unchanged), entry.write()?];
        Ok(self.table.transact(OPERATION, writes).await?.done())
    }
}

fn payment_key(order_id: &OrderId) -> Item {
    key(format!("PAYMENT#{order_id}"), PAYMENT)
}

#[cfg(test)]
mod tests;
