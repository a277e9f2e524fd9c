//! A failed refund whose money was paid to the customer in another way.

use contracts::{Money, OrderId};
use jiff::Timestamp;
use lambda_kit::dynamodb::TableError;
use serde::Serialize;

use super::Reconciler;
use crate::{
    domain::{EventContext, Payment, PaymentInput},
    handler::{self, RecordError},
    store::Store,
};

/// The record, written now or before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedSettlement {
    pub order_id: OrderId,
    pub amount: Money,
    pub at: Timestamp,
    pub by: String,
    pub note: String,
    /// Not when it was recorded before: then this is what was.
    pub new: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SettlementError {
    #[error("order {0} has no payment")]
    NoPayment(OrderId),
    #[error(
        "no refund of order {0} has failed, or its money has gone to the customer since: nothing is recorded"
    )]
    NothingFailed(OrderId),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Reconciler {
    /// Records that the amount of a failed refund was paid to the customer outside the gateway. Idempotent: a
    /// repeat returns the first record.
    ///
    /// # Errors
    /// When there is no such refund, or the table cannot be read or written.
    pub async fn record_settlement(
        &self,
        order_id: &OrderId,
        by: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<RecordedSettlement, SettlementError> {
        let known = self.store.get(order_id).await?;
        let known = known.ok_or_else(|| SettlementError::NoPayment(order_id.clone()))?;
        let before = known.settlements.len();
        let payment = record(&self.store, known, by, note, now).await?;
        // A repeat changes nothing and finds the first record here, with the first note.
        let last = payment.settlements.last().zip(payment.charge.as_ref());
        let (last, charge) = last.ok_or_else(|| SettlementError::NothingFailed(order_id.clone()))?;
        Ok(RecordedSettlement {
            order_id: order_id.clone(),
            amount: Money::new(last.amount, charge.amount.currency),
            at: Timestamp::from_second(last.at).unwrap_or(now),
            by: last.by.clone(),
            note: last.note.clone(),
            new: payment.settlements.len() > before,
        })
    }
}

async fn record(
    store: &Store,
    known: Payment,
    by: &str,
    note: &str,
    now: Timestamp,
) -> Result<Payment, RecordError> {
    let order_id = known.order_id.clone();
    let command_id = format!("{order_id}.PaymentSettled");
    let input = PaymentInput::SettlementRecorded { by: by.to_owned(), note: note.to_owned() };
    handler::record(store, &order_id, Some(known), &input, EventContext { now, causation_id: &command_id })
        .await
}
