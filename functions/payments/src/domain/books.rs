//! Our books against the gateway's: where a payment and its intent differ.

use jiff::Timestamp;
use serde::Serialize;

use contracts::OrderId;

use super::{Payment, Status};

/// An intent, as the gateway has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayIntent {
    pub intent_id: String,
    /// Whether it has taken money.
    pub taken: bool,
    /// Minor units.
    pub amount: i64,
    /// The part of it that was refunded or is on its way back.
    pub refunded: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The gateway took money for an order that has no payment.
    NoPayment,
    /// The gateway took money by an intent that is not the payment's.
    OtherIntent,
    /// The gateway took money, but the payment is recorded as not paid.
    NotRecorded,
    /// The payment is recorded as paid, but the gateway took nothing.
    NotTaken,
    /// The payment is recorded as paid, but the gateway does not know its intent.
    NoIntent,
    /// They differ in how much was taken.
    Amount,
    /// They differ in how much has gone back.
    Refunded,
}

/// One difference. Amounts in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub order_id: OrderId,
    pub intent_id: String,
    pub kind: DifferenceKind,
    pub books: i64,
    pub gateway: i64,
}

impl Payment {
    /// Whether the gateway took money for it, according to our record.
    pub fn took_money(&self) -> bool {
        let taken = matches!(
            self.status,
            Status::Succeeded | Status::Refunding | Status::Refunded | Status::RefundFailed
        );
        taken && self.intent.is_some()
    }
}

/// The difference between our record and the gateway's, if any.
pub fn compare(
    order_id: &OrderId,
    payment: Option<&Payment>,
    gateway: &GatewayIntent,
    now: Timestamp,
) -> Option<Difference> {
    let different = |kind, books, gateway_has| {
        let (order_id, intent_id) = (order_id.clone(), gateway.intent_id.clone());
        Some(Difference { order_id, intent_id, kind, books, gateway: gateway_has })
    };
    let taken = if gateway.taken { gateway.amount } else { 0 };
    let Some(payment) = payment else {
        return if gateway.taken { different(DifferenceKind::NoPayment, 0, taken) } else { None };
    };
    if payment.intent.as_ref().is_none_or(|intent| intent.id != gateway.intent_id) {
        // Two workers may have created an intent each. The one that is not the payment's matters only when it
        // has taken money.
        return if gateway.taken { different(DifferenceKind::OtherIntent, 0, taken) } else { None };
    }
    match (payment.took_money(), gateway.taken) {
        (false, false) => None,
        // Before the deadline, the webhook or the next check will record it.
        (false, true) if payment.status == Status::Pending && !payment.is_late(now) => None,
        (false, true) => different(DifferenceKind::NotRecorded, 0, taken),
        (true, false) => different(DifferenceKind::NotTaken, payment.total(), 0),
        (true, true) if payment.total() != gateway.amount => {
            different(DifferenceKind::Amount, payment.total(), gateway.amount)
        }
        (true, true) if payment.refunded != gateway.refunded => {
            different(DifferenceKind::Refunded, payment.refunded, gateway.refunded)
        }
        (true, true) => None,
    }
}
