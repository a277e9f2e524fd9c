//! Transactions, and the meaning of their cancellation.

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    types::{Put, TransactWriteItem},
};

use super::{Table, TableError, cancellation_reasons, condition_failed};

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
    pub async fn transact(
        &self,
        operation: &'static str,
        items: Vec<TransactWriteItem>,
    ) -> Result<Transacted, TableError> {
        // The SDK gives each call its own ClientRequestToken, which makes its retries idempotent. Between
        // calls the conditions must do that, since a token is valid for ten minutes only.
        let sent = self.client.transact_write_items().set_transact_items(Some(items)).send().await;
        let Err(error) = sent else { return Ok(Transacted::Done) };
        if is_busy(&error) {
            return Ok(Transacted::Busy);
        }
        match cancellation_reasons(&error).map(|reasons| judge(reasons.iter().map(|reason| reason.code()))) {
            Some(Verdict::First) => Ok(Transacted::First),
            Some(Verdict::Other) => Ok(Transacted::Other),
            Some(Verdict::Busy) => Ok(Transacted::Busy),
            Some(Verdict::Fault) | None => Err(TableError::call(operation, error)),
        }
    }
}

impl Table {
    /// Makes a transaction's only write as a plain put, at half the price. Returns whether its condition
    /// held.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn put_alone(&self, operation: &'static str, put: Put) -> Result<bool, TableError> {
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

/// Whether the whole call was refused because others were writing the same items or the table was throttled.
/// It had no effect and may be retried after a short wait (DynamoDB developer guide, error handling).
pub fn is_busy<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    matches!(
        error.code(),
        Some(
            "TransactionConflictException"
                | "TransactionInProgressException"
                | "ThrottlingException"
                | "ProvisionedThroughputExceededException"
                | "RequestLimitExceeded"
        )
    )
}

/// Whose condition failed, or what else it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The first item's condition.
    First,
    /// Another item's condition.
    Other,
    /// No condition was evaluated: others were writing the items, or the table was throttled.
    Busy,
    /// A request that can never succeed.
    Fault,
}

/// Classifies the reasons' codes, which are in the order of the transaction's items (TransactWriteItems, API
/// reference). A failed condition outweighs a conflict: it was evaluated, and tells the item's state.
fn judge<'a>(codes: impl IntoIterator<Item = Option<&'a str>>) -> Verdict {
    let mut verdict = Verdict::Fault;
    for (position, code) in codes.into_iter().enumerate() {
        match (position, code) {
            (0, Some("ConditionalCheckFailed")) => return Verdict::First,
            (_, Some("ConditionalCheckFailed")) => verdict = Verdict::Other,
            (_, Some("TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded"))
                if verdict == Verdict::Fault =>
            {
                verdict = Verdict::Busy;
            }
            _ => {}
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::the_first_condition(&["ConditionalCheckFailed", "None"], Verdict::First)]
    #[case::both_conditions(&["ConditionalCheckFailed", "ConditionalCheckFailed"], Verdict::First)]
    #[case::another_condition(&["None", "None", "ConditionalCheckFailed"], Verdict::Other)]
    #[case::a_condition_beside_a_conflict(&["TransactionConflict", "ConditionalCheckFailed"], Verdict::Other)]
    #[case::a_conflict_behind_a_condition(&["None", "ConditionalCheckFailed", "TransactionConflict"], Verdict::Other)]
    #[case::a_conflict(&["None", "TransactionConflict"], Verdict::Busy)]
    #[case::throttling(&["ThrottlingError"], Verdict::Busy)]
    #[case::throughput(&["None", "ProvisionedThroughputExceeded"], Verdict::Busy)]
    #[case::a_faulty_request(&["None", "ValidationError"], Verdict::Fault)]
    #[case::no_reason(&[], Verdict::Fault)]
    fn a_failed_condition_outweighs_a_conflict_and_the_first_items_outweighs_all(
        #[case] codes: &[&str],
        #[case] verdict: Verdict,
    ) {
        assert_eq!(judge(codes.iter().map(|code| Some(*code))), verdict);
    }
}
