//! Decides what an input changes about a payment, and writes it. When another writer was faster, it reads and
//! decides again.

use contracts::{OrderId, metrics};
use lambda_kit::{
    audit::{self, Entry},
    dynamodb::{Budget, Conflict, TableError, retry_on_conflict_with},
    telemetry,
};

use crate::{
    domain::{self, Change, EventContext, Payment, PaymentInput, RefundChange, Rejected},
    store::Store,
};

/// The most tries to write one input.
// Writers of one payment are few: a message, a webhook, an undo. More conflicts are a fault.
const WRITES: Budget = Budget::Tries(10);

/// Why an input was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the payment does not accept this input")]
    Rejected(#[from] Rejected),
    #[error("other writers of the payment were faster every time")]
    Conflict(#[from] Conflict),
}

/// Applies `input` to the payment and returns the new state. `known` is the version that the caller has, or
/// `None` for the guess that there is no payment; a wrong one costs a read. A repeated input changes nothing, so
/// a write whose answer was lost is recognised as done.
///
/// # Errors
/// When the payment's state does not allow the input, or the table cannot be read or written.
pub async fn record(
    store: &Store,
    order_id: &OrderId,
    known: Option<Payment>,
    input: &PaymentInput,
    context: EventContext<'_>,
) -> Result<Payment, RecordError> {
    let recorded = retry_on_conflict_with(WRITES, known, |known| async move {
        let Some(change) = domain::decide(order_id, known.as_ref(), input, context)? else {
            // `decide` returns no change only for a payment that exists.
            return known.map(Ok).ok_or(RecordError::from(Rejected::NoPayment));
        };
        let refund = known.as_ref().and_then(|before| domain::refund_change(before, &change.payment, input));
        let entry =
            refund.map(|refund| entry(refund, &change, context)).transpose().map_err(Rejected::Event)?;
        if let Err(Conflict) = store.write(&change, entry.as_ref()).await? {
            // A lost answer of our own write ends here, too. `decide` then finds the input in the payment,
            // and changes nothing.
            return Ok(Err(store.get(order_id).await?));
        }
        // After the write and by its writer only, so that a repeat is not counted.
        if let Some(result) = change.result() {
            telemetry::emit_by(&metrics::PAYMENTS, result, 1);
        }
        Ok(Ok(change.payment))
    });
    Ok(recorded.await??)
}

/// The audit entry of a refund.
fn entry(refund: RefundChange, change: &Change, context: EventContext<'_>) -> serde_json::Result<Entry> {
    let RefundChange { action, actor, before, after, reason } = refund;
    let Payment { order_id, correlation_id, .. } = &change.payment;
    let entry = Entry::new(context.now, actor, action, order_id.as_str(), correlation_id)
        .with_change(audit::difference(&before, &after)?);
    Ok(Entry { reason, ..entry })
}
