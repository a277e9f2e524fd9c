//! The earlier form of transactions, for contexts that do not use [`Write`](super::Write) yet.

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{CancellationReason, Put, TransactWriteItem},
};

use super::{Table, TableError, TransactOutcome, condition_failed, transaction};

/// The outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transacted {
    Done,
    /// The first item's condition failed.
    First,
    /// Another item's condition failed.
    Other,
    /// Others were writing the same items, or the table was throttled. It had no effect and may be retried
    /// after a short wait.
    Busy,
}

impl Table {
    /// Writes all of these items or none.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn transact_items(
        &self,
        operation: &'static str,
        items: Vec<TransactWriteItem>,
    ) -> Result<Transacted, TableError> {
        let sent = self.client.transact_write_items().set_transact_items(Some(items)).send().await;
        let Err(error) = sent else { return Ok(Transacted::Done) };
        match transaction::cancellation(&error) {
            Some(TransactOutcome::ConditionFailed { index: 0 }) => Ok(Transacted::First),
            Some(TransactOutcome::ConditionFailed { .. }) => Ok(Transacted::Other),
            Some(TransactOutcome::Done | TransactOutcome::Conflict) => Ok(Transacted::Busy),
            None => Err(TableError::call(operation, error)),
        }
    }

    /// Makes a transaction's only write as a plain put, at half the price. Returns whether its condition
    /// held.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn put_item_alone(&self, operation: &'static str, put: Put) -> Result<bool, TableError> {
        let put = self
            .client
            .put_item()
            .table_name(put.table_name)
            .set_item(Some(put.item))
            .set_condition_expression(put.condition_expression)
            .set_expression_attribute_values(put.expression_attribute_values);
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) if condition_failed(&error) => Ok(false),
            Err(error) => Err(TableError::call(operation, error)),
        }
    }
}

/// The reason for each item of a cancelled transaction, by its code (`None`, `ConditionalCheckFailed`,
/// `TransactionConflict`, …). `None` when the transaction failed for another reason.
pub fn cancellation_reasons<R>(
    error: &SdkError<TransactWriteItemsError, R>,
) -> Option<&[CancellationReason]> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => {
            Some(cancelled.cancellation_reasons())
        }
        _ => None,
    }
}
