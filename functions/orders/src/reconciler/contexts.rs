//! The other contexts: their undos, and what payments knows, by direct invocation.

use std::{collections::BTreeSet, time::Duration};

use aws_sdk_lambda::{Client, primitives::Blob};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use contracts::{
    OrderId,
    query::{PaymentQuery, PaymentStatuses},
    saga::{CommandContext, FulfillmentCommand, InventoryCommand, PaymentCommand, UndoOutcome, Undone},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::correlation_id;
use crate::domain::History;

/// A command function has 30 s, as the saga's tasks know; a late success is not to be taken for a failure.
pub(super) const LONGEST_CALL: Duration = Duration::from_secs(35);

/// An undo, in the order in which they are done: the reverse of their steps.
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

/// Invokes the functions of a stage.
#[derive(Debug, Clone)]
pub struct Contexts {
    lambda: Client,
    stage: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{function} could not be invoked")]
    Invoke {
        function: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{function} failed with {name}: {message}")]
    Failed { function: &'static str, name: String, message: String },
    #[error("what is sent to or answered by {function} is not of its form")]
    Form {
        function: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

/// What Lambda answers when a function failed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Failure {
    error_type: String,
    error_message: String,
}

impl Contexts {
    /// Calls with one try each: the next run is the second one.
    pub fn new(sdk: &aws_sdk_lambda::config::Config, stage: String) -> Self {
        let config = sdk
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(LONGEST_CALL).build())
            .build();
        Self { lambda: Client::from_conf(config), stage }
    }

    /// Runs one undo of the saga for this order.
    ///
    /// # Errors
    /// When it was not done, or nobody knows.
    pub async fn undo(&self, undo: Undo, history: &History, reason: &str) -> Result<UndoOutcome, CallError> {
        let user_id = history.user_id.clone();
        let context = CommandContext {
            order_id: history.order_id.clone(),
            correlation_id: correlation_id(history).clone(),
        };
        let undone: Undone = match undo {
            Undo::Shipment => {
                let command = FulfillmentCommand::CancelShipment { context, user_id };
                self.call("fulfillment-commands", &command).await?
            }
            Undo::Payment => {
                let command = PaymentCommand::RefundPayment { context, user_id, reason: reason.to_owned() };
                self.call("payments-commands", &command).await?
            }
            Undo::Inventory => {
                let command = InventoryCommand::ReleaseInventory { context, user_id };
                self.call("inventory-commands", &command).await?
            }
        };
        Ok(undone.outcome)
    }

    /// Which of these orders' payments hold money, or could still take some.
    ///
    /// # Errors
    /// When payments does not say.
    pub async fn payments_not_at_rest(
        &self,
        order_ids: Vec<OrderId>,
    ) -> Result<BTreeSet<OrderId>, CallError> {
        let query = PaymentQuery::PaymentStatuses { order_ids };
        let answer: PaymentStatuses = self.call("payments-commands", &query).await?;
        let not_at_rest = answer.payments.into_iter().filter(|payment| !payment.at_rest);
        Ok(not_at_rest.map(|payment| payment.order_id).collect())
    }

    async fn call<A: DeserializeOwned>(
        &self,
        function: &'static str,
        request: &impl Serialize,
    ) -> Result<A, CallError> {
        let form = |source| CallError::Form { function, source };
        let payload = serde_json::to_vec(request).map_err(form)?;
        let call = self.lambda.invoke().function_name(format!("ordersaga-{}-{function}", self.stage));
        let answer = call
            .payload(Blob::new(payload))
            .send()
            .await
            .map_err(|source| CallError::Invoke { function, source: source.into() })?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        if answer.function_error.is_some() {
            let Failure { error_type, error_message } = serde_json::from_slice(&payload).unwrap_or_default();
            return Err(CallError::Failed { function, name: error_type, message: error_message });
        }
        serde_json::from_slice(&payload).map_err(form)
    }
}
