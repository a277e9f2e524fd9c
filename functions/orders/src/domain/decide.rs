//! Decides the events that a command causes, as one total function.

use contracts::{
    Money, OrderStatus, PricedLine,
    events::{
        OrderCancelRequested, OrderCancelled, OrderCompensationFailed, OrderCompleted, OrderCreated,
        OrderInventoryNotAvailable, OrderInventoryReleased, OrderInventoryReserved, OrderPaymentFailed,
        OrderPaymentPending, OrderPaymentRefunded, OrderPaymentSucceeded, OrderShipmentScheduled,
    },
    saga::{
        Booking, Compensations, Failure, INVENTORY_NOT_AVAILABLE, ORDER_CANCEL_REQUESTED, UndoOutcome,
        steps::{REFUND_PAYMENT, RELEASE_INVENTORY, TAKE_PAYMENT},
    },
};

use super::{
    Command, DiscountError, Event, LineError, Offer, Order, Placed, check_lines,
    command::failed_refund,
    lines::total,
    order::{Facts, State},
};

/// Why an order does not take a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("there is no such order")]
    NotPlaced,
    #[error("the order is placed already")]
    AlreadyPlaced,
    #[error("these lines cannot be ordered")]
    Lines(Vec<LineError>),
    #[error("the discount code {0}")]
    Discount(#[from] DiscountError),
    /// Also when the order is cancelled already, or on its way there: a step that comes late must not be done.
    #[error("a cancel was requested")]
    CancelRequested,
    #[error("the order's stock is not recorded as reserved")]
    NotReserved,
    #[error("the order has ended as {0}")]
    Ended(OrderStatus),
}

/// The events that `command` brings: none when what it wants is so already.
///
/// # Errors
/// When the order is not in a state to take it.
pub fn decide(order: &Order, command: Command) -> Result<Vec<Event>, Rejected> {
    match (order, command) {
        (Order::NotPlaced, Command::Place { items, offer }) => {
            quote(items, offer.as_ref()).map(|created| vec![Event::Created(created)])
        }
        (Order::NotPlaced, _) => Err(Rejected::NotPlaced),
        (Order::Placed(_), Command::Place { .. }) => Err(Rejected::AlreadyPlaced),
        (Order::Placed(order), Command::RequestCancel) => request_cancel(order),
        (Order::Placed(order), Command::RecordReservation) => record_reservation(order),
        (Order::Placed(order), Command::Complete { shipment }) => complete(order, shipment),
        (Order::Placed(order), Command::Abort) => Ok(abort(order)),
        (Order::Placed(order), Command::Cancel { failure, compensations }) => {
            cancel(order, failure, compensations)
        }
        (Order::Placed(order), Command::RefundFailed { refund_id, reason }) => {
            Ok(refund_failed(order, &refund_id, &reason))
        }
    }
}

/// The order that these lines would make: its total and its discount.
///
/// # Errors
/// When it cannot be placed.
pub fn quote(items: Vec<PricedLine>, offer: Option<&Offer>) -> Result<OrderCreated, Rejected> {
    // The API has checked the lines, too, to name the field in its answer. Here no caller can leave the check
    // out.
    let errors = check_lines(items.iter().map(|item| (&item.sku, item.quantity)));
    if !errors.is_empty() {
        return Err(Rejected::Lines(errors));
    }
    let sum = total(&items).map_err(Rejected::Lines)?;
    let discount = offer.map(|offer| offer.reduce(sum)).transpose()?;
    let taken_off = discount.as_ref().map_or(0, |discount| discount.amount.amount);
    let total = Money { amount: sum.amount - taken_off, ..sum };
    // After the discount: a code may leave nothing to pay, which is fine, or less than the gateway charges.
    total.check_total().map_err(|error| match &discount {
        Some(_) => Rejected::Discount(DiscountError::NotChargeable { left: total, error }),
        None => Rejected::Lines(vec![LineError::Total(error)]),
    })?;
    Ok(OrderCreated { items, total, discount })
}

fn request_cancel(order: &Placed) -> Result<Vec<Event>, Rejected> {
    match order.state {
        State::Completed | State::Cancelled => Err(Rejected::Ended(order.status)),
        State::Created | State::Reserved | State::NeedsAttention { .. } => {
            Ok(ask_for_cancel(order, "customer"))
        }
    }
}

fn record_reservation(order: &Placed) -> Result<Vec<Event>, Rejected> {
    match order.state {
        // ReserveInventory does not look for a cancel request, because this step follows at once. Here the
        // request takes effect before the payment is taken.
        State::Created if order.cancel_requested => Err(Rejected::CancelRequested),
        // The saga takes the payment next in any case. So `PaymentPending` needs no step and no commit of its
        // own.
        State::Created => Ok(vec![
            Event::InventoryReserved(OrderInventoryReserved {}),
            Event::PaymentPending(OrderPaymentPending {}),
        ]),
        State::Reserved | State::Completed => Ok(vec![]),
        State::NeedsAttention { .. } | State::Cancelled => Err(Rejected::CancelRequested),
    }
}

fn complete(order: &Placed, shipment: Booking) -> Result<Vec<Event>, Rejected> {
    let Booking { carrier, tracking_number, estimated_delivery, .. } = shipment;
    match order.state {
        State::Created | State::Reserved if order.cancel_requested => Err(Rejected::CancelRequested),
        State::Created => Err(Rejected::NotReserved),
        // One commit is the point of no return. A cancel request wants the same version of the order: one of
        // the two writes is refused, and decides again on what the other one wrote.
        // The payment and the shipment are recorded here and not when they are done. Recording them one by
        // one would take a state each, and states are most of what an order costs.
        State::Reserved => Ok(vec![
            Event::PaymentSucceeded(OrderPaymentSucceeded { amount: order.total }),
            Event::ShipmentScheduled(OrderShipmentScheduled { carrier, tracking_number, estimated_delivery }),
            Event::Completed(OrderCompleted {
                total: order.total,
                items: order.items.iter().map(PricedLine::unpriced).collect(),
            }),
        ]),
        State::Completed => Ok(vec![]),
        State::NeedsAttention { .. } | State::Cancelled => Err(Rejected::CancelRequested),
    }
}

fn abort(order: &Placed) -> Vec<Event> {
    match order.state {
        // The order has ended. The answer says how, and the saga undoes nothing when it has completed.
        State::Completed | State::Cancelled => vec![],
        State::Created | State::Reserved | State::NeedsAttention { .. } => ask_for_cancel(order, "saga"),
    }
}

/// The events of a cancel request; none when a cancel was requested already or is under way.
fn ask_for_cancel(order: &Placed, requested_by: &str) -> Vec<Event> {
    if order.cancel_requested || matches!(order.state, State::NeedsAttention { .. }) {
        return vec![];
    }
    vec![Event::CancelRequested(OrderCancelRequested { requested_by: requested_by.to_owned() })]
}

fn cancel(order: &Placed, failure: Failure, compensations: Compensations) -> Result<Vec<Event>, Rejected> {
    let failed_before: &[String] = match &order.state {
        // AbortOrder would have found the completed order. A success would hide that its steps were undone.
        State::Completed => return Err(Rejected::Ended(order.status)),
        State::Cancelled => return Ok(vec![]),
        State::Created | State::Reserved => &[],
        State::NeedsAttention { failed } => failed,
    };
    let failed = failed_undos(failed_before, &compensations);
    let mut events = new_facts(order, &failure, &compensations);
    if failed.is_empty() {
        events.push(Event::Cancelled(OrderCancelled { reason: failure.error, step: failure.step }));
    // A retry that ends as the one before has nothing to add. The order needs attention already.
    } else if failed != failed_before || !events.is_empty() {
        events.push(Event::CompensationFailed(OrderCompensationFailed { failure, failed }));
    }
    Ok(events)
}

/// The events of a refund that the customer's bank returned.
// Only a cancelled order owes the money. An open order needs no attention, because its saga undoes the
// payment. A completed order keeps the money: a refund that staff wanted to make is recorded by payments.
fn refund_failed(order: &Placed, refund_id: &str, reason: &str) -> Vec<Event> {
    let (State::Cancelled, Some(cancelled_for)) = (&order.state, &order.cancelled_for) else { return vec![] };
    vec![Event::CompensationFailed(OrderCompensationFailed {
        failure: failed_refund(cancelled_for, refund_id, reason),
        failed: vec![REFUND_PAYMENT.part.to_owned()],
    })]
}

/// The events about the order's cancellation that have not been recorded yet.
fn new_facts(order: &Placed, failure: &Failure, compensations: &Compensations) -> Vec<Event> {
    let Facts { not_available, payment_failed, payment_refunded, inventory_released } = order.facts;
    let mut events = Vec::new();
    if !not_available && failure.error == INVENTORY_NOT_AVAILABLE {
        events.push(Event::InventoryNotAvailable(OrderInventoryNotAvailable {}));
    }
    // The payment did not fail when it was given up because the customer cancelled.
    if !payment_failed && failure.step == TAKE_PAYMENT.name && failure.error != ORDER_CANCEL_REQUESTED {
        events.push(Event::PaymentFailed(OrderPaymentFailed { reason: failure.error.clone() }));
    }
    let undone_as = match compensations.outcome(&REFUND_PAYMENT) {
        UndoOutcome::Refunded => Some("refunded"),
        UndoOutcome::Voided => Some("voided"),
        _ => None,
    };
    if let Some(outcome) = undone_as.filter(|_| !payment_refunded) {
        let refund = OrderPaymentRefunded { amount: order.total, outcome: outcome.to_owned() };
        events.push(Event::PaymentRefunded(refund));
    }
    if !inventory_released && compensations.outcome(&RELEASE_INVENTORY) == UndoOutcome::Released {
        events.push(Event::InventoryReleased(OrderInventoryReleased {}));
    }
    events
}

/// The undos that still stand as failed after these outcomes.
// A retry runs only the undos that failed, and calls the others "not needed". For an undo that failed before,
// "not needed" says nothing, so it stays failed until it is really done.
fn failed_undos(before: &[String], compensations: &Compensations) -> Vec<String> {
    let failed = compensations.iter().filter(|(undo, outcome)| match outcome {
        UndoOutcome::Failed => true,
        UndoOutcome::NotNeeded => before.iter().any(|failed| failed == undo.part),
        _ => false,
    });
    failed.map(|(undo, _)| undo.part.to_owned()).collect()
}

#[cfg(test)]
mod tests;
