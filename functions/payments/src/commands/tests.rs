use contracts::saga::{UndoOutcome, Undone};
use futures::future::join;
use jiff::Timestamp;
use rstest::rstest;
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::*;
use crate::{
    domain::{IntentState, Operation, Waiting},
    testing::{DEADLINE, Fault, Fixture},
};

mod breaker;
mod misuse;
mod paused;
mod repeats;
mod stale;

fn paid(token: &str) -> (String, Option<String>) {
    (token.to_owned(), None)
}

fn failed(token: &str, error: &str) -> (String, Option<String>) {
    (token.to_owned(), Some(error.to_owned()))
}

fn undone(outcome: UndoOutcome) -> Undone {
    Undone { outcome }
}

impl Fixture {
    async fn observe(&self, state: IntentState) {
        let observed = PaymentInput::IntentObserved { intent_id: "pi_1".to_owned(), state };
        let known = Some(self.payment().await);
        crate::handler::record(
            &self.payments.recorder.store,
            &self.order,
            known,
            &observed,
            self.event_context(),
        )
        .await
        .unwrap();
    }

    async fn last_event_type(&self) -> Option<String> {
        self.last_event().await.map(|event| event.event_type)
    }
}

#[tokio::test]
async fn a_good_card_is_charged_once_and_the_step_gets_the_result() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();

    assert_eq!(fixture.stripe.calls(), ["create create.1", "confirm confirm.1"]);
    assert_eq!(fixture.stripe.keys()[0], format!("{}.create.1", fixture.order));
    assert_eq!(
        fixture.stripe.forms(),
        [format!(
            "amount=4200&currency=usd&payment_method=pm_card_visa&payment_method_types%5B%5D=card\
             &metadata%5Border_id%5D={}",
            fixture.order
        )]
    );
    assert_eq!(fixture.stripe.money_held(), 4200);
    let sent = fixture.aws.sent_results();
    assert_eq!(fixture.aws.results(), [paid("t1")]);
    let output: serde_json::Value = serde_json::from_str(sent[0].body["output"].as_str().unwrap()).unwrap();
    assert_eq!(output, json!({"status": "succeeded", "order_id": fixture.order}));
    let event = fixture.last_event().await.unwrap();
    assert_eq!(
        (event.event_type.as_str(), event.subject.as_str()),
        ("payment.succeeded", fixture.order.as_str())
    );
    assert_eq!(event.sequence, fixture.payment().await.version);
    assert_eq!(event.data["amount"], json!({"amount": 4200, "currency": "USD"}));
    assert_eq!(fixture.aws.sent(), [], "nothing is left to check");
}

#[tokio::test]
async fn a_repeated_message_charges_nothing_more_and_answers_both_tokens() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.take("pm_card_visa", "t2").await.unwrap();

    assert_eq!(fixture.stripe.calls().len(), 2);
    assert_eq!(fixture.aws.results()[0], paid("t1"));
    let mut again = fixture.aws.results()[1..].to_vec();
    again.sort();
    assert_eq!(again, [paid("t1"), paid("t2")]);
}

#[tokio::test]
async fn two_messages_at_the_same_moment_charge_once_and_answer_both_tokens() {
    let fixture = Fixture::new().await;
    let (one, two) = join(fixture.take("pm_card_visa", "t1"), fixture.take("pm_card_visa", "t2")).await;
    one.and(two).unwrap();

    assert_eq!(fixture.stripe.money_held(), 4200);
    for token in ["t1", "t2"] {
        assert!(fixture.aws.results().contains(&paid(token)), "{token} was not answered");
    }
    assert!(fixture.aws.results().iter().all(|(_, error)| error.is_none()));
}

#[rstest]
#[case::timed_out(400, "TaskTimedOut")]
#[case::gone(400, "TaskDoesNotExist")]
#[case::ended(400, "InvalidToken")]
#[tokio::test]
async fn a_token_whose_step_has_ended_is_ignored(#[case] status: u16, #[case] error: &str) {
    let fixture = Fixture::new().await;
    fixture.aws.refuse("t1", status, error);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.take("pm_card_visa", "t2").await.unwrap();
    assert!(fixture.aws.results().contains(&paid("t2")));
}

#[tokio::test]
async fn a_result_that_could_not_be_sent_is_sent_by_the_next_try() {
    let fixture = Fixture::new().await;
    fixture.aws.refuse("t1", 400, "AccessDeniedException");
    assert!(matches!(
        fixture.take("pm_card_visa", "t1").await,
        Err(PaymentsError::Recorder(RecorderError::TaskToken(_)))
    ));
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!(fixture.aws.results(), [paid("t1")]);
    assert_eq!(fixture.stripe.money_held(), 4200);
}

#[tokio::test]
async fn an_order_that_costs_nothing_does_not_go_to_the_gateway_and_there_is_nothing_to_give_back() {
    let fixture = Fixture::new().await;
    let mut free = fixture.take_of("pm_card_visa", "t1");
    free.amount.amount = 0;
    fixture.payments.take(free, fixture.at(0)).await.unwrap();
    assert_eq!(fixture.aws.results(), [paid("t1")]);
    assert_eq!(fixture.last_event_type().await.as_deref(), Some("payment.succeeded"));
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
    assert_eq!(fixture.stripe.calls(), [""; 0]);
}

#[tokio::test]
async fn a_declined_card_fails_the_step_and_its_intent_is_closed() {
    let fixture = Fixture::new().await;
    fixture.take("pm_declined", "t1").await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "PaymentDeclined")]);
    assert_eq!(fixture.aws.sent_results()[0].body["cause"], "card_declined");
    assert_eq!(fixture.stripe.open(), 0);
    assert_eq!(fixture.status().await, Status::Declined);
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn a_payment_method_that_does_not_exist_is_declined() {
    let fixture = Fixture::new().await;
    fixture.take("pm_nonsense", "t1").await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "PaymentDeclined")]);
    let event = fixture.last_event().await.unwrap();
    assert_eq!((event.event_type.as_str(), &event.data["reason"]), ("payment.failed", &json!("declined")));
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn a_payment_that_needs_the_customer_waits_and_a_check_finds_it_paid_without_a_webhook() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    let Some(Waiting::Customer(action)) = fixture.payment().await.waiting else {
        panic!("it does not wait for the customer")
    };
    assert_eq!(action.kind, "use_stripe_sdk");
    assert_eq!(action.client_secret.unwrap().expose(), "pi_1_secret_of_the_customer");
    assert_eq!(fixture.last_event_type().await.as_deref(), Some("payment.pending"));
    assert_eq!(fixture.aws.results(), []);
    let check = json!({
        "action": "CheckPayment", "order_id": fixture.order, "correlation_id": "cor_test", "looks": 1
    });
    let [(sent, delay)] = &fixture.aws.sent()[..] else { panic!("one check") };
    assert_eq!(sent, &check);
    assert!((1..=5).contains(delay), "{delay}");

    fixture.check_at(5).await.unwrap();
    assert_eq!(
        fixture.last_event_type().await.as_deref(),
        Some("payment.pending"),
        "and that was published once"
    );
    assert_eq!(fixture.payment().await.version, 3);

    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.check_at(15).await.unwrap();
    assert_eq!(fixture.aws.results(), [paid("t1")]);
    assert_eq!(fixture.payment().await.waiting, None);
    assert_eq!(fixture.aws.sent().len(), 2, "nothing is checked any more");
}

#[tokio::test]
async fn past_the_deadline_the_intent_is_closed_and_the_step_times_out() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.check_at(DEADLINE).await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "PaymentTimeout")]);
    let event = fixture.last_event().await.unwrap();
    assert_eq!((event.event_type.as_str(), &event.data["reason"]), ("payment.failed", &json!("timed_out")));
    assert_eq!(fixture.stripe.open(), 0);
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn past_the_deadline_money_that_was_taken_after_all_wins() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.check_at(DEADLINE).await.unwrap();
    assert_eq!(fixture.aws.results(), [paid("t1")]);
    assert_eq!(fixture.stripe.money_held(), 4200);
}

#[tokio::test]
async fn past_the_deadline_a_gateway_that_is_away_does_not_hold_the_order_up_and_late_money_goes_back() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.fail("cancel", &[Fault::Unreachable]);
    fixture.check_at(DEADLINE).await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "PaymentTimeout")]);
    assert_eq!(fixture.aws.sent().len(), 2, "the intent is still to be closed");

    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.check_at(DEADLINE + 5).await.unwrap();
    assert_eq!(fixture.status().await, Status::Refunded);
    assert_eq!(fixture.stripe.money_held(), 0);
    assert_eq!(fixture.last_event_type().await.as_deref(), Some("payment.refunded"));
}

#[tokio::test]
async fn a_bank_that_has_not_decided_by_the_deadline_is_watched_on() {
    let fixture = Fixture::new().await;
    fixture.take("pm_slow", "t1").await.unwrap();
    assert_eq!(fixture.payment().await.waiting, Some(Waiting::Bank));
    fixture.check_at(DEADLINE).await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "PaymentTimeout")]);
    assert!(matches!(fixture.undo().await, Err(PaymentsError::StillPending)), "the money may still come");
    fixture.stripe.set_status("pi_1", "succeeded");
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(fixture.stripe.money_held(), 0);
}

#[rstest]
#[case::creating("create")]
#[case::confirming("confirm")]
#[tokio::test]
async fn a_gateway_that_does_not_answer_is_called_again_later_with_the_same_key(
    #[case] operation: &str,
    #[values(Fault::Unreachable, Fault::LostAnswer, Fault::Busy)] fault: Fault,
) {
    let fixture = Fixture::new().await;
    fixture.stripe.fail(operation, &[fault]);
    fixture.take("pm_card_visa", "t1").await.expect("the message itself is done");
    assert_eq!(fixture.aws.results(), []);
    assert!((1..=5).contains(&fixture.aws.sent()[0].1));

    fixture.check_at(5).await.unwrap();
    assert_eq!(fixture.aws.results(), [paid("t1")]);
    assert_eq!(fixture.stripe.money_held(), 4200);
    assert!(fixture.stripe.keys().iter().all(|key| key.ends_with(".1")));
}

#[rstest]
#[case::it_had_happened(Fault::FailedAfter, 1)]
#[case::it_had_not_happened(Fault::FailedBefore, 2)]
#[tokio::test]
async fn after_a_5xx_the_intent_is_read_and_only_if_nothing_happened_is_the_key_raised(
    #[case] fault: Fault,
    #[case] n: u32,
) {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("confirm", &[fault]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!(fixture.stripe.calls(), ["create create.1", "confirm confirm.1", "retrieve"]);
    assert_eq!(fixture.payment().await.attempts.of(Operation::Confirm), n);

    fixture.check_at(5).await.unwrap();
    assert_eq!(fixture.aws.results().last(), Some(&paid("t1")));
    assert_eq!(fixture.stripe.money_held(), 4200);
    assert_eq!(fixture.stripe.calls().iter().any(|call| call == "confirm confirm.2"), n == 2);
}

#[rstest]
#[case(Fault::FailedAfter)]
#[case(Fault::FailedBefore)]
#[tokio::test]
async fn an_intent_that_could_not_be_made_is_made_with_the_next_key(#[case] fault: Fault) {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("create", &[fault]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.check_at(5).await.unwrap();
    assert_eq!(fixture.stripe.calls(), ["create create.1", "create create.2", "confirm confirm.1"]);
    assert_eq!(fixture.stripe.money_held(), 4200);
    assert_eq!(fixture.aws.results(), [paid("t1")]);
}

#[rstest]
#[case::it_had_happened(Fault::FailedAfter, &["refund refund.1", "retrieve"])]
#[case::it_had_not_happened(Fault::FailedBefore, &["refund refund.1", "retrieve", "refund refund.2"])]
#[case::the_bank_refused(Fault::RefundFails, &["refund refund.1", "retrieve", "refund refund.2"])]
#[case::no_answer(Fault::Unreachable, &["refund refund.1", "refund refund.1"])]
#[case::the_answer_was_lost(Fault::LostAnswer, &["refund refund.1", "refund refund.1"])]
#[tokio::test]
async fn a_refund_is_made_once_whatever_the_gateway_answers(#[case] fault: Fault, #[case] calls: &[&str]) {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.stripe.fail("refund", &[fault]);
    let first = fixture.undo().await;
    assert_eq!(first.is_ok(), fault == Fault::FailedAfter, "{first:?}");
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(fixture.stripe.calls()[2..], *calls);
    assert_eq!(fixture.stripe.money_held(), 0);
    assert_eq!(fixture.last_event_type().await.as_deref(), Some("payment.refunded"));
}

#[tokio::test]
async fn a_refund_that_was_made_in_the_dashboard_is_found_out() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    let payment = fixture.payment().await;
    fixture.payments.gateway.refund(&payment, "pi_1", crate::testing::CALL).await.unwrap();
    let known = Some(payment);
    let spent = PaymentInput::IdempotencyKeyExhausted { operation: Operation::Refund, n: 1 };
    crate::handler::record(
        &fixture.payments.recorder.store,
        &fixture.order,
        known,
        &spent,
        fixture.event_context(),
    )
    .await
    .unwrap();

    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(fixture.stripe.calls()[2..], ["refund refund.1", "refund refund.2", "retrieve"]);
}

#[tokio::test]
async fn an_undo_that_is_repeated_says_the_same_and_does_nothing_more() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    let calls = fixture.stripe.calls();
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(fixture.stripe.calls(), calls);
}

#[tokio::test]
async fn an_undo_before_the_do_leaves_its_mark_and_the_do_refuses() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "OrderCancelRequested")]);
    assert_eq!(fixture.stripe.calls(), [""; 0]);
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn an_undo_of_a_waiting_payment_closes_its_intent_and_frees_who_waits() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Voided));
    assert_eq!(fixture.aws.results(), [failed("t1", "OrderCancelRequested")]);
    assert_eq!(fixture.stripe.open(), 0);
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Voided));
}

#[tokio::test]
async fn an_undo_that_meets_money_when_it_closes_the_intent_gives_it_back() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.set_status("pi_1", "succeeded");
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(fixture.stripe.money_held(), 0);
    assert_eq!(fixture.aws.results().first(), Some(&failed("t1", "OrderCancelRequested")));
}

#[tokio::test]
async fn an_undo_while_the_gateway_is_away_is_tried_again_and_nothing_is_taken_meanwhile() {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("confirm", &[Fault::Unreachable]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.stripe.fail("cancel", &[Fault::Unreachable]);
    assert!(matches!(fixture.undo().await, Err(PaymentsError::Gateway(_))));
    fixture.check_at(5).await.unwrap();
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Voided));
    assert_eq!((fixture.stripe.money_held(), fixture.stripe.open()), (0, 0));
}

#[tokio::test]
async fn an_intent_made_while_the_order_was_undone_is_cancelled_and_never_confirmed() {
    let fixture = Fixture::new().await;
    // The intent is made, its answer is lost, and the order is undone before the next try.
    fixture.stripe.fail("create", &[Fault::LostAnswer]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    let stale = fixture.payment().await;
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
    let context = fixture.event_context();
    fixture.payments.run_pending(stale, context, fixture.at(5)).await.unwrap();
    assert_eq!(fixture.stripe.calls(), ["create create.1", "create create.1", "cancel"]);
    assert_eq!((fixture.stripe.money_held(), fixture.stripe.open()), (0, 0));
    assert_eq!(fixture.payment().await.intent, None);
}

#[tokio::test]
async fn a_worker_with_a_payment_from_before_the_undo_cannot_take_money() {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("confirm", &[Fault::Unreachable]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    let stale = fixture.payment().await;
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Voided));
    fixture.payments.run_pending(stale, fixture.event_context(), fixture.at(5)).await.unwrap();
    assert_eq!(fixture.status().await, Status::Voided);
    assert_eq!((fixture.stripe.money_held(), fixture.stripe.open()), (0, 0));
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Voided));
}

#[tokio::test]
async fn late_money_on_an_undone_payment_goes_back_by_itself() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.fail("cancel", &[Fault::Unreachable]);
    assert!(fixture.undo().await.is_err());
    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.observe(IntentState::Succeeded).await;
    assert_eq!(fixture.status().await, Status::Refunding);
    fixture.check_at(10).await.unwrap();
    assert_eq!(fixture.status().await, Status::Refunded);
    assert_eq!(fixture.stripe.money_held(), 0);
}

#[tokio::test]
async fn no_call_is_begun_that_the_invocation_has_no_time_for() {
    let fixture = Fixture::new().await;
    let mut short = fixture.at(0);
    short.ends = Instant::now() + Duration::from_secs(5);
    fixture.payments.take(fixture.take_of("pm_card_visa", "t1"), short).await.unwrap();
    assert_eq!(fixture.stripe.calls(), [""; 0]);
    assert_eq!(fixture.aws.sent().len(), 1);
}

#[tokio::test]
async fn a_check_that_cannot_be_queued_brings_the_message_back() {
    let fixture = Fixture::new().await;
    fixture.aws.break_queue();
    assert!(matches!(
        fixture.take("pm_3ds", "t1").await,
        Err(PaymentsError::Recorder(RecorderError::Queue(_)))
    ));
}

#[tokio::test]
async fn a_key_that_was_replaced_is_read_again() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.accept_only("sk_test_new");
    fixture.aws.set_secret(json!({"api_key": "sk_test_new", "webhook_secrets": []}));
    let known = fixture.secrets.get(fixture.start).await.unwrap();
    let later = fixture.start + jiff::SignedDuration::from_secs(120);
    let newer = fixture.secrets.get_after(&known, later).await.unwrap().unwrap();
    assert_eq!(newer.api_key.expose(), "sk_test_new");
    assert!(fixture.secrets.get_after(&newer, later).await.unwrap().is_none(), "not twice in a minute");
    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.check_at(5).await.unwrap();
    assert_eq!(fixture.aws.results(), [paid("t1")]);
    assert_eq!(fixture.aws.secret_reads(), 2);
}

#[tokio::test]
async fn a_wrong_key_is_waited_out_like_a_gateway_that_is_away() {
    let fixture = Fixture::new().await;
    fixture.stripe.accept_only("another");
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!((fixture.aws.sent().len(), fixture.aws.results().len()), (1, 0));
    fixture.check_at(DEADLINE).await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "PaymentTimeout")]);
}
