//! Transactions, and the meaning of their cancellation.

use aws_sdk_dynamodb::{
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{Delete, Get, Put, TransactGetItem, TransactWriteItem, Update},
};

use super::{Conflict, Expression, Item, Table, TableError, condition_failed, expression::Parts, is_busy};

/// One write of a transaction.
#[derive(Debug, Clone)]
pub struct Write {
    action: Action,
    condition: Option<Expression>,
}

#[derive(Debug, Clone)]
enum Action {
    Put(Item),
    Update(Item, Expression),
    Delete(Item),
}

/// The outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactOutcome {
    /// All writes took effect, now or by an earlier try of the same call.
    Done,
    /// The condition of one write failed. Nothing was written.
    ConditionFailed {
        /// The write's place in the transaction. When several failed, it is the first of them.
        index: usize,
    },
    /// Another transaction was writing the same items, or the table was throttled. It had no effect and may be
    /// retried after a short wait.
    Conflict,
}

impl TransactOutcome {
    /// For callers that read and decide again, whatever the reason.
    pub fn done(self) -> Result<(), Conflict> {
        match self {
            Self::Done => Ok(()),
            Self::ConditionFailed { .. } | Self::Conflict => Err(Conflict),
        }
    }
}

impl Write {
    /// Writes the item over an existing one.
    pub fn put(item: Item) -> Self {
        Self { action: Action::Put(item), condition: None }
    }

    /// Changes attributes of the item, or creates it.
    pub fn update(key: Item, update: impl Into<Expression>) -> Self {
        Self { action: Action::Update(key, update.into()), condition: None }
    }

    /// Deletes the item, if it exists.
    pub fn delete(key: Item) -> Self {
        Self { action: Action::Delete(key), condition: None }
    }

    /// Sets the condition that the item must meet.
    #[must_use]
    pub fn when(self, condition: impl Into<Expression>) -> Self {
        Self { condition: Some(condition.into()), ..self }
    }

    fn build(self, table: &str) -> Result<TransactWriteItem, BuildError> {
        let write = TransactWriteItem::builder();
        let (action, condition) = (self.action, self.condition);
        let write = match action {
            Action::Put(item) => {
                let Parts { condition, names, values, .. } = Parts::of(None, condition);
                write.put(
                    Put::builder()
                        .table_name(table)
                        .set_item(Some(item))
                        .set_condition_expression(condition)
                        .set_expression_attribute_names(names)
                        .set_expression_attribute_values(values)
                        .build()?,
                )
            }
            Action::Update(key, update) => {
                let Parts { update, condition, names, values } = Parts::of(Some(update), condition);
                write.update(
                    Update::builder()
                        .table_name(table)
                        .set_key(Some(key))
                        .set_update_expression(update)
                        .set_condition_expression(condition)
                        .set_expression_attribute_names(names)
                        .set_expression_attribute_values(values)
                        .build()?,
                )
            }
            Action::Delete(key) => {
                let Parts { condition, names, values, .. } = Parts::of(None, condition);
                write.delete(
                    Delete::builder()
                        .table_name(table)
                        .set_key(Some(key))
                        .set_condition_expression(condition)
                        .set_expression_attribute_names(names)
                        .set_expression_attribute_values(values)
                        .build()?,
                )
            }
        };
        Ok(write.build())
    }
}

impl Table {
    /// Makes all of these writes or none.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn transact(
        &self,
        operation: &'static str,
        writes: Vec<Write>,
    ) -> Result<TransactOutcome, TableError> {
        // A single put is sent as PutItem, because a transaction costs twice as much.
        let writes = match <[Write; 1]>::try_from(writes) {
            Ok([Write { action: Action::Put(item), condition }]) => {
                return self.put_alone(operation, item, condition).await;
            }
            Ok(single) => single.into(),
            Err(writes) => writes,
        };
        let items = writes.into_iter().map(|write| write.build(&self.name)).collect::<Result<_, _>>();
        let items = items.map_err(|e| TableError::call(operation, e))?;
        // The SDK gives each call its own ClientRequestToken, which makes its retries idempotent. Between
        // calls the conditions must do that, since a token is valid for ten minutes only.
        let sent = self.client.transact_write_items().set_transact_items(Some(items)).send().await;
        let Err(error) = sent else { return Ok(TransactOutcome::Done) };
        match cancellation(&error) {
            Some(outcome) => Ok(outcome),
            None => Err(TableError::call(operation, error)),
        }
    }

    async fn put_alone(
        &self,
        operation: &'static str,
        item: Item,
        condition: Option<Expression>,
    ) -> Result<TransactOutcome, TableError> {
        match self.send_put(item, condition).await {
            Ok(()) => Ok(TransactOutcome::Done),
            Err(error) if condition_failed(&error) => Ok(TransactOutcome::ConditionFailed { index: 0 }),
            Err(error) if is_busy(&error) => Ok(TransactOutcome::Conflict),
            Err(error) => Err(TableError::call(operation, error)),
        }
    }

    /// The existing items of these keys, all as of one moment. Conflicts with a transaction that is under way
    /// on one of them.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn transact_get(
        &self,
        operation: &'static str,
        keys: Vec<Item>,
    ) -> Result<Result<Vec<Item>, Conflict>, TableError> {
        let get = |key| {
            let get = Get::builder().table_name(&self.name).set_key(Some(key)).build()?;
            Ok::<_, BuildError>(TransactGetItem::builder().get(get).build())
        };
        let gets = keys.into_iter().map(get).collect::<Result<_, _>>();
        let gets = gets.map_err(|e| TableError::call(operation, e))?;
        match self.client.transact_get_items().set_transact_items(Some(gets)).send().await {
            Ok(answer) => {
                let found = answer.responses.unwrap_or_default().into_iter();
                Ok(Ok(found.filter_map(|found| found.item).collect()))
            }
            // A transaction of reads is cancelled by a conflict or throttling only (TransactGetItems, API reference).
            Err(error) if is_busy(&error) || error.code() == Some("TransactionCanceledException") => {
                Ok(Err(Conflict))
            }
            Err(error) => Err(TableError::call(operation, error)),
        }
    }
}

/// The meaning of a failed transaction; `None` when it failed for another reason than its items' state.
fn cancellation<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<TransactOutcome> {
    if is_busy(error) {
        return Some(TransactOutcome::Conflict);
    }
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => {
            judge(cancelled.cancellation_reasons().iter().map(|reason| reason.code()))
        }
        _ => None,
    }
}

/// Classifies the reasons' codes, which are in the order of the transaction's items (TransactWriteItems, API
/// reference). `None` is a request that can never succeed.
fn judge<'a>(codes: impl IntoIterator<Item = Option<&'a str>>) -> Option<TransactOutcome> {
    let mut outcome = None;
    for (index, code) in codes.into_iter().enumerate() {
        match code {
            // It outweighs a conflict: the condition was evaluated, and shows the item's state.
            Some("ConditionalCheckFailed") => return Some(TransactOutcome::ConditionFailed { index }),
            Some("TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded") => {
                outcome = Some(TransactOutcome::Conflict);
            }
            _ => {}
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        TransactOutcome::{self, ConditionFailed, Conflict},
        judge,
    };

    #[rstest]
    #[case::the_first_condition(&["ConditionalCheckFailed", "None"], Some(ConditionFailed { index: 0 }))]
    #[case::both_conditions(&["ConditionalCheckFailed", "ConditionalCheckFailed"], Some(ConditionFailed { index: 0 }))]
    #[case::another_condition(&["None", "None", "ConditionalCheckFailed"], Some(ConditionFailed { index: 2 }))]
    #[case::a_condition_beside_a_conflict(&["TransactionConflict", "ConditionalCheckFailed"], Some(ConditionFailed { index: 1 }))]
    #[case::a_conflict_behind_a_condition(&["None", "ConditionalCheckFailed", "TransactionConflict"], Some(ConditionFailed { index: 1 }))]
    #[case::a_conflict(&["None", "TransactionConflict"], Some(Conflict))]
    #[case::throttling(&["ThrottlingError"], Some(Conflict))]
    #[case::throughput(&["None", "ProvisionedThroughputExceeded"], Some(Conflict))]
    #[case::a_faulty_request(&["None", "ValidationError"], None)]
    #[case::no_reason(&[], None)]
    fn a_failed_condition_outweighs_a_conflict_and_the_first_items_outweighs_all(
        #[case] codes: &[&str],
        #[case] outcome: Option<TransactOutcome>,
    ) {
        assert_eq!(judge(codes.iter().map(|code| Some(*code))), outcome);
    }
}
