//! Refunds and disputes.

use contracts::{Currency, Money, events::RefundCause};
use jiff::Timestamp;
use lambda_kit::audit::Actor;
use serde::{Deserialize, Serialize};

use super::{Operation, Payment, PaymentEvent, PaymentInput, Status};

const LOST: &str = "lost";
/// The audit trail's name for a person in the gateway's dashboard, whom the gateway does not name to us.
const DASHBOARD: &str = "gateway-dashboard";

/// A dispute of the charge, as the gateway reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    pub id: String,
    /// Minor units.
    pub amount: i64,
    pub reason: String,
    /// The gateway's word: `needs_response`, `won`, `lost`, ….
    pub status: String,
}

impl Dispute {
    /// Whether the dispute is final (<https://docs.stripe.com/api/disputes/object>, `status`).
    fn is_closed(&self) -> bool {
        matches!(self.status.as_str(), "won" | LOST | "warning_closed" | "prevented")
    }
}

/// A refund that the customer's bank returned, days after it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRefund {
    /// The gateway's, `re_…`.
    pub id: String,
    /// Minor units.
    pub amount: i64,
    /// The gateway's code.
    pub reason: String,
}

/// Money that a failed refund brought back and that was paid to the customer in another way, such as a bank
/// transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Minor units.
    pub amount: i64,
    /// Unix seconds.
    pub at: i64,
    /// Who recorded it.
    pub by: String,
    pub note: String,
}

/// Records that the amount of failed refunds was paid in another way. Changes nothing when the customer is owed
/// nothing.
pub(super) fn settled(payment: &mut Payment, by: &str, note: &str, now: Timestamp) -> Option<PaymentEvent> {
    let amount = std::mem::take(&mut payment.returned);
    if amount == 0 {
        return None;
    }
    let (by, note) = (by.to_owned(), note.to_owned());
    payment.settlements.push(Settlement { amount, at: now.as_second(), by, note });
    Some(PaymentEvent::Settlement(amount))
}

/// Subtracts a failed refund from the refunded amount. A repeat changes nothing.
pub(super) fn failed(payment: &mut Payment, failed: &FailedRefund) -> Option<PaymentEvent> {
    if payment.failed_refunds.iter().any(|known| known.id == failed.id) {
        return None;
    }
    payment.failed_refunds.push(failed.clone());
    payment.refunded = (payment.refunded - failed.amount).max(0);
    payment.returned = (payment.returned + failed.amount).min(payment.refundable());
    // The key of our own refund would return the refund that has failed.
    payment.attempts.raise(Operation::Refund);
    Some(PaymentEvent::RefundFailed)
}

/// Records the state of a dispute. Webhooks arrive in any order: an older one does not reopen a closed dispute.
pub(super) fn dispute(known: &mut Vec<Dispute>, reported: &Dispute) {
    match known.iter_mut().find(|known| known.id == reported.id) {
        Some(known) if known.is_closed() => {}
        Some(known) => known.clone_from(reported),
        None => known.push(reported.clone()),
    }
}

/// Updates the status after a refund: the cause of the refund, and whether everything is refunded.
pub(super) fn update_status(payment: &mut Payment, before: Status) {
    if payment.status == Status::Refunding && before != Status::Refunding {
        payment.refund_cause.get_or_insert(match before {
            // The saga, and perhaps the customer, has learned that nothing was taken.
            Status::Declined | Status::TimedOut => RefundCause::LatePayment,
            _ => RefundCause::OrderCancelled,
        });
    }
    if matches!(payment.status, Status::Succeeded | Status::Refunded) && payment.returned > 0 {
        payment.status = Status::RefundFailed;
    }
    if payment.status == Status::RefundFailed && payment.returned == 0 {
        // The customer has the money of the failed refunds now.
        payment.status = match payment.refund_cause {
            _ if payment.total_refunded() >= payment.total() => Status::Refunded,
            Some(_) => Status::Refunding,
            None => Status::Succeeded,
        };
    }
    // The bank has already given the customer the amount of a lost dispute. So it is not owed again when the
    // order is undone.
    let lost = payment.disputes.iter().filter(|dispute| dispute.status == LOST).map(|dispute| dispute.amount);
    let all = match payment.status {
        Status::Succeeded => payment.total_refunded() >= payment.total(),
        Status::Refunding => payment.total_refunded() + lost.sum::<i64>() >= payment.total(),
        _ => false,
    };
    // A payment of nothing is not refunded, although zero of zero has gone back.
    if all && payment.total() > 0 {
        payment.status = Status::Refunded;
        // The amount of a lost dispute is not owed again.
        payment.returned = 0;
    }
}

/// A change of what has gone back to the customer, for the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundChange {
    pub action: &'static str,
    pub actor: Actor,
    pub before: RefundState,
    pub after: RefundState,
    pub reason: Option<String>,
}

/// What has gone back to the customer, and what is owed since a refund failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RefundState {
    status: Status,
    refunded: Money,
    owed: Money,
}

impl RefundState {
    fn of(payment: &Payment, currency: Currency) -> Self {
        let money = |minor| Money::new(minor, currency);
        Self {
            status: payment.status,
            refunded: money(payment.total_refunded()),
            owed: money(payment.returned),
        }
    }
}

/// What an input changed of the refunds of a payment. `None` when it changed none.
pub fn refund_change(before: &Payment, after: &Payment, input: &PaymentInput) -> Option<RefundChange> {
    let currency = after.charge.as_ref()?.amount.currency;
    let (action, actor, reason) = match input {
        PaymentInput::SettlementRecorded { by, note } if after.settlements != before.settlements => {
            ("payment.refund_settled", Actor::Operator(by.clone()), Some(note.clone()))
        }
        PaymentInput::RefundFailed(failed) if after.failed_refunds != before.failed_refunds => {
            ("payment.refund_failed", Actor::System, Some(failed.reason.clone()))
        }
        _ if after.refunded > before.refunded => {
            // Without a cause, it is no refund of ours.
            let actor = match after.refund_cause {
                Some(_) => Actor::System,
                None => Actor::Operator(DASHBOARD.to_owned()),
            };
            ("payment.refunded", actor, None)
        }
        _ => return None,
    };
    let (before, after) = (RefundState::of(before, currency), RefundState::of(after, currency));
    Some(RefundChange { action, actor, before, after, reason })
}
