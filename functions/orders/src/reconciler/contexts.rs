//! Calls other contexts by direct invocation: their undos, and queries about payments.

use std::{collections::BTreeSet, time::Duration};

use contracts::{
    OrderId,
    query::{PaymentQuery, PaymentStatuses},
    saga::{CommandContext, FulfillmentCommand, InventoryCommand, PaymentCommand, UndoOutcome, Undone},
};
use lambda_kit::peers::{CallError, Peers};

use super::correlation_id;
use crate::domain::History;

/// Longer than a command function's 30 s, like the saga's tasks, so that a late success is not taken for a
/// failure.
pub(super) const LONGEST_CALL: Duration = Duration::from_secs(35);

/// The undos in the order in which they run, the reverse of their steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    Shipment,
    Payment,
    Inventory,
}

impl Undo {
    pub const ALL: [Self; 3] = [Self::Shipment, Self::Payment, Self::Inventory];

    /// As `order.compensation_failed` names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shipment => "shipment",
            Self::Payment => "payment",
            Self::Inventory => "inventory",
        }
    }
}

/// The functions of the other contexts.
#[derive(Debug, Clone)]
pub struct Contexts(Peers);

impl Contexts {
    /// Calls with one try each: the next run is the second one.
    pub fn new(sdk: &aws_sdk_lambda::config::Config, stage: String) -> Self {
        Self(Peers::new(sdk, stage, LONGEST_CALL))
    }

    /// Runs one of the saga's undos for this order.
    ///
    /// # Errors
    /// When it was not done, or the outcome is unknown.
    pub async fn undo(&self, undo: Undo, history: &History, reason: &str) -> Result<UndoOutcome, CallError> {
        let user_id = history.user_id.clone();
        let context = CommandContext {
            order_id: history.order_id.clone(),
            correlation_id: correlation_id(history).clone(),
        };
        let undone: Undone = match undo {
            Undo::Shipment => {
                let command = FulfillmentCommand::CancelShipment { context, user_id };
                self.0.call("fulfillment-commands", &command).await?
            }
            Undo::Payment => {
                let command = PaymentCommand::RefundPayment { context, user_id, reason: reason.to_owned() };
                self.0.call("payments-commands", &command).await?
            }
            Undo::Inventory => {
                let command = InventoryCommand::ReleaseInventory { context, user_id };
                self.0.call("inventory-commands", &command).await?
            }
        };
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
        let answer: PaymentStatuses = self.0.call("payments-commands", &query).await?;
        let not_at_rest = answer.payments.into_iter().filter(|payment| !payment.at_rest);
        Ok(not_at_rest.map(|payment| payment.order_id).collect())
    }
}
