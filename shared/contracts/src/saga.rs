//! The saga's contract: its steps, its input, the commands that its states send, the answers to them, and the
//! error names that it distinguishes.

mod compensations;
mod ledger;
pub mod steps;
#[cfg(test)]
mod tests;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

pub use self::{
    compensations::{Compensations, UnknownUndo},
    ledger::{
        Call, Explanation, Field, Progress, Reason, Refusal, Source, Step, Undo, UndoCommand, error_names,
        is_before_payment, reasons, undos,
    },
    steps::{
        Context, INVENTORY_NOT_AVAILABLE, PAYMENT_DECLINED, PAYMENT_TIMEOUT, RESERVATION_COMMITTED,
        SHIPMENT_REJECTED, STEPS, UndoOutcome,
    },
};
use crate::{CorrelationId, Money, OrderId, OrderLine, ShippingAddress, UserId};

pub const ORDER_CANCEL_REQUESTED: &str = "OrderCancelRequested";
/// CancelOrder's answer when an undo has used up its retries. It is recorded, and ends the execution as
/// failed.
pub const COMPENSATION_FAILED: &str = "CompensationFailed";
/// Ends an execution that could not even record how the order ended. No command answers with it.
pub const SAGA_UNRESOLVED: &str = "SagaUnresolved";
/// The reason of a cancelled order whose execution ended without ending the order. No command answers with
/// it.
pub const SAGA_ABORTED: &str = "SagaAborted";
/// The reason of a cancelled order whose step failed until the order's time was up. No command answers with
/// it.
pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
/// Any error that may pass by itself. The state machine retries it.
pub const TRANSIENT: &str = "Transient";

/// How long an order waits for a service that is down: once before the payment, and once more after it. The
/// default of the parameter `OrderWaitMinutes` of infra/orders.yaml.
pub const ORDER_WAIT_MINUTES: u32 = 30;

/// The longest time before an execution begins to undo, when every wait takes its whole time: before the
/// payment, until the payment's backstop, and after it. A step finishes the tries that it has begun, so a few
/// executions take some minutes more. The reconciler inspects orders that are open for longer, and leaves
/// running executions alone. A test of statemachine/ compares this with the definition.
pub const LONGEST_WAY_FORWARD_SECONDS: u32 = 2 * 60 * ORDER_WAIT_MINUTES + steps::PAYMENT_BACKSTOP_SECONDS;

/// The input of one execution; the execution's name is the order id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaInput {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub correlation_id: CorrelationId,
    pub items: Vec<OrderLine>,
    pub total: Money,
    pub payment_method: String,
    pub shipping_address: ShippingAddress,
}

/// Fields that every saga command carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandContext {
    pub order_id: OrderId,
    pub correlation_id: CorrelationId,
}

/// A saga command to any context.
pub trait SagaCommand {
    /// The command's `action` name.
    fn action(&self) -> &'static str;
    fn context(&self) -> &CommandContext;
}

macro_rules! saga_command {
    ($command:ident { $($action:ident),+ }) => {
        impl SagaCommand for $command {
            fn action(&self) -> &'static str {
                match self {
                    $(Self::$action { .. } => stringify!($action)),+
                }
            }

            fn context(&self) -> &CommandContext {
                match self {
                    $(Self::$action { context, .. })|+ => context,
                }
            }
        }
    };
}

saga_command!(InventoryCommand { ReserveInventory, ReleaseInventory });
saga_command!(OrderCommand { RecordReservation, CompleteOrder, AbortOrder, CancelOrder });
saga_command!(FulfillmentCommand { ScheduleShipment, CancelShipment });

impl SagaCommand for PaymentCommand {
    fn action(&self) -> &'static str {
        match self {
            Self::TakePayment(_) => "TakePayment",
            Self::RefundPayment { .. } => "RefundPayment",
        }
    }

    fn context(&self) -> &CommandContext {
        match self {
            Self::TakePayment(take) => &take.context,
            Self::RefundPayment { context, .. } => context,
        }
    }
}

/// The saga's commands to inventory-commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum InventoryCommand {
    ReserveInventory {
        #[serde(flatten)]
        context: CommandContext,
        user_id: UserId,
        items: Vec<OrderLine>,
    },
    ReleaseInventory {
        #[serde(flatten)]
        context: CommandContext,
        user_id: UserId,
    },
}

/// The saga's commands to orders-commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum OrderCommand {
    RecordReservation {
        #[serde(flatten)]
        context: CommandContext,
    },
    CompleteOrder {
        #[serde(flatten)]
        context: CommandContext,
        shipment: Shipment,
    },
    AbortOrder {
        #[serde(flatten)]
        context: CommandContext,
    },
    CancelOrder {
        #[serde(flatten)]
        context: CommandContext,
        failure: Failure,
        compensations: Compensations,
    },
}

/// The saga's commands to payments-commands. `TakePayment` comes through its queue, the undo by direct
/// invocation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum PaymentCommand {
    TakePayment(TakePayment),
    RefundPayment {
        #[serde(flatten)]
        context: CommandContext,
        user_id: UserId,
        /// The name of the error that started the undo.
        reason: String,
    },
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakePayment {
    #[serde(flatten)]
    pub context: CommandContext,
    pub user_id: UserId,
    pub amount: Money,
    /// The gateway's id of a payment method, `pm_…`.
    pub payment_method: String,
    /// Completes the waiting state. A secret: with it, anyone can end the step.
    pub task_token: String,
    /// When the saga entered the state; the payment's deadline counts from then. Absent in messages that are
    /// older than the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered_at: Option<Timestamp>,
}

/// The saga's commands to fulfillment-commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum FulfillmentCommand {
    ScheduleShipment {
        #[serde(flatten)]
        context: CommandContext,
        user_id: UserId,
        items: Vec<OrderLine>,
        shipping_address: ShippingAddress,
    },
    CancelShipment {
        #[serde(flatten)]
        context: CommandContext,
        user_id: UserId,
    },
}

/// The answer of `ScheduleShipment`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    pub shipment_id: String,
    pub carrier: String,
    pub tracking_number: String,
    pub estimated_delivery: Date,
}

/// The answer of every undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    pub outcome: UndoOutcome,
}

/// The step that failed, with the name of its error and what it said (shortened).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failure {
    pub step: String,
    pub error: String,
    pub cause: String,
}

/// The answer of `AbortOrder`: whether the order had completed before the abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aborted {
    pub completed: bool,
}
