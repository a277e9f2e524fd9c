//! The saga's input, the commands that its states send, and the answers to them.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{
    compensations::Compensations,
    steps::{Undo, UndoOutcome},
};
use crate::{CorrelationId, Money, OrderId, OrderLine, ShippingAddress, UserId, failure::Failure};

/// The input of one execution; the execution's name is the order id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaInput {
    /// Also the name of the execution.
    pub order_id: OrderId,
    /// The customer who placed the order.
    pub user_id: UserId,
    /// That of the request that placed the order.
    pub correlation_id: CorrelationId,
    /// What to reserve and to ship.
    pub items: Vec<OrderLine>,
    /// What to charge: after the discount.
    pub total: Money,
    /// The gateway's id of a payment method, `pm_…`.
    pub payment_method: String,
    /// Personal data, which is nowhere in the events.
    pub shipping_address: ShippingAddress,
    /// The span that started the saga (W3C Trace Context), if its trace was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Fields that every saga command carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandContext {
    /// The order that the command is about.
    pub order_id: OrderId,
    /// That of the request that placed the order.
    pub correlation_id: CorrelationId,
    /// That of the saga's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl CommandContext {
    /// A context outside of a sampled trace.
    pub const fn new(order_id: OrderId, correlation_id: CorrelationId) -> Self {
        Self { order_id, correlation_id, traceparent: None }
    }
}

/// A saga command to any context.
pub trait SagaCommand {
    /// The command's `action` name.
    fn action(&self) -> &'static str;
    /// The order that the command is about.
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
    /// Hold the stock of all lines, or of none.
    ReserveInventory {
        /// The order, and the correlation id of its request.
        #[serde(flatten)]
        context: CommandContext,
        /// The order's customer.
        user_id: UserId,
        /// The lines of the order.
        items: Vec<OrderLine>,
    },
    /// Undo of `ReserveInventory`.
    ReleaseInventory {
        /// The order, and the correlation id of its request.
        #[serde(flatten)]
        context: CommandContext,
        /// The order's customer.
        user_id: UserId,
    },
}

/// The saga's commands to orders-commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum OrderCommand {
    /// Record that the stock is held, and that the payment is pending.
    RecordReservation {
        /// The order, and the correlation id of its request.
        #[serde(flatten)]
        context: CommandContext,
    },
    /// Complete the order: the point of no return.
    CompleteOrder {
        /// The order, and the correlation id of its request.
        #[serde(flatten)]
        context: CommandContext,
        /// The answer of `ScheduleShipment`.
        shipment: Booking,
    },
    /// Request a cancel, unless the order has completed.
    AbortOrder {
        /// The order, and the correlation id of its request.
        #[serde(flatten)]
        context: CommandContext,
    },
    /// Record the end of a failed saga.
    CancelOrder {
        /// The order, and the correlation id of its request.
        #[serde(flatten)]
        context: CommandContext,
        /// The step that failed.
        failure: Failure,
        /// How the undos ended.
        compensations: Compensations,
    },
}

/// The saga's commands to payments-commands. `TakePayment` comes through its queue, the undo by direct
/// invocation.
// There is no `Debug`, because the task token is a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum PaymentCommand {
    /// Charge the customer. It is answered through the task token.
    TakePayment(TakePayment),
    /// Undo of `TakePayment`.
    RefundPayment {
        /// The order, and the correlation id of its request.
        #[serde(flatten)]
        context: CommandContext,
        /// The order's customer.
        user_id: UserId,
        /// The name of the error that started the undo.
        reason: String,
    },
}

/// The payload of `TakePayment`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakePayment {
    /// The order, and the correlation id of its request.
    #[serde(flatten)]
    pub context: CommandContext,
    /// The order's customer.
    pub user_id: UserId,
    /// The order's total.
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
    /// Book the carrier.
    ScheduleShipment {
        /// The order, and the correlation id of its request.
        #[serde(flatten)]
        context: CommandContext,
        /// The order's customer.
        user_id: UserId,
        /// The lines of the order.
        items: Vec<OrderLine>,
        /// Where the shipment goes. Personal data.
        shipping_address: ShippingAddress,
    },
    /// Undo of `ScheduleShipment`.
    CancelShipment {
        /// The order, and the correlation id of its request.
        #[serde(flatten)]
        context: CommandContext,
        /// The order's customer.
        user_id: UserId,
    },
}

/// The answer of `ScheduleShipment`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// `shp_` and the digits of the order's id.
    pub shipment_id: String,
    /// The carrier's name, as customers read it.
    pub carrier: String,
    /// The carrier's number of the shipment.
    pub tracking_number: String,
    /// A day at the place of delivery.
    pub estimated_delivery: Date,
}

/// The answer of every undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    /// One of the undo's own outcomes in the ledger.
    pub outcome: UndoOutcome,
}

/// The answer of `AbortOrder`: whether the order had completed before the abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aborted {
    /// If so, the order stays completed and nothing is undone.
    pub completed: bool,
}

/// The command of any undo, for a caller outside the saga. Each context reads it as its own command.
#[derive(Debug, Serialize)]
pub struct UndoCommand {
    /// The undo's name in the ledger.
    pub action: &'static str,
    /// The order, and the correlation id of its request.
    #[serde(flatten)]
    pub context: CommandContext,
    /// The order's customer.
    pub user_id: UserId,
    /// The name of the error that started the undo; only for undos with `takes_reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Undo {
    /// The command for this order. `reason` is the name of the error that started the undo.
    pub fn command(&self, context: CommandContext, user_id: UserId, reason: &str) -> UndoCommand {
        let reason = self.takes_reason.then(|| reason.to_owned());
        UndoCommand { action: self.name, context, user_id, reason }
    }
}
