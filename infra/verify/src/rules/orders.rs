//! What every context holds for an order, against how the order ended.

use std::collections::BTreeMap;

use contracts::OrderStatus;

use crate::{
    history::History,
    items::{Intent, IntentStatus, Payment, PaymentStatus, ReservationStatus},
    policy::Policy,
    report::{End, Report, Rule},
    snapshot::Snapshot,
};

/// An order that has ended, everywhere.
pub fn verify(id: &str, order: &History, snapshot: &Snapshot, report: &mut Report) {
    view(id, order, snapshot, report);
    let is_completed = order.end == End::Completed;
    let failed = |part: &str| order.failed.iter().any(|failed| failed == part);
    if !failed("payment") {
        payment(id, order, snapshot.payments.get(id), report);
        charge(id, order, snapshot, report);
    }
    let shipment = snapshot.shipments.get(id).map(|shipment| shipment.status);
    let is_booked = shipment.is_some_and(crate::items::ShipmentStatus::is_booked);
    if is_booked != is_completed && !failed("shipment") {
        let expected = if is_completed { "a booked shipment" } else { "no booked shipment" };
        let found = shipment.map_or_else(|| "none".to_owned(), |status| format!("{status:?}").to_lowercase());
        report.violate(Rule::Shipment, id, format!("{expected} ({})", name(order.end)), found);
    }
    let reservation = snapshot.reservations.get(id).map(|reservation| reservation.status);
    let is_right = match reservation {
        Some(ReservationStatus::Committed) => is_completed,
        Some(ReservationStatus::Held) => false,
        Some(ReservationStatus::Rejected | ReservationStatus::Released) | None => !is_completed,
    };
    if !is_right && !failed("inventory") {
        let expected = if is_completed { "sold stock" } else { "no held stock" };
        let found =
            reservation.map_or_else(|| "none".to_owned(), |status| format!("{status:?}").to_lowercase());
        report.violate(Rule::Reservation, id, format!("{expected} ({})", name(order.end)), found);
    }
}

fn view(id: &str, order: &History, snapshot: &Snapshot, report: &mut Report) {
    let status = match order.end {
        End::Completed => OrderStatus::OrderCompleted,
        End::Cancelled => OrderStatus::OrderCancelled,
        End::NeedsAttention => OrderStatus::NeedsAttention,
        End::Open => return,
    };
    let expected = format!("version {} as {status}", order.version);
    let found = snapshot.views.get(id).map(|view| format!("version {} as {}", view.version, view.status));
    if found.as_ref() != Some(&expected) {
        let found = found.unwrap_or_else(|| "none".to_owned());
        report.violate(Rule::View, id, format!("{expected} in the lists"), found);
    }
}

/// By the record of payments.
fn payment(id: &str, order: &History, payment: Option<&Payment>, report: &mut Report) {
    let total = order.total.amount;
    if order.end == End::Completed {
        let expected = format!("a payment of {}", order.total);
        let Some(payment) = payment else { return report.violate(Rule::Payment, id, expected, "none") };
        if payment.charge.as_ref().is_none_or(|charge| charge.amount != order.total) {
            let found =
                payment.charge.as_ref().map_or_else(|| "none".to_owned(), |charge| charge.amount.to_string());
            report.violate(Rule::Payment, id, expected, found);
        }
        // Staff may refund a completed order, which has no cause. The platform does not.
        let is_kept = match payment.status {
            PaymentStatus::Succeeded | PaymentStatus::Refunded | PaymentStatus::RefundFailed => {
                payment.refund_cause.as_deref().is_none_or(|cause| cause == "by_staff")
            }
            _ => false,
        };
        if !is_kept {
            report.violate(Rule::Payment, id, "the money of a completed order kept", phrase(payment));
        }
        return;
    }
    // Undone before it was made.
    let Some(payment) = payment else { return };
    let is_undone = match payment.status {
        PaymentStatus::Declined | PaymentStatus::TimedOut | PaymentStatus::Voided => true,
        // What the bank returned is owed, and staff see it at `GET /v1/dashboard`.
        PaymentStatus::Refunded | PaymentStatus::RefundFailed => {
            payment.refunded + payment.settled() + payment.returned + payment.lost() >= total
        }
        // There was nothing to take.
        PaymentStatus::Succeeded => payment.total() == 0,
        PaymentStatus::Pending | PaymentStatus::Refunding => false,
    };
    if !is_undone {
        report.violate(Rule::Payment, id, format!("no money kept ({})", name(order.end)), phrase(payment));
    }
}

/// By the gateway's books.
fn charge(id: &str, order: &History, snapshot: &Snapshot, report: &mut Report) {
    let Some(books) = &snapshot.intents else { return };
    let intents: Vec<&Intent> = books.iter().filter(|intent| intent.order_id == id).collect();
    let taken = || intents.iter().filter(|intent| intent.status == IntentStatus::Succeeded);
    let kept: i64 = taken().map(|intent| intent.amount - intent.refunded).sum();
    let payment = snapshot.payments.get(id);
    let right = match order.end {
        End::Completed => order.total.amount - payment.map_or(0, |payment| payment.refunded),
        // Money that came back, or went to the customer without the gateway.
        _ => payment.map_or(0, |payment| payment.returned + payment.settled() + payment.lost()),
    };
    if kept != right {
        let expected = format!("{right} kept at the gateway ({})", name(order.end));
        report.violate(Rule::Charge, id, expected, kept.to_string());
    }
    if taken().filter(|intent| intent.refunded < intent.amount).count() > 1 {
        report.violate(Rule::Charge, id, "one live charge at most", "more");
    }
    if intents.iter().any(|intent| intent.status == IntentStatus::Open) {
        report.violate(Rule::Charge, id, "no charge that may still take money", "one");
    }
}

/// What is kept for orders that do not exist.
pub fn owners(orders: &BTreeMap<&str, History>, snapshot: &Snapshot, policy: &Policy, report: &mut Report) {
    let is_unknown = |id: &str| {
        !orders.contains_key(id) && !snapshot.commits.contains_key(id) && !policy.never_placed.contains(&id)
    };
    let held = snapshot.reservations.iter().filter(|(_, reservation)| {
        matches!(reservation.status, ReservationStatus::Held | ReservationStatus::Committed)
            && policy.is_settled(reservation.updated_at)
    });
    for (id, _) in held.filter(|(id, _)| is_unknown(id)) {
        report.violate(Rule::Owner, id, "an order for its reservation", "none");
    }
    let paid = snapshot
        .payments
        .iter()
        .filter(|(_, payment)| matches!(payment.status, PaymentStatus::Succeeded | PaymentStatus::Refunding));
    for (id, _) in paid.filter(|(id, _)| is_unknown(id)) {
        report.violate(Rule::Owner, id, "an order for its payment", "none");
    }
    for (id, _) in
        snapshot.shipments.iter().filter(|(id, shipment)| shipment.status.is_booked() && is_unknown(id))
    {
        report.violate(Rule::Owner, id, "an order for its shipment", "none");
    }
    for intent in snapshot.intents.iter().flatten() {
        if intent.status == IntentStatus::Succeeded && is_unknown(&intent.order_id) {
            report.violate(Rule::Owner, &intent.order_id, "an order for its charge", "none");
        }
    }
}

/// The sums of what payments took and gave back.
pub fn count_money(
    orders: &BTreeMap<&str, History>,
    snapshot: &Snapshot,
    policy: &Policy,
    report: &mut Report,
) {
    let is_covered = |id: &str| orders.get(id).is_none_or(|order| policy.covers(order.placed_at));
    for (_, payment) in snapshot.payments.iter().filter(|(id, _)| is_covered(id)) {
        let Some(charge) = payment.charge.as_ref().filter(|_| payment.took_money()) else { continue };
        let sums = report.counts.money.entry(charge.amount.currency.code().to_owned()).or_default();
        sums.taken += charge.amount.amount;
        sums.refunded += payment.refunded;
    }
}

fn phrase(payment: &Payment) -> String {
    let Payment { status, refunded, .. } = payment;
    let cause = payment.refund_cause.as_deref().map_or_else(String::new, |cause| format!(" ({cause})"));
    format!("{status:?} of {}, {refunded} refunded{cause}", payment.total())
}

const fn name(end: End) -> &'static str {
    match end {
        End::Completed => "the order is completed",
        End::Cancelled => "the order is cancelled",
        End::NeedsAttention => "the order needs attention for something else",
        End::Open => "the order is open",
    }
}
