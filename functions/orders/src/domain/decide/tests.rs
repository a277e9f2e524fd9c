use UndoOutcome::{
    Cancelled as Unbooked, Failed, NotNeeded, NothingHeld, NothingTaken, Refunded, Released, Voided,
};
use contracts::EventPayload;
use rstest::rstest;

use super::*;
use crate::testing::{cancel, cancel_after, complete, given, place, placed, refund_failed, sku, usd};

/// The orders that a command may meet.
#[derive(Debug, Clone, Copy)]
enum On {
    Nothing,
    Created,
    CreatedCancelRequested,
    Reserved,
    ReservedCancelAsked,
    Completed,
    NeedsAttention,
    Cancelled,
}

impl On {
    fn order(self) -> Order {
        let reserved = vec![place(), Command::RecordReservation];
        let commands = match self {
            Self::Nothing => vec![],
            Self::Created => vec![place()],
            Self::CreatedCancelRequested => vec![place(), Command::RequestCancel],
            Self::Reserved => reserved,
            Self::ReservedCancelAsked => [reserved, vec![Command::RequestCancel]].concat(),
            Self::Completed => [reserved, vec![complete()]].concat(),
            Self::NeedsAttention => [reserved, vec![release_failed()]].concat(),
            Self::Cancelled => [reserved, vec![cancel("TakePayment", "PaymentDeclined")]].concat(),
        };
        given(Order::NotPlaced, commands)
    }
}

fn release_failed() -> Command {
    cancel_after("TakePayment", "PaymentDeclined", [NotNeeded, NotNeeded, Failed])
}

fn release_succeeded() -> Command {
    cancel_after("TakePayment", "PaymentDeclined", [NotNeeded, NotNeeded, Released])
}

/// The types of the events, or the refusal.
fn outcome(order: &Order, command: Command) -> String {
    match decide(order, command) {
        Ok(events) => {
            let types = events.iter().map(|event| event.event_type().strip_prefix("order.").unwrap());
            types.collect::<Vec<_>>().join(" ")
        }
        Err(rejected) => format!("{rejected:?}"),
    }
}

const ASKED: &str = "CancelRequested";
const COMPLETED: &str = "Ended(OrderCompleted)";
const CANCELLED: &str = "Ended(OrderCancelled)";

#[rstest]
#[case(On::Nothing, "created")]
#[case(On::Created, "AlreadyPlaced")]
#[case(On::CreatedCancelRequested, "AlreadyPlaced")]
#[case(On::Reserved, "AlreadyPlaced")]
#[case(On::Completed, "AlreadyPlaced")]
#[case(On::NeedsAttention, "AlreadyPlaced")]
#[case(On::Cancelled, "AlreadyPlaced")]
fn an_order_is_placed_once(#[case] on: On, #[case] expected: &str) {
    assert_eq!(outcome(&on.order(), place()), expected);
}

#[rstest]
#[case(On::Nothing, "NotPlaced")]
#[case(On::Created, "inventory_reserved payment_pending")]
#[case(On::CreatedCancelRequested, ASKED)]
#[case(On::Reserved, "")]
#[case(On::ReservedCancelAsked, "")]
#[case(On::Completed, "")]
#[case(On::NeedsAttention, ASKED)]
#[case(On::Cancelled, ASKED)]
fn a_reservation_is_recorded_unless_a_cancel_was_requested(#[case] on: On, #[case] expected: &str) {
    assert_eq!(outcome(&on.order(), Command::RecordReservation), expected);
}

#[rstest]
#[case(On::Nothing, "NotPlaced")]
#[case(On::Created, "NotReserved")]
#[case(On::CreatedCancelRequested, ASKED)]
#[case(On::Reserved, "payment_succeeded shipment_scheduled completed")]
#[case(On::ReservedCancelAsked, ASKED)]
#[case(On::Completed, "")]
#[case(On::NeedsAttention, ASKED)]
#[case(On::Cancelled, ASKED)]
fn an_order_completes_unless_a_cancel_was_requested(#[case] on: On, #[case] expected: &str) {
    assert_eq!(outcome(&on.order(), complete()), expected);
}

#[rstest]
#[case(On::Nothing, "NotPlaced")]
#[case(On::Created, "cancel_requested")]
#[case(On::CreatedCancelRequested, "")]
#[case(On::Reserved, "cancel_requested")]
#[case(On::ReservedCancelAsked, "")]
#[case(On::Completed, "")]
#[case(On::NeedsAttention, "")]
#[case(On::Cancelled, "")]
fn an_abort_asks_for_a_cancel_unless_the_order_has_ended(#[case] on: On, #[case] expected: &str) {
    assert_eq!(outcome(&on.order(), Command::Abort), expected);
}

#[rstest]
#[case(On::Nothing, "NotPlaced")]
#[case(On::Created, "cancel_requested")]
#[case(On::CreatedCancelRequested, "")]
#[case(On::Reserved, "cancel_requested")]
#[case(On::ReservedCancelAsked, "")]
#[case(On::Completed, COMPLETED)]
#[case(On::NeedsAttention, "")]
#[case(On::Cancelled, CANCELLED)]
fn a_customer_may_ask_for_a_cancel_until_the_order_has_ended(#[case] on: On, #[case] expected: &str) {
    assert_eq!(outcome(&on.order(), Command::RequestCancel), expected);
}

#[rstest]
#[case(On::Nothing, "NotPlaced")]
#[case(On::Created, "payment_failed inventory_released cancelled")]
#[case(On::CreatedCancelRequested, "payment_failed inventory_released cancelled")]
#[case(On::Reserved, "payment_failed inventory_released cancelled")]
#[case(On::ReservedCancelAsked, "payment_failed inventory_released cancelled")]
#[case(On::Completed, COMPLETED)]
#[case::recorded_events_are_not_recorded_again(On::NeedsAttention, "inventory_released cancelled")]
#[case(On::Cancelled, "")]
fn a_cancel_ends_every_order_that_has_not_completed(#[case] on: On, #[case] expected: &str) {
    assert_eq!(outcome(&on.order(), release_succeeded()), expected);
}

#[rstest]
#[case::out_of_stock("ReserveInventory", "InventoryNotAvailable", [NotNeeded; 3], "inventory_not_available cancelled")]
#[case::stock_unknown("ReserveInventory", "States.Timeout", [NotNeeded, NotNeeded, NothingHeld], "cancelled")]
#[case::cancelled_before_payment("RecordReservation", "OrderCancelRequested", [NotNeeded, NotNeeded, Released], "inventory_released cancelled")]
#[case::declined("TakePayment", "PaymentDeclined", [NotNeeded, NotNeeded, Released], "payment_failed inventory_released cancelled")]
#[case::never_paid("TakePayment", "PaymentTimeout", [NotNeeded, Voided, Released], "payment_failed payment_refunded inventory_released cancelled")]
#[case::payment_unknown("TakePayment", "States.Timeout", [NotNeeded, NothingTaken, Released], "payment_failed inventory_released cancelled")]
#[case::cancelled_while_paying("TakePayment", "OrderCancelRequested", [NotNeeded, NothingTaken, Released], "inventory_released cancelled")]
#[case::not_served("ScheduleShipment", "ShipmentRejected", [NotNeeded, Refunded, Released], "payment_refunded inventory_released cancelled")]
#[case::cancelled_at_the_end("CompleteOrder", "OrderCancelRequested", [Unbooked, Refunded, Released], "payment_refunded inventory_released cancelled")]
#[case::refund_failed("ScheduleShipment", "ShipmentRejected", [NotNeeded, Failed, Released], "inventory_released compensation_failed")]
#[case::all_failed("CompleteOrder", "OrderCancelRequested", [Failed, Failed, Failed], "compensation_failed")]
fn a_cancel_records_the_reason_and_what_was_undone(
    #[case] step: &str,
    #[case] error: &str,
    #[case] undone: [UndoOutcome; 3],
    #[case] expected: &str,
) {
    assert_eq!(outcome(&On::Reserved.order(), cancel_after(step, error, undone)), expected);
}

#[test]
fn what_a_cancel_says_is_true_of_the_order() {
    let command = cancel_after("ScheduleShipment", "ShipmentRejected", [NotNeeded, Refunded, Released]);
    let events = decide(&On::Reserved.order(), command).unwrap();
    let refund = OrderPaymentRefunded { amount: usd(8400), outcome: "refunded".to_owned() };
    let end = OrderCancelled { reason: "ShipmentRejected".to_owned(), step: "ScheduleShipment".to_owned() };
    let released = Event::InventoryReleased(OrderInventoryReleased {});
    assert_eq!(events, [Event::PaymentRefunded(refund), released, Event::Cancelled(end)]);
}

#[rstest]
#[case::the_same_again([NotNeeded, Failed, Failed], "")]
#[case::one_of_two([NotNeeded, Refunded, Failed], "payment_refunded compensation_failed")]
#[case::one_of_two_without_an_event([NotNeeded, NothingTaken, Failed], "compensation_failed")]
#[case::only_one_was_tried([NotNeeded, NotNeeded, Released], "inventory_released compensation_failed")]
#[case::none_was_tried([NotNeeded; 3], "")]
#[case::both([NotNeeded, Refunded, Released], "payment_refunded inventory_released cancelled")]
#[case::nothing_was_there([NotNeeded, NothingTaken, NothingHeld], "cancelled")]
fn a_repaired_order_is_cancelled_once_every_failed_undo_was_done(
    #[case] undone: [UndoOutcome; 3],
    #[case] expected: &str,
) {
    let both_failed = cancel_after("ScheduleShipment", "ShipmentRejected", [NotNeeded, Failed, Failed]);
    let order = given(On::Reserved.order(), vec![both_failed]);
    assert_eq!(placed(&order).status, OrderStatus::NeedsAttention);
    assert_eq!(outcome(&order, cancel_after("ScheduleShipment", "ShipmentRejected", undone)), expected);
}

#[test]
fn lines_that_cannot_be_ordered_are_refused() {
    let twice = PricedLine { sku: sku("MUG"), quantity: 1, unit_price: usd(1) };
    let command = Command::Place { items: vec![twice.clone(), twice], offer: None };
    let expected = Rejected::Lines(vec![LineError::Repeated { index: 1 }]);
    assert_eq!(decide(&Order::NotPlaced, command), Err(expected));
    assert!(matches!(
        decide(&Order::NotPlaced, Command::Place { items: vec![], offer: None }),
        Err(Rejected::Lines(_))
    ));
}

#[test]
fn statuses_follow_the_events() {
    let mut order = On::Created.order();
    let mut seen = vec![];
    for command in [
        Command::RecordReservation,
        Command::RequestCancel,
        cancel_after("TakePayment", "PaymentTimeout", [NotNeeded, Voided, Failed]),
        cancel_after("TakePayment", "PaymentTimeout", [NotNeeded, Voided, Released]),
    ] {
        for event in decide(&order, command).unwrap() {
            order = super::super::apply(order, &event);
            let after = placed(&order);
            seen.push((after.version, after.status));
        }
    }
    use OrderStatus as S;
    let expected = [
        (2, S::InventoryReserved),
        (3, S::PaymentPending),
        (4, S::PaymentPending),
        (5, S::PaymentFailed),
        (6, S::PaymentRefunded),
        (7, S::NeedsAttention),
        (8, S::InventoryReleased),
        (9, S::OrderCancelled),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn an_order_that_is_not_placed_stays_so_whatever_is_applied() {
    let event = Event::PaymentPending(OrderPaymentPending {});
    assert_eq!(event.event_type(), OrderPaymentPending::TYPE);
    assert_eq!(super::super::apply(Order::NotPlaced, &event), Order::NotPlaced);
}

#[rstest]
#[case(On::Nothing, "NotPlaced")]
#[case(On::Created, "")]
#[case(On::ReservedCancelAsked, "")]
#[case(On::Completed, "")]
#[case(On::NeedsAttention, "")]
#[case(On::Cancelled, "compensation_failed")]
fn a_refund_that_fails_makes_a_cancelled_order_need_attention(#[case] on: On, #[case] expected: &str) {
    assert_eq!(outcome(&on.order(), refund_failed("re_1")), expected);
}

#[test]
fn an_order_whose_refund_failed_says_what_for_and_is_cancelled_again_once_it_is_refunded() {
    let first = cancel_after("ScheduleShipment", "ShipmentRejected", [NotNeeded, Refunded, Released]);
    let mut order = given(Order::NotPlaced, vec![place(), Command::RecordReservation, first]);
    let mut ids = Vec::new();
    for refund in ["re_1", "re_2"] {
        let [Event::CompensationFailed(needs)] = &decide(&order, refund_failed(refund)).unwrap()[..] else {
            panic!("one event")
        };
        assert_eq!(needs.failed, ["payment"]);
        assert_eq!(
            (needs.failure.step.as_str(), needs.failure.error.as_str()),
            ("ScheduleShipment", "ShipmentRejected")
        );
        assert!(needs.failure.cause.contains(refund), "{}", needs.failure.cause);
        let compensations = Compensations::default().with(&REFUND_PAYMENT, Refunded);
        let again = Command::Cancel { failure: needs.failure.clone(), compensations };
        ids.push(crate::domain::command_id(&crate::testing::order_id(), &again));
        order = given(order, vec![refund_failed(refund)]);
        assert_eq!(placed(&order).status, OrderStatus::NeedsAttention);
        assert_eq!(outcome(&order, again.clone()), "cancelled", "an event is not recorded twice");
        order = given(order, vec![again]);
        assert_eq!(placed(&order).status, OrderStatus::OrderCancelled);
    }
    assert_ne!(ids[0], ids[1], "each is a command of its own");
}
