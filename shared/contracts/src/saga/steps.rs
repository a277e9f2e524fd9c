//! The saga's ledger: its steps in their order. The state machine, its diagram, the error names, the reconciler's
//! undos, the policies that let them be invoked and the customer's view of an order follow from it. The guide for
//! a new step is in statemachine/README.md.

use serde::{Deserialize, Serialize};

use super::{
    ORDER_CANCEL_REQUESTED, SAGA_ABORTED, SERVICE_UNAVAILABLE,
    ledger::{Call, Explanation, Field, Progress, Reason, Refusal, Source, Step, Undo},
};
use crate::{EventPayload, events};

pub const INVENTORY_NOT_AVAILABLE: &str = "InventoryNotAvailable";
pub const PAYMENT_DECLINED: &str = "PaymentDeclined";
pub const PAYMENT_TIMEOUT: &str = "PaymentTimeout";
pub const SHIPMENT_REJECTED: &str = "ShipmentRejected";
/// Refuses to release a reservation whose stock is sold. Final: a completed order is not undone, so a retry
/// cannot succeed.
pub const RESERVATION_COMMITTED: &str = "ReservationCommitted";

/// The steps of an order that completes. The last one is the point of no return.
pub static STEPS: [&Step; 5] =
    [&RESERVE_INVENTORY, &RECORD_RESERVATION, &TAKE_PAYMENT, &SCHEDULE_SHIPMENT, &COMPLETE_ORDER];

/// The contexts whose commands the saga calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Context {
    Inventory,
    Orders,
    Payments,
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
    Released,
    NothingHeld,
    Refunded,
    Voided,
    NothingTaken,
    Cancelled,
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

// --- Reserve the stock

pub static RESERVE_INVENTORY: Step = Step {
    name: "ReserveInventory",
    context: Context::Inventory,
    call: Call::Invoke,
    fields: &[input("items")],
    refusals: &[Refusal {
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

pub static TAKE_PAYMENT: Step = Step {
    name: "TakePayment",
    context: Context::Payments,
    call: Call::Queue { timeout_seconds: PAYMENT_BACKSTOP_SECONDS, timeout_error: PAYMENT_TIMEOUT },
    fields: &[
        Field { name: "amount", source: Source::Input("total") },
        input("payment_method"),
        Field { name: "task_token", source: Source::TaskToken },
        Field { name: "entered_at", source: Source::EnteredTime },
    ],
    refusals: &[
        Refusal {
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
        Refusal {
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

/// Five minutes behind the deadline of payments, which is 15 minutes after the state was entered.
pub const PAYMENT_BACKSTOP_SECONDS: u32 = 1_200;

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

pub static SCHEDULE_SHIPMENT: Step = Step {
    name: "ScheduleShipment",
    context: Context::Fulfillment,
    call: Call::Invoke,
    fields: &[input("items"), input("shipping_address")],
    refusals: &[Refusal {
        reason: Reason {
            name: SHIPMENT_REJECTED,
            explanation: Some(Explanation {
                email: "We cannot deliver to your address.",
                money: MONEY_RETURNED,
                page: "nobody ships to this address",
            }),
        },
        needs_no_undo: Some("Nothing was booked."),
    }],
    undo: Some(&CANCEL_SHIPMENT),
    progress: &SHIPMENT,
    does: "books the carrier",
    safe_because: "repeated, it finds the order's shipment. Cancelled first, it finds that mark and refuses",
};

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

pub static COMPLETE_ORDER: Step = Step {
    name: "CompleteOrder",
    context: Context::Orders,
    call: Call::Invoke,
    fields: &[Field { name: "shipment", source: Source::Answer(SCHEDULE_SHIPMENT.name) }],
    refusals: &[],
    undo: None,
    progress: &COMPLETION,
    does: "PaymentSucceeded, ShipmentScheduled and OrderCompleted in one commit: the point of no return",
    safe_because: "repeated, it finds its own command. After a cancel was requested it refuses with `OrderCancelRequested`",
};

// --- What the customer sees

/// The list of an order's progress on the shop's page.
pub static PROGRESS: [&Progress; 5] = [&PLACED, &STOCK, &PAYMENT, &SHIPMENT, &COMPLETION];

/// Before the saga.
static PLACED: Progress = Progress {
    name: "Order placed",
    running: "Placing the order",
    failed: None,
    done_events: &[events::OrderCreated::TYPE],
    failed_events: &[],
    undone_events: &[],
};

static STOCK: Progress = Progress {
    name: "Stock reserved",
    running: "Reserving the stock",
    failed: Some("Not enough stock"),
    done_events: &[events::OrderInventoryReserved::TYPE],
    failed_events: &[events::OrderInventoryNotAvailable::TYPE],
    undone_events: &[events::OrderInventoryReleased::TYPE],
};

static PAYMENT: Progress = Progress {
    name: "Payment taken",
    running: "Taking the payment",
    failed: Some("Payment failed"),
    done_events: &[events::PaymentSucceeded::TYPE, events::OrderPaymentSucceeded::TYPE],
    failed_events: &[events::PaymentFailed::TYPE, events::OrderPaymentFailed::TYPE],
    undone_events: &[events::PaymentRefunded::TYPE, events::OrderPaymentRefunded::TYPE],
};

static SHIPMENT: Progress = Progress {
    name: "Shipment booked",
    running: "Booking the shipment",
    failed: Some("No shipment"),
    done_events: &[events::ShipmentScheduled::TYPE, events::OrderShipmentScheduled::TYPE],
    failed_events: &[],
    undone_events: &[events::ShipmentCancelled::TYPE],
};

static COMPLETION: Progress = Progress {
    name: "Order completed",
    running: "Completing the order",
    failed: None,
    done_events: &[events::OrderCompleted::TYPE],
    failed_events: &[],
    undone_events: &[],
};

const NOT_CHARGED: &str = "You have not been charged.";
/// Also what is said of a reason that has no text of its own: an order is cancelled only once everything was undone.
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
    Field { name, source: Source::Input(name) }
}
