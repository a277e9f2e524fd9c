//! Calls other contexts by direct invocation: their undos, and queries about payments.

use std::collections::BTreeSet;

use contracts::{
    OrderId,
    query::{PaymentQuery, PaymentStatuses},
    saga::{CommandContext, Context, Undo, UndoOutcome, Undone},
};
use lambda_kit::function_client::{CallError, FunctionClient};

use super::{correlation_id, invocation::LONGEST_CALL};
use crate::domain::History;

/// The functions of the other contexts.
#[derive(Debug, Clone)]
pub struct ContextClient(FunctionClient);

impl ContextClient {
    /// Calls each function once.
    // The next run is the second try.
    pub fn new(sdk: &aws_sdk_lambda::config::Config, stage: String) -> Self {
        Self(FunctionClient::new(sdk, stage, LONGEST_CALL))
    }

    /// Runs one of the saga's undos for this order.
    ///
    /// # Errors
    /// When it was not done, or the outcome is unknown.
    pub async fn undo(&self, undo: &Undo, history: &History, reason: &str) -> Result<UndoOutcome, CallError> {
        let user_id = history.user_id.clone();
        let context = CommandContext::new(history.order_id.clone(), correlation_id(history).clone());
        let command = undo.command(context, user_id, reason);
        let undone: Undone = self.0.call(undo.context.function(), &command).await?;
        Ok(undone.outcome)
    }

    /// The orders among these whose payments hold money, or could still take some.
    ///
    /// # Errors
    /// When payments does not answer.
    pub async fn payments_not_at_rest(
        &self,
        order_ids: Vec<OrderId>,
    ) -> Result<BTreeSet<OrderId>, CallError> {
        let query = PaymentQuery::PaymentStatuses { order_ids };
        let answer: PaymentStatuses = self.0.call(Context::Payments.function(), &query).await?;
        let not_at_rest = answer.payments.into_iter().filter(|payment| !payment.at_rest);
        Ok(not_at_rest.map(|payment| payment.order_id).collect())
    }
}
