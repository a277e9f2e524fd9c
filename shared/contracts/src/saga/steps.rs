//! The saga's ledger: its steps in their order. The state machine, its diagram, the error names, the reconciler's
//! undos, the policies that let them be invoked and the customer's view of an order follow from it. The guide for
//! a new step is in statemachine/README.md.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    errors::{
        COMPENSATION_FAILED, ORDER_CANCEL_REQUESTED, SAGA_ABORTED, SAGA_UNRESOLVED, SERVICE_UNAVAILABLE,
    },
    ledger::{Call, Explanation, Field, FieldSource, FinalRefusal, ProgressLine, Reason},
};
use crate::{EventPayload, events};

/// Refuses to reserve: at least one line has too little stock.
pub const INVENTORY_NOT_AVAILABLE: &str = "InventoryNotAvailable";
/// Refuses the payment: by the bank, or by the shop's staff.
pub const PAYMENT_DECLINED: &str = "PaymentDeclined";
/// Refuses the payment: customer and bank took too long.
pub const PAYMENT_TIMEOUT: &str = "PaymentTimeout";
/// Refuses the shipment: the carrier does not deliver to the address.
pub const SHIPMENT_REJECTED: &str = "ShipmentRejected";
/// Refuses to release a reservation whose stock is sold. This refusal is final.
// A completed order is not undone, so a retry cannot succeed.
pub const RESERVATION_COMMITTED: &str = "ReservationCommitted";

/// The steps of an order that completes. The last one is the point of no return.
pub static STEPS: [&Step; 5] =
    [&RESERVE_INVENTORY, &RECORD_RESERVATION, &TAKE_PAYMENT, &SCHEDULE_SHIPMENT, &COMPLETE_ORDER];

/// One step of the saga.
#[derive(Debug)]
pub struct Step {
    /// The state's name in the state machine, and the command's action.
    pub name: &'static str,
    /// The context that runs the command.
    pub context: Context,
    /// How the state machine calls it.
    pub call: Call,
    /// The command's fields beside the ids of order, user and correlation.
    pub fields: &'static [Field],
    /// The errors by which the context refuses the step for good, so that a retry cannot succeed. Every step may
    /// also answer `OrderCancelRequested`, which undoes the order.
    pub refusals: &'static [FinalRefusal],
    /// `None` when the step changes nothing that must be undone.
    pub undo: Option<&'static Undo>,
    /// The customer's view of the step.
    pub progress: &'static ProgressLine,
    /// What the step does, for readers of the definition and of statemachine/README.md.
    pub does: &'static str,
    /// Why the step may be repeated, and why it is refused after its undo. For the same readers.
    pub safe_because: &'static str,
}

/// The undo of a step.
#[derive(Debug)]
pub struct Undo {
    /// The state's name in the state machine, and the command's action.
    pub name: &'static str,
    /// The undo's name in `Compensations` and in `order.compensation_failed`.
    pub part: &'static str,
    /// The context that runs the command.
    pub context: Context,
    /// Whether the command carries the name of the error that started the undo, as `reason`.
    pub takes_reason: bool,
    /// The errors by which the context refuses the undo for good. The undo then counts as failed.
    pub refusals: &'static [&'static str],
    /// The outcomes when there was something to undo.
    pub done: &'static [UndoOutcome],
    /// The outcome when there was nothing to undo.
    pub nothing_done: UndoOutcome,
    /// What the undo does, for readers of the definition.
    pub does: &'static str,
}

/// The contexts whose commands the saga calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Context {
    /// Holds, sells and releases stock.
    Inventory,
    /// Records how far the order is.
    Orders,
    /// Charges and refunds.
    Payments,
    /// Books and cancels shipments.
    Fulfillment,
}

impl Context {
    /// The name of its command function.
    pub const fn function(self) -> &'static str {
        match self {
            Self::Inventory => "inventory-commands",
            Self::Orders => "orders-commands",
            Self::Payments => "payments-commands",
            Self::Fulfillment => "fulfillment-commands",
        }
    }
}

/// How one undo ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoOutcome {
    /// The saga never reached the step, so there was nothing to undo.
    #[default]
    NotNeeded,
    /// The undo used up its retries: the effect of its step may still stand.
    Failed,
    /// The held stock can be sold again.
    Released,
    /// No stock was held for the order, and none will be.
    NothingHeld,
    /// The money was taken, and was sent back.
    Refunded,
    /// The payment was ended before money was taken.
    Voided,
    /// No payment was made, and none will be.
    NothingTaken,
    /// The booking was cancelled with the carrier.
    Cancelled,
    /// No shipment was booked, and none will be.
    NothingScheduled,
}

impl UndoOutcome {
    /// The outcome as it is on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotNeeded => "not_needed",
            Self::Failed => "failed",
            Self::Released => "released",
            Self::NothingHeld => "nothing_held",
            Self::Refunded => "refunded",
            Self::Voided => "voided",
            Self::NothingTaken => "nothing_taken",
            Self::Cancelled => "cancelled",
            Self::NothingScheduled => "nothing_scheduled",
        }
    }
}

/// How long an order waits for a service that is down: once before the payment, and once more after it. The
/// default of the parameter `OrderWaitMinutes` of infra/orders.yaml.
pub const ORDER_WAIT_MINUTES: u32 = 30;

/// The longest time before an execution begins to undo, when every wait takes its whole time: before the
/// payment, until the payment's backstop, and after it. A test of statemachine/ compares this with the
/// definition.
// The reconciler inspects orders that are open for longer. A step finishes the tries that it has begun, so a
// few executions take some minutes more; the reconciler leaves running executions alone.
pub const LONGEST_WAY_FORWARD_SECONDS: u32 = 2 * 60 * ORDER_WAIT_MINUTES + PAYMENT_BACKSTOP_SECONDS;

// --- Reserve the stock

/// Takes the order's lines from stock.
// This is the first step, because without stock nothing else is done.
pub static RESERVE_INVENTORY: Step = Step {
    name: "ReserveInventory",
    context: Context::Inventory,
    call: Call::Invoke,
    fields: &[input("items")],
    refusals: &[FinalRefusal {
        reason: Reason {
            name: INVENTORY_NOT_AVAILABLE,
            explanation: Some(Explanation {
                email: "We do not have enough of what you ordered.",
                money: NOT_CHARGED,
                page: "there is not enough in stock",
            }),
        },
        needs_no_undo: Some("Nothing was taken, so there is nothing to give back."),
    }],
    undo: Some(&RELEASE_INVENTORY),
    progress: &STOCK,
    does: "takes all lines from stock in one transaction, or none",
    safe_because: "repeated, it finds the order's reservation. Released first, it finds that mark and refuses",
};

/// Gives the stock back.
// This is the last undo, because another order may take the stock at once.
pub static RELEASE_INVENTORY: Undo = Undo {
    name: "ReleaseInventory",
    part: "inventory",
    context: Context::Inventory,
    takes_reason: false,
    refusals: &[RESERVATION_COMMITTED],
    done: &[UndoOutcome::Released],
    nothing_done: UndoOutcome::NothingHeld,
    does: "gives back what the reservation says it took",
};

// --- Record the reservation

/// Records in the order that its stock is held and its payment pending.
// It is done before the payment, so that the customer sees what the order waits for.
pub static RECORD_RESERVATION: Step = Step {
    name: "RecordReservation",
    context: Context::Orders,
    call: Call::Invoke,
    fields: &[],
    refusals: &[],
    undo: None,
    progress: &STOCK,
    does: "InventoryReserved and PaymentPending in one commit",
    safe_because: "repeated, it finds its own command in the order's events",
};

// --- Take the payment

/// The step that waits for the customer and the bank.
pub static TAKE_PAYMENT: Step = Step {
    name: "TakePayment",
    context: Context::Payments,
    call: Call::Queue { timeout_seconds: PAYMENT_BACKSTOP_SECONDS, timeout_error: PAYMENT_TIMEOUT },
    fields: &[
        Field { name: "amount", source: FieldSource::Input("total") },
        input("payment_method"),
        Field { name: "task_token", source: FieldSource::TaskToken },
        Field { name: "entered_at", source: FieldSource::EnteredTime },
    ],
    refusals: &[
        FinalRefusal {
            reason: Reason {
                name: PAYMENT_DECLINED,
                explanation: Some(Explanation {
                    email: "Your payment was declined.",
                    money: NOT_CHARGED,
                    page: "the card was declined",
                }),
            },
            needs_no_undo: Some("No money moved."),
        },
        FinalRefusal {
            reason: Reason {
                name: PAYMENT_TIMEOUT,
                explanation: Some(Explanation {
                    email: "Your payment was not completed in time.",
                    money: "Should it go through later after all, your money is returned by itself.",
                    page: "the payment was not confirmed in time",
                }),
            },
            needs_no_undo: None,
        },
    ],
    undo: Some(&REFUND_PAYMENT),
    progress: &PAYMENT,
    does: "a message with a task token to the payments queue; payments answers the token, in seconds or after the \
           customer authenticated",
    safe_because: "a second message adds its token to the same payment. Undone or cancelled first, the payment refuses to be \
           taken. A cancel that comes while it waits ends it at once (payments-consumer)",
};

/// The timeout of the state in seconds, from its entry: 20 minutes.
// It ends five minutes after the deadline of payments, which is 15 minutes after the state was entered.
// Payments owns the deadline, so the state must not end first.
pub const PAYMENT_BACKSTOP_SECONDS: u32 = 1_200;

/// May take long, while the gateway is down.
pub static REFUND_PAYMENT: Undo = Undo {
    name: "RefundPayment",
    part: "payment",
    context: Context::Payments,
    takes_reason: true,
    refusals: &[],
    done: &[UndoOutcome::Refunded, UndoOutcome::Voided],
    nothing_done: UndoOutcome::NothingTaken,
    does: "refunds what was captured, voids what was authorized, or marks that nothing may be taken any more",
};

// --- Schedule the shipment

/// Books the carrier.
// It is done after the payment, because a carrier is not booked for an order that may not be paid.
pub static SCHEDULE_SHIPMENT: Step = Step {
    name: "ScheduleShipment",
    context: Context::Fulfillment,
    call: Call::Invoke,
    fields: &[input("items"), input("shipping_address")],
    refusals: &[FinalRefusal {
        reason: Reason {
            name: SHIPMENT_REJECTED,
            explanation: Some(Explanation {
                email: "We cannot deliver to your address.",
                money: MONEY_RETURNED,
                page: "no carrier delivers to this address",
            }),
        },
        needs_no_undo: Some("Nothing was booked."),
    }],
    undo: Some(&CANCEL_SHIPMENT),
    progress: &SHIPMENT,
    does: "books the carrier",
    safe_because: "repeated, it finds the order's shipment. Cancelled first, it finds that mark and refuses",
};

/// Cancels the booking with the carrier.
// This is the first undo, because the shipment must not leave.
pub static CANCEL_SHIPMENT: Undo = Undo {
    name: "CancelShipment",
    part: "shipment",
    context: Context::Fulfillment,
    takes_reason: false,
    refusals: &[],
    done: &[UndoOutcome::Cancelled],
    nothing_done: UndoOutcome::NothingScheduled,
    does: "cancels the shipment with the carrier",
};

// --- Complete the order

/// The point of no return.
pub static COMPLETE_ORDER: Step = Step {
    name: "CompleteOrder",
    context: Context::Orders,
    call: Call::Invoke,
    fields: &[Field { name: "shipment", source: FieldSource::Answer(SCHEDULE_SHIPMENT.name) }],
    refusals: &[],
    undo: None,
    progress: &COMPLETION,
    does: "PaymentSucceeded, ShipmentScheduled and OrderCompleted in one commit: the point of no return",
    safe_because: "repeated, it finds its own command. After a cancel was requested it refuses with `OrderCancelRequested`",
};

// --- What the customer sees

/// The list of an order's progress on the shop's page.
pub static PROGRESS: [&ProgressLine; 5] = [&PLACED, &STOCK, &PAYMENT, &SHIPMENT, &COMPLETION];

/// Before the saga.
static PLACED: ProgressLine = ProgressLine {
    name: "Order placed",
    running: "Placing the order",
    failed: None,
    done_events: &[events::OrderCreated::TYPE],
    failed_events: &[],
    undone_events: &[],
};

static STOCK: ProgressLine = ProgressLine {
    name: "Stock reserved",
    running: "Reserving the stock",
    failed: Some("Not enough stock"),
    done_events: &[events::OrderInventoryReserved::TYPE],
    failed_events: &[events::OrderInventoryNotAvailable::TYPE],
    undone_events: &[events::OrderInventoryReleased::TYPE],
};

static PAYMENT: ProgressLine = ProgressLine {
    name: "Payment taken",
    running: "Taking the payment",
    failed: Some("Payment failed"),
    done_events: &[events::PaymentSucceeded::TYPE, events::OrderPaymentSucceeded::TYPE],
    failed_events: &[events::PaymentFailed::TYPE, events::OrderPaymentFailed::TYPE],
    undone_events: &[events::PaymentRefunded::TYPE, events::OrderPaymentRefunded::TYPE],
};

static SHIPMENT: ProgressLine = ProgressLine {
    name: "Shipment booked",
    running: "Booking the shipment",
    failed: Some("No shipment"),
    done_events: &[events::ShipmentScheduled::TYPE, events::OrderShipmentScheduled::TYPE],
    failed_events: &[],
    undone_events: &[events::ShipmentCancelled::TYPE],
};

static COMPLETION: ProgressLine = ProgressLine {
    name: "Order completed",
    running: "Completing the order",
    failed: None,
    done_events: &[events::OrderCompleted::TYPE],
    failed_events: &[],
    undone_events: &[],
};

const NOT_CHARGED: &str = "You have not been charged.";
/// The sentence about the money of an order that may have been paid.
// It is used also for a reason that has no text of its own, since an order is cancelled only once everything
// was undone.
pub const MONEY_RETURNED: &str = "If you had paid already, your money is on its way back to you.";

/// The reasons that any step may end an order with.
pub static GENERAL_REASONS: &[Reason] = &[
    Reason {
        name: ORDER_CANCEL_REQUESTED,
        explanation: Some(Explanation {
            email: "You asked us to cancel it.",
            money: MONEY_RETURNED,
            page: "you asked for it",
        }),
    },
    Reason {
        name: SERVICE_UNAVAILABLE,
        explanation: Some(Explanation {
            email: "A part of our shop was out of order for so long that we could not go on with it.",
            money: MONEY_RETURNED,
            page: "a part of the shop was out of order for too long",
        }),
    },
    Reason { name: SAGA_ABORTED, explanation: None },
];

/// A field that the execution's input has under the same name.
const fn input(name: &'static str) -> Field {
    Field { name, source: FieldSource::Input(name) }
}

// --- What follows from the steps

/// The undos in the order in which a failed saga runs them: the reverse of their steps.
pub fn undos() -> impl Iterator<Item = &'static Undo> {
    STEPS.iter().rev().filter_map(|step| step.undo)
}

/// The reasons of cancelled orders that have a name of their own: each refusal, and those that any step may have.
pub fn reasons() -> impl Iterator<Item = &'static Reason> {
    let refusals = STEPS.iter().flat_map(|step| step.refusals).map(|refusal| &refusal.reason);
    refusals.chain(GENERAL_REASONS)
}

/// Whether the step is before the one that takes the payment.
pub fn is_before_payment(step: &str) -> bool {
    let names = STEPS.iter().map(|step| step.name);
    names.take_while(|name| *name != TAKE_PAYMENT.name).any(|name| name == step)
}

/// All error names that the state machine distinguishes.
pub fn error_names() -> BTreeSet<&'static str> {
    let refusals = STEPS.iter().flat_map(|step| step.refusals).map(|refusal| refusal.reason.name);
    let undos = undos().flat_map(|undo| undo.refusals).copied();
    let ends = [ORDER_CANCEL_REQUESTED, COMPENSATION_FAILED, SAGA_UNRESOLVED];
    refusals.chain(undos).chain(ends).collect()
}
