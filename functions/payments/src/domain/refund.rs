//! Money that goes back, and money that somebody wants back.

use contracts::events::RefundCause;
use serde::{Deserialize, Serialize};

use super::{Payment, Status};

const LOST: &str = "lost";

/// A dispute of the charge, as the gateway tells it.
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
    /// Whether nothing more comes of it (<https://docs.stripe.com/api/disputes/object>, `status`).
    fn is_closed(&self) -> bool {
        matches!(self.status.as_str(), "won" | LOST | "warning_closed" | "prevented")
    }
}

/// Records how a dispute stands. Webhooks come in any order: one that is closed is not opened by an older one.
pub(super) fn dispute(known: &mut Vec<Dispute>, news: &Dispute) {
    match known.iter_mut().find(|known| known.id == news.id) {
        Some(known) if known.is_closed() => {}
        Some(known) => known.clone_from(news),
        None => known.push(news.clone()),
    }
}

/// What follows for the status from money going back: why it does, and that all of it has. What a lost dispute took is
/// with the customer already, and is not owed again when the order is taken back.
pub(super) fn follow(payment: &mut Payment, before: Status) {
    if payment.status == Status::Refunding && before != Status::Refunding {
        payment.refund_cause = Some(match before {
            // Those who waited were told, and perhaps the customer, that nothing was taken.
            Status::Declined | Status::TimedOut => RefundCause::LatePayment,
            _ => RefundCause::OrderCancelled,
        });
    }
    let lost = payment.disputes.iter().filter(|dispute| dispute.status == LOST).map(|dispute| dispute.amount);
    let all = match payment.status {
        Status::Succeeded => payment.refunded >= payment.total(),
        Status::Refunding => payment.refunded + lost.sum::<i64>() >= payment.total(),
        _ => false,
    };
    if all && payment.total() > 0 {
        payment.status = Status::Refunded;
    }
}
