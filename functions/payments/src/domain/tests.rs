use contracts::{
    Currency, IdempotencyKey,
    saga::{ORDER_CANCEL_REQUESTED, UndoOutcome},
};
use jiff::SignedDuration;
use proptest::prelude::*;
use rstest::rstest;

use super::*;

const NOW: i64 = 1_000_000;
const DEADLINE: i64 = NOW + 900;
const INTENT: &str = "pi_1";

fn user() -> UserId {
    UserId::try_from("usr_0123456789abcdef0123456789abcdef").unwrap()
}

fn order() -> OrderId {
    OrderId::derive(&user(), &IdempotencyKey::try_from("order").unwrap())
}

fn correlation() -> CorrelationId {
    CorrelationId::try_from("cor").unwrap()
}

fn at(seconds: i64) -> EventContext<'static> {
    EventContext { now: Timestamp::from_second(seconds).unwrap(), causation_id: "cause" }
}

fn charge_requested(amount: i64, token: &str) -> PaymentInput {
    PaymentInput::ChargeRequested {
        user_id: user(),
        correlation_id: correlation(),
        charge: Charge {
            amount: Money::new(amount, Currency::USD),
            payment_method: "pm_card_visa".to_owned(),
            deadline: DEADLINE,
        },
        token: Secret::new(token),
    }
}

fn undo() -> PaymentInput {
    PaymentInput::UndoRequested { user_id: user(), correlation_id: correlation() }
}

fn settled() -> PaymentInput {
    PaymentInput::SettlementRecorded { by: "alice".to_owned(), note: "bank transfer".to_owned() }
}

fn observed(state: IntentState) -> PaymentInput {
    PaymentInput::IntentObserved { intent_id: INTENT.to_owned(), state }
}

fn declined() -> IntentState {
    IntentState::Declined { code: "card_declined".to_owned() }
}

fn requires_action() -> IntentState {
    let client_secret = Some(Secret::new("secret"));
    IntentState::RequiresAction(NextAction {
        kind: "sdk".to_owned(),
        payment_intent: INTENT.to_owned(),
        client_secret,
    })
}

/// A payment with an intent, in this status.
fn payment(status: Status) -> Payment {
    let requested = decide(&order(), None, &charge_requested(4200, "t1"), at(NOW)).unwrap().unwrap().payment;
    let made = PaymentInput::IntentCreated { id: INTENT.to_owned() };
    let payment = decide(&order(), Some(&requested), &made, at(NOW)).unwrap().unwrap().payment;
    let open = !matches!(status, Status::Succeeded | Status::Refunding | Status::Refunded);
    Payment { status, intent: Some(Intent { id: INTENT.to_owned(), open }), ..payment }
}

/// The payment after the input, and the type of the event that it brings.
fn after(before: &Payment, input: &PaymentInput, seconds: i64) -> (Payment, Option<String>) {
    match decide(&order(), Some(before), input, at(seconds)).unwrap() {
        Some(change) => (change.payment, change.event.map(|event| event.event_type)),
        None => (before.clone(), None),
    }
}

use Status::{Declined, Pending, RefundFailed, Refunded, Refunding, Succeeded, TimedOut, Voided};
const ALL: [Status; 7] = [Pending, Succeeded, Declined, TimedOut, Voided, Refunding, Refunded];

#[test]
fn a_result_is_counted_when_the_payment_has_just_got_it() {
    let counted = |before: &Payment, input: PaymentInput, seconds: i64| {
        decide(&order(), Some(before), &input, at(seconds)).unwrap().unwrap().result()
    };
    let pending = payment(Pending);
    assert_eq!(counted(&pending, observed(IntentState::Succeeded), NOW), Some("succeeded"));
    assert_eq!(counted(&pending, observed(declined()), NOW), Some("declined"));
    assert_eq!(counted(&pending, PaymentInput::DeadlineExpired, DEADLINE), Some("timed_out"));
    assert_eq!(counted(&pending, undo(), NOW), None);
    assert_eq!(counted(&pending, charge_requested(4200, "t2"), NOW), None, "no event, no result");
    let part = PaymentInput::Refunded { amount: 100 };
    assert_eq!(counted(&payment(Succeeded), part, NOW), None, "it was counted when it was paid");
}

/// For each input: the status after it, in the order of `ALL`.
#[rstest]
#[case::unconfirmed(observed(IntentState::Unconfirmed), NOW, ALL)]
#[case::processing(observed(IntentState::Processing), NOW, ALL)]
#[case::requires_action(observed(requires_action()), NOW, ALL)]
#[case::succeeded(
    observed(IntentState::Succeeded), NOW, [Succeeded, Succeeded, Refunding, Refunding, Refunding, Refunding, Refunded]
)]
#[case::succeeded_late(
    observed(IntentState::Succeeded), DEADLINE, [Succeeded, Succeeded, Refunding, Refunding, Refunding, Refunding, Refunded]
)]
#[case::declined(observed(declined()), NOW, [Declined, Succeeded, Declined, TimedOut, Voided, Refunding, Refunded])]
#[case::canceled(
    observed(IntentState::Canceled), NOW, [Declined, Succeeded, Declined, TimedOut, Voided, Refunding, Refunded]
)]
#[case::canceled_late(
    observed(IntentState::Canceled), DEADLINE, [TimedOut, Succeeded, Declined, TimedOut, Voided, Refunding, Refunded]
)]
#[case::undo(undo(), NOW, [Voided, Refunding, Declined, TimedOut, Voided, Refunding, Refunded])]
#[case::cancel(
    PaymentInput::CancelRequested { user_id: user(), correlation_id: correlation() }, NOW,
    [Voided, Succeeded, Declined, TimedOut, Voided, Refunding, Refunded]
)]
#[case::partly_refunded(PaymentInput::Refunded { amount: 4199 }, NOW, ALL)]
#[case::time_up(PaymentInput::DeadlineExpired, DEADLINE, [TimedOut, Succeeded, Declined, TimedOut, Voided, Refunding, Refunded])]
#[case::refunded(PaymentInput::Refunded { amount: 4200 }, NOW, [Pending, Refunded, Declined, TimedOut, Voided, Refunded, Refunded])]
#[case::repeated_charge(charge_requested(4200, "t2"), NOW, ALL)]
#[case::another_intent(PaymentInput::IntentCreated { id: "pi_2".to_owned() }, NOW, ALL)]
#[case::refused(PaymentInput::IntentRefused { code: "x".to_owned() }, NOW, ALL)]
#[case::of_another_intent(
    PaymentInput::IntentObserved { intent_id: "pi_2".to_owned(), state: IntentState::Succeeded }, NOW, ALL
)]
fn every_fact_moves_every_status_as_the_table_says(
    #[case] input: PaymentInput,
    #[case] seconds: i64,
    #[case] expected: [Status; 7],
) {
    for (before, expected) in ALL.into_iter().zip(expected) {
        assert_eq!(after(&payment(before), &input, seconds).0.status, expected, "{input:?} on {before:?}");
    }
}

#[rstest]
#[case::paid(observed(IntentState::Succeeded), Some("payment.succeeded"))]
#[case::declined(observed(declined()), Some("payment.failed"))]
#[case::timed_out(PaymentInput::DeadlineExpired, Some("payment.failed"))]
#[case::undone(undo(), Some("payment.failed"))]
#[case::waiting(observed(requires_action()), Some("payment.pending"))]
#[case::with_the_bank(observed(IntentState::Processing), Some("payment.pending"))]
#[case::repeated_charge(charge_requested(4200, "t2"), None)]
fn each_end_of_a_pending_payment_publishes_its_event(
    #[case] input: PaymentInput,
    #[case] event: Option<&str>,
) {
    assert_eq!(after(&payment(Pending), &input, NOW).1.as_deref(), event);
}

#[rstest]
#[case(requires_action(), WaitsFor::Customer)]
#[case(IntentState::Processing, WaitsFor::Bank)]
fn a_payment_that_waits_says_for_whom(#[case] state: IntentState, #[case] waits_for: WaitsFor) {
    let change = decide(&order(), Some(&payment(Pending)), &observed(state), at(NOW)).unwrap().unwrap();
    let event: PaymentPending = change.event.unwrap().decode().unwrap();
    assert_eq!(event.waits_for, waits_for);
}

/// The saga's error names, and the answers, by status.
#[rstest]
#[case(Pending, None)]
#[case(Succeeded, Some("paid"))]
#[case(Declined, Some("PaymentDeclined"))]
#[case(TimedOut, Some("PaymentTimeout"))]
#[case(Voided, Some("OrderCancelRequested"))]
#[case(Refunding, Some("OrderCancelRequested"))]
#[case(Refunded, Some("OrderCancelRequested"))]
fn the_result_has_the_names_of_the_contract(#[case] status: Status, #[case] expected: Option<&str>) {
    let step_result = payment(status).step_result().map(|step_result| match step_result {
        StepResult::Paid => "paid",
        StepResult::NotPaid { error, .. } => error,
    });
    assert_eq!(step_result, expected);
}

#[rstest]
#[case(Voided, true, None)]
#[case(Voided, false, Some(UndoOutcome::Voided))]
#[case(Declined, true, None)]
#[case(Declined, false, Some(UndoOutcome::NothingTaken))]
#[case(TimedOut, true, None)]
#[case(TimedOut, false, Some(UndoOutcome::NothingTaken))]
#[case(Refunding, false, None)]
#[case(Refunded, false, Some(UndoOutcome::Refunded))]
fn an_undo_has_ended_only_when_no_money_can_be_taken_any_more(
    #[case] status: Status,
    #[case] open: bool,
    #[case] outcome: Option<UndoOutcome>,
) {
    let intent = Some(Intent { id: INTENT.to_owned(), open });
    assert_eq!(Payment { intent, ..payment(status) }.undo_outcome(), outcome);
}

#[test]
fn what_a_lost_dispute_took_is_not_owed_again_because_a_refund_failed() {
    let lost =
        Dispute { id: "dp_1".into(), amount: 4200, reason: "fraudulent".into(), status: "lost".into() };
    let failed = FailedRefund { id: "re_1".into(), amount: 1, reason: "unknown".into() };
    let (disputed, _) = after(&payment(Succeeded), &PaymentInput::Disputed(lost), NOW);
    let (failed, _) = after(&disputed, &PaymentInput::RefundFailed(failed), NOW);
    let (undone, _) = after(&failed, &undo(), NOW);
    assert_eq!((undone.status, undone.returned), (Refunded, 0));
    assert_eq!(after(&undone, &undo(), NOW).0, undone, "a repeat changes nothing");
}

/// The refund of a cancelled order, returned by the customer's bank.
fn refund_returned() -> Payment {
    let back =
        Payment { refunded: 4200, refund_cause: Some(RefundCause::OrderCancelled), ..payment(Refunded) };
    let failed = FailedRefund { id: "re_1".into(), amount: 4200, reason: "unknown".into() };
    after(&back, &PaymentInput::RefundFailed(failed), NOW).0
}

#[test]
fn what_came_back_and_was_paid_in_another_way_is_with_the_customer_and_not_at_the_gateway() {
    let owed = refund_returned();
    assert_eq!((owed.status, owed.returned), (RefundFailed, 4200));
    let (paid, event) = after(&owed, &settled(), NOW);
    assert_eq!((paid.status, paid.returned, paid.refunded, paid.total_refunded()), (Refunded, 0, 0, 4200));
    let settlement = Settlement { amount: 4200, at: NOW, by: "alice".into(), note: "bank transfer".into() };
    assert_eq!(paid.settlements, [settlement]);
    assert_eq!(event.as_deref(), Some("payment.refunded"));
    assert_eq!(after(&paid, &settled(), NOW).0, paid, "a repeat changes nothing");
    assert_eq!(
        (after(&paid, &undo(), NOW).0, paid.undo_outcome()),
        (paid.clone(), Some(UndoOutcome::Refunded))
    );
}

/// A person tried the refund again first, and the gateway refused.
#[test]
fn a_refund_that_is_tried_again_stops_when_its_money_was_paid_in_another_way() {
    let (tried, _) = after(&refund_returned(), &undo(), NOW);
    assert!(matches!(tried.pending_action(at(NOW).now), PendingAction::Refund { .. }));
    let (paid, _) = after(&tried, &settled(), NOW);
    assert_eq!((paid.status, paid.pending_action(at(NOW).now)), (Refunded, PendingAction::None));
}

#[test]
fn a_part_that_was_paid_in_another_way_is_not_refunded_a_second_time() {
    let part = Payment { refunded: 1200, ..payment(Succeeded) };
    let failed = FailedRefund { id: "re_1".into(), amount: 1200, reason: "unknown".into() };
    let (paid, _) = after(&after(&part, &PaymentInput::RefundFailed(failed), NOW).0, &settled(), NOW);
    assert_eq!(paid.status, Succeeded);
    let (undone, _) = after(&paid, &undo(), NOW);
    assert_eq!(
        (undone.status, undone.pending_action(at(NOW).now)),
        (Refunding, PendingAction::None),
        "the gateway has all of it"
    );
    let (rest, _) = after(&undone, &PaymentInput::Refunded { amount: 3000 }, NOW);
    assert_eq!(rest.status, Refunded);
}

#[rstest]
#[case::of_a_part(2000, Succeeded, true)]
#[case::of_everything(4200, Refunded, false)]
fn an_order_stays_paid_when_a_refund_that_staff_made_of_a_part_has_failed(
    #[case] refunded: i64,
    #[case] status: Status,
    #[case] is_paid: bool,
) {
    let before = Payment { refunded, ..payment(status) };
    let failed = FailedRefund { id: "re_1".into(), amount: 1200, reason: "unknown".into() };
    let (payment, _) = after(&before, &PaymentInput::RefundFailed(failed), NOW);
    assert_eq!((payment.status, payment.returned), (RefundFailed, 1200));
    assert_eq!(payment.step_result() == Some(StepResult::Paid), is_paid, "{:?}", payment.step_result());
}

#[test]
fn what_was_settled_is_not_owed_again_when_a_later_refund_fails() {
    let settlements = vec![Settlement { amount: 1200, at: NOW, by: "alice".into(), note: String::new() }];
    let before = Payment { refunded: 4200, settlements, ..payment(Refunded) };
    let failed = FailedRefund { id: "re_2".into(), amount: 4200, reason: "unknown".into() };
    let (owed, _) = after(&before, &PaymentInput::RefundFailed(failed), NOW);
    assert_eq!((owed.status, owed.returned), (RefundFailed, 3000));
}

#[test]
fn nothing_is_settled_while_nothing_has_come_back() {
    for status in [Pending, Succeeded, Declined, TimedOut, Voided, Refunding, Refunded] {
        let known = payment(status);
        assert_eq!(after(&known, &settled(), NOW).0, known);
    }
    assert!(matches!(decide(&order(), None, &settled(), at(NOW)), Err(Rejected::NoPayment)));
}

#[test]
fn checks_become_rarer_and_do_not_miss_the_deadline() {
    let seconds = |payment: &Payment, attempt, now| {
        payment.next_poll_delay(attempt, SignedDuration::ZERO, at(now).now, |ceiling| ceiling).as_secs()
    };
    let pending = payment(Pending);
    let waits: Vec<i64> = (0..6).map(|attempt| seconds(&pending, attempt, NOW)).collect();
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    assert_eq!(seconds(&pending, 9, DEADLINE - 7), 7);
    assert_eq!(seconds(&pending, 9, DEADLINE + 7), 1);
    assert_eq!(seconds(&payment(Refunding), u32::MAX, DEADLINE), 900, "SQS takes no longer delay");
}

#[test]
fn a_delay_is_drawn_from_the_time_up_to_its_ceiling_and_not_before_what_the_gateway_needs() {
    let min_delay = SignedDuration::from_secs(30);
    let pending = payment(Pending);
    let delay = |drawn: i64| {
        pending.next_poll_delay(2, min_delay, at(NOW).now, |ceiling| drawn.min(ceiling)).as_secs()
    };
    assert_eq!((delay(1), delay(13), delay(99)), (31, 43, 50));
    let long = SignedDuration::from_hours(1);
    assert_eq!(payment(Refunding).next_poll_delay(0, long, at(NOW).now, |ceiling| ceiling).as_secs(), 900);
}

#[test]
fn facts_about_a_payment_that_there_is_not_are_refused() {
    for input in [
        observed(IntentState::Succeeded),
        PaymentInput::DeadlineExpired,
        PaymentInput::Refunded { amount: 4200 },
    ] {
        assert!(matches!(decide(&order(), None, &input, at(NOW)), Err(Rejected::NoPayment)));
    }
}

#[test]
fn nothing_secret_is_shown() {
    let mut payment = payment(Pending);
    payment.waiting = Some(Waiting::Customer(NextAction {
        kind: "sdk".to_owned(),
        payment_intent: INTENT.to_owned(),
        client_secret: Some(Secret::new("client-secret")),
    }));
    let shown = format!("{payment:?} {:?}", charge_requested(1, "a-token"));
    assert!(
        !shown.contains("t1") && !shown.contains("a-token") && !shown.contains("client-secret"),
        "{shown}"
    );
}

fn any_state() -> impl Strategy<Value = IntentState> {
    prop_oneof![
        Just(IntentState::Unconfirmed),
        Just(IntentState::Processing),
        Just(requires_action()),
        Just(declined()),
        Just(IntentState::Canceled),
        Just(IntentState::Succeeded),
    ]
}

fn any_input() -> impl Strategy<Value = PaymentInput> {
    prop_oneof![
        4 => any_state().prop_map(observed),
        1 => (0..4_u8).prop_map(|n| charge_requested(4200, &format!("t{n}"))),
        1 => (1..3_u8).prop_map(|n| PaymentInput::IntentCreated { id: format!("pi_{n}") }),
        1 => Just(PaymentInput::IntentRefused { code: "no".to_owned() }),
        1 => Just(PaymentInput::DeadlineExpired),
        1 => Just(undo()),
        1 => Just(PaymentInput::CancelRequested { user_id: user(), correlation_id: correlation() }),
        1 => prop::sample::select(vec!["needs_response", "lost", "won"]).prop_map(|status| {
            PaymentInput::Disputed(Dispute { id: "dp_1".into(), amount: 4200, reason: "fraudulent".into(), status: status.into() })
        }),
        1 => (1..=6000_i64).prop_map(|amount| PaymentInput::Refunded { amount }),
        1 => (0..3_u8, 1..=6000_i64).prop_map(|(n, amount)| {
            PaymentInput::RefundFailed(FailedRefund { id: format!("re_{n}"), amount, reason: "unknown".into() })
        }),
        1 => Just(settled()),
        1 => Just(PaymentInput::IdempotencyKeyExhausted { operation: Operation::Refund, n: 1 }),
    ]
}

proptest! {
    #[test]
    fn after_any_inputs_in_any_order_no_money_is_kept_on_an_order_that_is_not_paid(
        inputs in proptest::collection::vec((any_input(), 0..1800_i64), 0..24)
    ) {
        let requested = decide(&order(), None, &charge_requested(4200, "t"), at(NOW)).unwrap().unwrap().payment;
        let mut payment = requested;
        let (mut taken, mut undone, mut published_refunds) = (false, false, 0);
        let mut events = Vec::new();
        let mut sent: Option<StepResult> = None;
        for (input, later) in inputs {
            let intent = payment.intent.as_ref().map(|intent| intent.id.clone());
            taken |= input == observed(IntentState::Succeeded) && intent.as_deref() == Some(INTENT);
            undone |= matches!(input, PaymentInput::UndoRequested { .. });
            let before = payment.clone();
            let change = decide(&order(), Some(&payment), &input, at(NOW + later)).unwrap();
            let event = change.as_ref().and_then(|change| change.event.clone());
            let after = change.map_or_else(|| payment.clone(), |change| change.payment);
            if let Some(event) = event.as_ref().filter(|event| event.event_type == "payment.refunded") {
                published_refunds += event.decode::<PaymentRefunded>().unwrap().amount.amount;
            }
            if let Some(event) = event.as_ref().filter(|event| event.event_type == "payment.refund_failed") {
                published_refunds = event.decode::<PaymentRefundFailed>().unwrap().refunded.amount;
            }
            prop_assert_eq!(after.version, before.version + u64::from(after != before));
            // A repeat changes nothing.
            let again = decide(&order(), Some(&after), &input, at(NOW + later)).unwrap();
            prop_assert!(again.is_none() || matches!(input, PaymentInput::IdempotencyKeyExhausted { .. }), "{:?}", input);
            events.extend(event.map(|event| event.event_type));
            payment = after;

            // Money on a payment that does not count is on its way back, or back.
            let total_refunded = matches!(payment.status, Refunding | Refunded | RefundFailed);
            prop_assert!(!taken || payment.status == Succeeded || total_refunded);
            prop_assert!(!(taken && undone) || total_refunded);
            prop_assert!(!undone || !matches!(payment.status, Pending | Succeeded));
            // One that failed without money still has its intent closed.
            if matches!(payment.status, Declined | TimedOut | Voided) && payment.open_intent().is_some() {
                let closes = matches!(payment.pending_action(at(NOW).now), PendingAction::CancelIntent { .. });
                prop_assert!(closes);
            }
            // The result never changes once it is sent, except that a paid order can be undone.
            let step_result = payment.step_result();
            match (&sent, &step_result) {
                (Some(StepResult::NotPaid { .. }), step_result) => {
                    let still_not = matches!(step_result, Some(StepResult::NotPaid { .. }));
                    prop_assert!(still_not);
                }
                (Some(StepResult::Paid), Some(StepResult::NotPaid { error, .. })) => {
                    prop_assert_eq!(*error, ORDER_CANCEL_REQUESTED);
                }
                (Some(_), None) => prop_assert!(false, "a result changed after it was sent"),
                _ => {}
            }
            sent = step_result;
        }
        let count = |kind: &str| events.iter().filter(|event| event.as_str() == kind).count();
        prop_assert!(count("payment.succeeded") + count("payment.failed") <= 1, "{:?}", events);
        prop_assert!(payment.refunded <= 4200, "more has gone back at the gateway than was taken");
        prop_assert_eq!(published_refunds, payment.total_refunded());
    }
}
