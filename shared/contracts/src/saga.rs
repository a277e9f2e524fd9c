//! The saga's contract: its input, the commands that its states send, their answers, and the names of the
//! errors that it tells apart.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::{CorrelationId, Money, OrderId, OrderLine, ShippingAddress, UserId};

pub const INVENTORY_NOT_AVAILABLE: &str = "InventoryNotAvailable";
pub const PAYMENT_DECLINED: &str = "PaymentDeclined";
pub const PAYMENT_TIMEOUT: &str = "PaymentTimeout";
pub const SHIPMENT_REJECTED: &str = "ShipmentRejected";
pub const ORDER_CANCEL_REQUESTED: &str = "OrderCancelRequested";
/// Refuses to release what is sold: a completed order is not undone, and trying again cannot change that.
pub const RESERVATION_COMMITTED: &str = "ReservationCommitted";
/// CancelOrder's answer when an undo was exhausted. It is recorded, and ends the execution as failed.
pub const COMPENSATION_FAILED: &str = "CompensationFailed";
/// Ends an execution that could not even record how the order ended; no command answers with it.
pub const SAGA_UNRESOLVED: &str = "SagaUnresolved";
/// Why an order was cancelled whose execution had ended without ending it; no command answers with it.
pub const SAGA_ABORTED: &str = "SagaAborted";
/// Why an order was cancelled whose step failed until the order's time was up; no command answers with it.
pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
/// Everything that may pass by itself, and is retried.
pub const TRANSIENT: &str = "Transient";

/// How long an order waits for a service that is away, from its start until it is to be paid, and once more from its payment
/// on: the parameter `OrderWaitMinutes` of infra/orders.yaml when nothing else is said.
pub const ORDER_WAIT_MINUTES: u32 = 30;

/// How long an execution takes before it begins to undo when each wait takes its whole time: before the payment, until the
/// payment's backstop, and after it. Steps end the tries that they have begun, so a few take some minutes more. What is open
/// for longer is looked into; an execution that runs is left alone. Pinned to the definition by a test of statemachine/.
pub const LONGEST_WAY_FORWARD_SECONDS: u32 = 4_800;

/// Every error name that the state machine may tell apart.
pub const ERROR_NAMES: &[&str] = &[
    INVENTORY_NOT_AVAILABLE,
    PAYMENT_DECLINED,
    PAYMENT_TIMEOUT,
    SHIPMENT_REJECTED,
    ORDER_CANCEL_REQUESTED,
    RESERVATION_COMMITTED,
    COMPENSATION_FAILED,
    SAGA_UNRESOLVED,
];

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

/// What every saga command carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandContext {
    pub order_id: OrderId,
    pub correlation_id: CorrelationId,
}

/// A command of the saga, whichever context it is for.
pub trait SagaCommand {
    /// The name of its `action`.
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

/// What inventory-commands does for the saga.
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

/// What orders-commands does for the saga.
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

/// What payments-commands does for the saga. `TakePayment` comes through its queue, the undo by invocation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum PaymentCommand {
    TakePayment(TakePayment),
    RefundPayment {
        #[serde(flatten)]
        context: CommandContext,
        user_id: UserId,
        /// The error name that made the undo necessary.
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
    /// Answers the waiting state. A secret: whoever holds it can end the step.
    pub task_token: String,
    /// When the saga entered the state: the payment's deadline counts from then. Absent in messages of before the field
    /// existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered_at: Option<Timestamp>,
}

/// What fulfillment-commands does for the saga.
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

/// How one undo ended, as CancelOrder is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoOutcome {
    /// The saga never came so far that there could be something to undo.
    NotNeeded,
    /// The undo was exhausted: what it should have undone may still stand.
    Failed,
    Released,
    NothingHeld,
    Refunded,
    Voided,
    NothingTaken,
    Cancelled,
    NothingScheduled,
}

/// The step that failed, with the name of its error and what it said (shortened).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failure {
    pub step: String,
    pub error: String,
    pub cause: String,
}

/// How each undo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compensations {
    pub shipment: UndoOutcome,
    pub payment: UndoOutcome,
    pub inventory: UndoOutcome,
}

/// The answer of `AbortOrder`: whether the order had completed before the abort came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aborted {
    pub completed: bool,
}
