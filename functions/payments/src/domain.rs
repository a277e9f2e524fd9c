//! A payment and its transitions. The item decides: the queue, webhooks, undos and checks pass their input to
//! [`decide`], write the change, and then run the payment's pending action.

mod books;
mod pending;
mod refund;
mod secret;

use std::collections::BTreeSet;

use contracts::{
    CorrelationId, Envelope, Money, NewEvent, OrderId, UserId,
    events::{
        PaymentFailed, PaymentFailure, PaymentPending, PaymentRefundFailed, PaymentRefunded,
        PaymentSucceeded, RefundCause, WaitsFor,
    },
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use books::{Difference, DifferenceKind, GatewayIntent, compare};
pub use pending::{PendingAction, StepResult};
pub use refund::{Dispute, FailedRefund, RefundChange, Settlement, refund_change};
pub use secret::Secret;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "PaymentStatus"))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing is decided. The gateway may know of it, or not yet.
    Pending,
    Succeeded,
    Declined,
    TimedOut,
    /// Undone before money was taken. No money may be taken any more.
    Voided,
    /// Money was taken and must be refunded.
    Refunding,
    Refunded,
    /// Money that had gone back was returned by the customer's bank, and is owed to the customer.
    RefundFailed,
}

/// The only payment of an order. An undo that arrives first creates one without a charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub correlation_id: CorrelationId,
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<Charge>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// What a pending payment waits for, once the gateway has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The gateway's code for why it was declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decline_code: Option<String>,
    pub attempts: Attempts,
    /// The refunded amount in minor units: by us, or in the gateway's dashboard.
    #[serde(default)]
    pub refunded: i64,
    /// Why it is refunded, once it must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_cause: Option<RefundCause>,
    /// Refunds that the customer's bank returned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_refunds: Vec<FailedRefund>,
    /// The amount that came back by failed refunds and has not been paid again, in minor units.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub returned: i64,
    /// The amounts that came back by failed refunds and were paid to the customer outside the gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settlements: Vec<Settlement>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disputes: Vec<Dispute>,
    /// The task tokens that wait for the result.
    // They are kept after they got it. Step Functions refuses a second answer, which does no harm, while a
    // missing one delays an order.
    #[serde(with = "serde_dynamo::string_set", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tokens: BTreeSet<Secret>,
    /// Counts the writes. Also the `sequence` of the event that a write brings.
    pub version: u64,
}

/// The amount to charge, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub amount: Money,
    pub payment_method: String,
    /// Unix seconds.
    pub deadline: i64,
}

/// The gateway's side of the payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub id: String,
    /// Whether money may still be taken with it, as far as is known here.
    pub open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// For the bank.
    Bank,
    /// For the customer.
    Customer(NextAction),
}

/// What the customer has to do, in the terms of the gateway's own client library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct NextAction {
    #[serde(rename = "type")]
    pub kind: String,
    pub payment_intent: String,
    /// Lets its holder finish this payment, and nothing else: for the customer.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    pub client_secret: Option<Secret>,
}

/// The `n` of the idempotency keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    pub create: u32,
    pub confirm: u32,
    pub refund: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Confirm,
    Refund,
}

impl Operation {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Confirm => "confirm",
            Self::Refund => "refund",
        }
    }
}

impl Attempts {
    pub const fn of(&self, operation: Operation) -> u32 {
        match operation {
            Operation::Create => self.create,
            Operation::Confirm => self.confirm,
            Operation::Refund => self.refund,
        }
    }

    fn raise(&mut self, operation: Operation) {
        match operation {
            Operation::Create => self.create += 1,
            Operation::Confirm => self.confirm += 1,
            Operation::Refund => self.refund += 1,
        }
    }
}

/// The gateway's state of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntentState {
    /// It was never confirmed: no money can have moved.
    Unconfirmed,
    Processing,
    RequiresAction(NextAction),
    Succeeded,
    Declined {
        code: String,
    },
    Canceled,
}

/// An input that may change a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentInput {
    /// The saga requests the money and waits with this token.
    ChargeRequested {
        user_id: UserId,
        correlation_id: CorrelationId,
        charge: Charge,
        token: Secret,
    },
    /// The gateway made an unconfirmed intent.
    IntentCreated {
        id: String,
    },
    /// The gateway will not make an intent for this charge.
    IntentRefused {
        code: String,
    },
    IntentObserved {
        intent_id: String,
        state: IntentState,
    },
    /// The deadline has passed, and the gateway cannot be called or does not know.
    DeadlineExpired,
    /// The saga takes the order back.
    UndoRequested {
        user_id: UserId,
        correlation_id: CorrelationId,
    },
    /// A cancel of the order was requested, and the order will not complete. A payment that is not decided is
    /// given up now; a decided one is undone by the saga.
    CancelRequested {
        user_id: UserId,
        correlation_id: CorrelationId,
    },
    /// The total that has been refunded, by us or in the dashboard.
    Refunded {
        amount: i64,
    },
    /// The customer's bank has returned a refund.
    RefundFailed(FailedRefund),
    /// The amount of a failed refund was paid to the customer outside the gateway.
    SettlementRecorded {
        by: String,
        note: String,
    },
    /// The customer's bank disputes the charge.
    Disputed(Dispute),
    /// An idempotency key holds a failure that did nothing.
    IdempotencyKeyExhausted {
        operation: Operation,
        n: u32,
    },
}

/// Why a payment does not accept an input.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    #[error("there is no payment for this order")]
    NoPayment,
    #[error("the event has no JSON form")]
    Event(#[from] serde_json::Error),
}

/// The payment to write, and the event of this write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub payment: Payment,
    pub event: Option<Envelope>,
}

impl Change {
    /// The name that a payment's result is counted under, once it is written.
    pub fn result(&self) -> Option<&'static str> {
        self.event.as_ref()?;
        match self.payment.status {
            Status::Succeeded if self.payment.refunded == 0 => Some("succeeded"),
            Status::Declined => Some("declined"),
            Status::TimedOut => Some("timed_out"),
            _ => None,
        }
    }
}

/// When an input arrived, and the id of the event or command that caused it.
#[derive(Debug, Clone, Copy)]
pub struct EventContext<'a> {
    pub now: Timestamp,
    pub causation_id: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PaymentEvent {
    Pending,
    Succeeded,
    Failed(PaymentFailure),
    /// The amount of this refund, in minor units.
    Refunded(i64),
    /// The last one of `failed_refunds`.
    RefundFailed,
    /// The amount, in minor units, that was paid to the customer outside the gateway.
    Settlement(i64),
}

/// Decides the change that an input causes; `None` for a repeat, and for an input that comes too late.
///
/// # Errors
/// `NoPayment` for an input that requires an existing payment.
pub fn decide(
    order_id: &OrderId,
    known: Option<&Payment>,
    input: &PaymentInput,
    context: EventContext<'_>,
) -> Result<Option<Change>, Rejected> {
    let (mut payment, event_kind) = match known {
        None => initial_payment(order_id, input)?,
        Some(before) => {
            let mut after = before.clone();
            let event_kind = apply(&mut after, input, context.now);
            // Money that goes back to the customer pays first what failed refunds had returned to us.
            let more = after.refunded - before.refunded;
            after.returned = (after.returned - more.max(0)).max(0);
            refund::update_status(&mut after, before.status);
            if after == *before {
                return Ok(None);
            }
            // A write has one event at most, because the event's sequence is the payment's version. When the
            // write refunds, that is the event.
            (after, if more > 0 { Some(PaymentEvent::Refunded(more)) } else { event_kind })
        }
    };
    payment.version += 1;
    // Without a charge it is the mark of an undo or a cancel. There is no payment that an event could be
    // about.
    let event = match (event_kind, &payment.charge) {
        (Some(event_kind), Some(charge)) => Some(event(&payment, charge.amount, event_kind, context)?),
        _ => None,
    };
    Ok(Some(Change { payment, event }))
}

impl Payment {
    /// A payment without a charge, before its first write.
    fn new(order_id: OrderId, user_id: UserId, correlation_id: CorrelationId, status: Status) -> Self {
        Self {
            order_id,
            user_id,
            correlation_id,
            status,
            charge: None,
            intent: None,
            waiting: None,
            decline_code: None,
            refunded: 0,
            refund_cause: None,
            failed_refunds: Vec::new(),
            returned: 0,
            settlements: Vec::new(),
            disputes: Vec::new(),
            attempts: Attempts { create: 1, confirm: 1, refund: 1 },
            tokens: BTreeSet::new(),
            version: 0,
        }
    }
}

/// The new payment of a first input.
fn initial_payment(
    order_id: &OrderId,
    input: &PaymentInput,
) -> Result<(Payment, Option<PaymentEvent>), Rejected> {
    let new = |user_id: &UserId, correlation_id: &CorrelationId, status| {
        Payment::new(order_id.clone(), user_id.clone(), correlation_id.clone(), status)
    };
    match input {
        PaymentInput::ChargeRequested { user_id, correlation_id, charge, token } => {
            // There is nothing to charge, and the gateway does not accept such payments.
            let free = charge.amount.amount == 0;
            let (status, event_kind) = if free {
                (Status::Succeeded, Some(PaymentEvent::Succeeded))
            } else {
                (Status::Pending, None)
            };
            let payment = Payment {
                charge: Some(charge.clone()),
                tokens: BTreeSet::from([token.clone()]),
                ..new(user_id, correlation_id, status)
            };
            Ok((payment, event_kind))
        }
        // The mark of an undo or a cancel that came before the payment. A request to charge that arrives
        // later finds it, and takes nothing.
        PaymentInput::UndoRequested { user_id, correlation_id }
        | PaymentInput::CancelRequested { user_id, correlation_id } => {
            Ok((new(user_id, correlation_id, Status::Voided), None))
        }
        PaymentInput::IntentCreated { .. }
        | PaymentInput::IntentRefused { .. }
        | PaymentInput::IntentObserved { .. }
        | PaymentInput::DeadlineExpired
        | PaymentInput::Refunded { .. }
        | PaymentInput::RefundFailed(_)
        | PaymentInput::SettlementRecorded { .. }
        | PaymentInput::Disputed(_)
        | PaymentInput::IdempotencyKeyExhausted { .. } => Err(Rejected::NoPayment),
    }
}

/// Applies an input to the payment. One that does not fit its status changes nothing.
fn apply(payment: &mut Payment, input: &PaymentInput, now: Timestamp) -> Option<PaymentEvent> {
    let before = payment.status;
    match input {
        PaymentInput::ChargeRequested { token, .. } => {
            // A repeat brings its token and nothing else. The amount, the method and the deadline are those
            // of the first request.
            payment.tokens.insert(token.clone());
        }
        PaymentInput::IntentCreated { id } => {
            if before == Status::Pending && payment.intent.is_none() {
                // Two workers may each have created an intent. The first one that is stored is the payment's.
                // The other one stays unconfirmed.
                payment.intent = Some(Intent { id: id.clone(), open: true });
            }
        }
        PaymentInput::IntentRefused { code } => {
            if before == Status::Pending && payment.intent.is_none() {
                payment.status = Status::Declined;
                payment.decline_code = Some(code.clone());
            }
        }
        PaymentInput::IntentObserved { intent_id, state } => {
            return observe_intent(payment, intent_id, state, now);
        }
        PaymentInput::DeadlineExpired => {
            if before == Status::Pending {
                payment.status = Status::TimedOut;
            }
        }
        PaymentInput::UndoRequested { .. } => payment.status = status_after_undo(before, payment.is_free()),
        PaymentInput::CancelRequested { .. } => {
            if before == Status::Pending {
                payment.status = Status::Voided;
            }
        }
        PaymentInput::Refunded { amount } => {
            // Webhooks arrive in any order. An older one has a smaller sum, and takes nothing back.
            payment.refunded = payment.refunded.max(*amount).min(payment.total())
        }
        PaymentInput::RefundFailed(failed) => return refund::failed(payment, failed),
        PaymentInput::SettlementRecorded { by, note } => return refund::settled(payment, by, note, now),
        PaymentInput::Disputed(dispute) => refund::dispute(&mut payment.disputes, dispute),
        PaymentInput::IdempotencyKeyExhausted { operation, n } => {
            // Two workers may have met the same failure. Only the first report raises the number, so that
            // both go on with the same key.
            if payment.attempts.of(*operation) == *n {
                payment.attempts.raise(*operation);
            }
        }
    }
    event_of_status_change(payment, before)
}

fn observe_intent(
    payment: &mut Payment,
    intent_id: &str,
    state: &IntentState,
    now: Timestamp,
) -> Option<PaymentEvent> {
    let before = payment.status;
    let late = payment.is_late(now);
    // Another intent (one of two that were created concurrently) says nothing about this payment.
    let intent = payment.intent.as_mut().filter(|intent| intent.id == intent_id)?;
    if matches!(state, IntentState::Succeeded | IntentState::Canceled) {
        intent.open = false;
    }
    payment.status = status_for_intent_state(before, state, late);
    if let (Status::Declined, IntentState::Declined { code }) = (payment.status, state) {
        // The first code is what the saga got. A later webhook does not change it.
        payment.decline_code.get_or_insert_with(|| code.clone());
    }
    if payment.status == Status::Pending {
        let waiting = match state {
            IntentState::Processing => Some(Waiting::Bank),
            IntentState::RequiresAction(action) => Some(Waiting::Customer(action.clone())),
            _ => None,
        };
        if waiting.is_some() && waiting != payment.waiting {
            payment.waiting = waiting;
            return Some(PaymentEvent::Pending);
        }
    }
    event_of_status_change(payment, before)
}

/// The event for a change of status. A payment that is not pending waits for nothing.
fn event_of_status_change(payment: &mut Payment, before: Status) -> Option<PaymentEvent> {
    if payment.status == before {
        return None;
    }
    payment.waiting = None;
    match payment.status {
        Status::Pending | Status::Refunding | Status::Refunded | Status::RefundFailed => None,
        Status::Succeeded => Some(PaymentEvent::Succeeded),
        Status::Declined => Some(PaymentEvent::Failed(PaymentFailure::Declined)),
        Status::TimedOut => Some(PaymentEvent::Failed(PaymentFailure::TimedOut)),
        // A payment that had succeeded (an order that costs nothing) has not failed.
        Status::Voided if before == Status::Pending => {
            Some(PaymentEvent::Failed(PaymentFailure::OrderCancelled))
        }
        Status::Voided => None,
    }
}

/// The new status of a payment when its intent has this state. `late`: the deadline has passed.
const fn status_for_intent_state(status: Status, state: &IntentState, late: bool) -> Status {
    use Status::{Declined, Pending, RefundFailed, Refunded, Refunding, Succeeded, TimedOut, Voided};
    match (status, state) {
        (Pending, IntentState::Succeeded) => Succeeded,
        (Pending, IntentState::Declined { .. }) => Declined,
        // After the deadline, we have cancelled it. Before, it was cancelled in the gateway's dashboard.
        (Pending, IntentState::Canceled) if late => TimedOut,
        (Pending, IntentState::Canceled) => Declined,
        (Pending, IntentState::Unconfirmed | IntentState::Processing | IntentState::RequiresAction(_)) => {
            Pending
        }
        // Money arrived although the saga has been answered that nothing was taken. It is refunded without
        // the saga.
        (Declined | TimedOut | Voided, IntentState::Succeeded) => Refunding,
        (Declined | TimedOut | Voided | Succeeded | Refunding | Refunded | RefundFailed, _) => status,
    }
}

/// The new status of a payment when the order is undone. `free`: there was nothing to take.
const fn status_after_undo(status: Status, free: bool) -> Status {
    use Status::{Declined, Pending, RefundFailed, Refunded, Refunding, Succeeded, TimedOut, Voided};
    match status {
        Pending => Voided,
        Succeeded if free => Voided,
        // After a refund that failed, an undo is the order to try another one (`cargo ops saga retry`).
        Succeeded | RefundFailed => Refunding,
        Declined | TimedOut | Voided | Refunding | Refunded => status,
    }
}

const fn is_zero(amount: &i64) -> bool {
    *amount == 0
}

fn event(
    payment: &Payment,
    amount: Money,
    event_kind: PaymentEvent,
    context: EventContext<'_>,
) -> Result<Envelope, serde_json::Error> {
    let order_id = payment.order_id.clone();
    let new = NewEvent {
        source: "payments",
        subject: payment.order_id.as_str(),
        sequence: payment.version,
        occurred_at: context.now,
        correlation_id: &payment.correlation_id,
        causation_id: context.causation_id,
        user_id: Some(&payment.user_id),
    };
    match event_kind {
        PaymentEvent::Pending => {
            let waits_for = match payment.waiting {
                Some(Waiting::Customer(_)) => WaitsFor::Customer,
                Some(Waiting::Bank) | None => WaitsFor::Bank,
            };
            Envelope::new(new, &PaymentPending { order_id, amount, waits_for })
        }
        PaymentEvent::Succeeded => Envelope::new(new, &PaymentSucceeded { order_id, amount }),
        PaymentEvent::Failed(reason) => Envelope::new(new, &PaymentFailed { order_id, amount, reason }),
        PaymentEvent::Refunded(more) => {
            let amount = Money::new(more, amount.currency);
            let cause = payment.refund_cause.unwrap_or(RefundCause::ByStaff);
            Envelope::new(new, &PaymentRefunded { order_id, amount, cause })
        }
        PaymentEvent::Settlement(paid) => {
            let amount = Money::new(paid, amount.currency);
            Envelope::new(new, &PaymentRefunded { order_id, amount, cause: RefundCause::ByStaff })
        }
        PaymentEvent::RefundFailed => {
            // The input of this event added a failed refund, so the list has one.
            let FailedRefund { id, amount: failed, reason } =
                payment.failed_refunds.last().cloned().unwrap_or_default();
            let money = |minor| Money::new(minor, amount.currency);
            let (amount, refunded) = (money(failed), money(payment.total_refunded()));
            let payload = PaymentRefundFailed { order_id, amount, refunded, refund_id: id, reason };
            Envelope::new(new, &payload)
        }
    }
}

#[cfg(test)]
mod tests;
