//! The payments' table: one item a payment, `pk = PAYMENT#<order>`, `sk = PAYMENT`.
//!
//! Every write replaces the item, with the version that was decided on as its condition. So the stored item
//! is always what one decision wrote, and a writer that lost the race decides again on the new item.

#[cfg(test)]
mod tests;

use std::{ops::Range, time::Duration};

use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use contracts::OrderId;
use lambda_kit::{
    dynamodb::{self, Item, OUTBOX, Table, TableError, condition_failed, key, number, string},
    telemetry::{self, Outcome},
};

use crate::domain::{self, Change, Fact, Occasion, Payment, Rejected};

/// The sort key of every payment.
const PAYMENT: &str = "PAYMENT";
/// Writers of one payment are few (a message, a webhook, an undo); this many lost races in a row are a fault.
const TRIES: usize = 10;

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the payment cannot take this fact")]
    Rejected(#[from] Rejected),
    #[error("the payment changed {TRIES} times while it was being written")]
    Contended,
}

impl Store {
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    /// The current payment.
    pub async fn get(&self, order_id: &OrderId) -> Result<Option<Payment>, StoreError> {
        const OPERATION: &str = "reading a payment";
        let read = self.table.client.get_item().table_name(&self.table.name);
        let answer = read
            .set_key(Some(payment_key(order_id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| TableError::call(OPERATION, e))?;
        let Some(item) = answer.item else { return Ok(None) };
        Ok(Some(serde_dynamo::from_item(item).map_err(|e| TableError::item(OPERATION, e))?))
    }

    /// One page of the payments whose deadline is in this period, in Unix seconds, and the start of the next
    /// page. Scans the whole table, a megabyte a page, half a read unit for each 4 KB: meant for once a day.
    pub async fn with_deadline_in(
        &self,
        time: Range<i64>,
        from: Option<Item>,
    ) -> Result<(Vec<Payment>, Option<Item>), StoreError> {
        const OPERATION: &str = "reading the payments of a day";
        let scan = self.table.client.scan().table_name(&self.table.name).set_exclusive_start_key(from);
        let answer = scan
            .filter_expression("sk = :payment AND charge.deadline >= :from AND charge.deadline < :until")
            .expression_attribute_values(":payment", string(PAYMENT))
            .expression_attribute_values(":from", number(time.start))
            .expression_attribute_values(":until", number(time.end))
            .send()
            .await
            .map_err(|e| TableError::call(OPERATION, e))?;
        let items = answer.items.unwrap_or_default().into_iter();
        let payments: Result<_, _> = items.map(serde_dynamo::from_item).collect();
        Ok((payments.map_err(|e| TableError::item(OPERATION, e))?, answer.last_evaluated_key))
    }

    /// Applies `fact` to the payment and returns the new state. `known` is the version that the caller has,
    /// or `None` for the guess that there is no payment; a wrong one costs a read. A repeated fact changes
    /// nothing, so a write whose answer was lost is recognised as done.
    pub async fn record(
        &self,
        order_id: &OrderId,
        known: Option<Payment>,
        fact: &Fact,
        occasion: Occasion<'_>,
    ) -> Result<Payment, StoreError> {
        let mut known = known;
        for _ in 0..TRIES {
            let Some(change) = domain::decide(order_id, known.as_ref(), fact, occasion)? else {
                // `decide` changes nothing only about a payment that there is.
                return known.ok_or(Rejected::NoPayment.into());
            };
            if self.write(&change).await? {
                if let Some(result) = change.result() {
                    telemetry::record(result, Outcome::Ok, Duration::ZERO);
                }
                return Ok(change.payment);
            }
            known = self.get(order_id).await?;
        }
        Err(StoreError::Contended)
    }

    /// Returns whether the change was written. It is not when the payment has changed since the decision.
    async fn write(&self, change: &Change) -> Result<bool, StoreError> {
        const OPERATION: &str = "writing a payment";
        let before = change.payment.version - 1;
        let put = self.put(OPERATION, change)?;
        let put = if before == 0 {
            put.condition_expression("attribute_not_exists(pk)")
        } else {
            put.condition_expression("version = :before")
                .expression_attribute_values(":before", number(before))
        };
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) if condition_failed(&error) => Ok(false),
            Err(error) => Err(TableError::call(OPERATION, error).into()),
        }
    }

    fn put(&self, operation: &'static str, change: &Change) -> Result<PutItemFluentBuilder, TableError> {
        let mut item: Item =
            serde_dynamo::to_item(&change.payment).map_err(|e| TableError::item(operation, e))?;
        item.extend(payment_key(&change.payment.order_id));
        if let Some(event) = &change.event {
            let events = dynamodb::outbox(std::slice::from_ref(event));
            item.insert(OUTBOX.to_owned(), events.map_err(|e| TableError::item(operation, e))?);
        }
        Ok(self.table.client.put_item().table_name(&self.table.name).set_item(Some(item)))
    }
}

fn payment_key(order_id: &OrderId) -> Item {
    key(format!("PAYMENT#{order_id}"), PAYMENT)
}
