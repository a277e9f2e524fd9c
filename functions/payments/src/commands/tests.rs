use contracts::saga::{UndoOutcome, Undone};
use futures::future::join;
use jiff::Timestamp;
use rstest::rstest;
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::*;
use crate::{
    domain::{IntentState, Operation, Waiting},
    testing::{DEADLINE, Fault, Lab},
};

mod breaker;
mod misuse;
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

impl Lab {
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
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t1").await.unwrap();

    assert_eq!(lab.stripe.calls(), ["create create.1", "confirm confirm.1"]);
    assert_eq!(lab.stripe.keys()[0], format!("{}.create.1", lab.order));
    assert_eq!(
        lab.stripe.forms(),
        [format!(
            "amount=4200&currency=usd&payment_method=pm_card_visa&payment_method_types%5B%5D=card\
             &metadata%5Border_id%5D={}",
            lab.order
        )]
    );
    assert_eq!(lab.stripe.money_held(), 4200);
    let sent = lab.aws.sent_results();
    assert_eq!(lab.aws.results(), [paid("t1")]);
    let output: serde_json::Value = serde_json::from_str(sent[0].body["output"].as_str().unwrap()).unwrap();
    assert_eq!(output, json!({"status": "succeeded", "order_id": lab.order}));
    let event = lab.last_event().await.unwrap();
    assert_eq!(
        (event.event_type.as_str(), event.subject.as_str()),
        ("payment.succeeded", lab.order.as_str())
    );
    assert_eq!(event.sequence, lab.payment().await.version);
    assert_eq!(event.data["amount"], json!({"amount": 4200, "currency": "USD"}));
    assert_eq!(lab.aws.sent(), [], "nothing is left to check");
}

#[tokio::test]
async fn a_repeated_message_charges_nothing_more_and_answers_both_tokens() {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t1").await.unwrap();
    lab.take("pm_card_visa", "t2").await.unwrap();

    assert_eq!(lab.stripe.calls().len(), 2);
    assert_eq!(lab.aws.results()[0], paid("t1"));
    let mut again = lab.aws.results()[1..].to_vec();
    again.sort();
    assert_eq!(again, [paid("t1"), paid("t2")]);
}

#[tokio::test]
async fn two_messages_at_the_same_moment_charge_once_and_answer_both_tokens() {
    let lab = Lab::new().await;
    let (one, two) = join(lab.take("pm_card_visa", "t1"), lab.take("pm_card_visa", "t2")).await;
    one.and(two).unwrap();

    assert_eq!(lab.stripe.money_held(), 4200);
    for token in ["t1", "t2"] {
        assert!(lab.aws.results().contains(&paid(token)), "{token} was not answered");
    }
    assert!(lab.aws.results().iter().all(|(_, error)| error.is_none()));
}

#[rstest]
#[case::timed_out(400, "TaskTimedOut")]
#[case::gone(400, "TaskDoesNotExist")]
#[case::ended(400, "InvalidToken")]
#[tokio::test]
async fn a_token_whose_step_has_ended_is_ignored(#[case] status: u16, #[case] error: &str) {
    let lab = Lab::new().await;
    lab.aws.refuse("t1", status, error);
    lab.take("pm_card_visa", "t1").await.unwrap();
    lab.take("pm_card_visa", "t2").await.unwrap();
    assert!(lab.aws.results().contains(&paid("t2")));
}

#[tokio::test]
async fn a_result_that_could_not_be_sent_is_sent_by_the_next_try() {
    let lab = Lab::new().await;
    lab.aws.refuse("t1", 400, "AccessDeniedException");
    assert!(matches!(
        lab.take("pm_card_visa", "t1").await,
        Err(PaymentsError::Recorder(RecorderError::TaskToken(_)))
    ));
    lab.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!(lab.aws.results(), [paid("t1")]);
    assert_eq!(lab.stripe.money_held(), 4200);
}

#[tokio::test]
async fn an_order_that_costs_nothing_does_not_go_to_the_gateway_and_there_is_nothing_to_give_back() {
    let lab = Lab::new().await;
    let mut free = lab.take_of("pm_card_visa", "t1");
    free.amount.amount = 0;
    lab.payments.take(free, lab.at(0)).await.unwrap();
    assert_eq!(lab.aws.results(), [paid("t1")]);
    assert_eq!(lab.last_event_type().await.as_deref(), Some("payment.succeeded"));
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
    assert_eq!(lab.stripe.calls(), [""; 0]);
}

#[tokio::test]
async fn a_declined_card_fails_the_step_and_its_intent_is_closed() {
    let lab = Lab::new().await;
    lab.take("pm_declined", "t1").await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentDeclined")]);
    assert_eq!(lab.aws.sent_results()[0].body["cause"], "card_declined");
    assert_eq!(lab.stripe.open(), 0);
    assert_eq!(lab.status().await, Status::Declined);
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn a_payment_method_that_does_not_exist_is_declined() {
    let lab = Lab::new().await;
    lab.take("pm_nonsense", "t1").await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentDeclined")]);
    let event = lab.last_event().await.unwrap();
    assert_eq!((event.event_type.as_str(), &event.data["reason"]), ("payment.failed", &json!("declined")));
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn a_payment_that_needs_the_customer_waits_and_a_check_finds_it_paid_without_a_webhook() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    let Some(Waiting::Customer(action)) = lab.payment().await.waiting else {
        panic!("it does not wait for the customer")
    };
    assert_eq!(action.kind, "use_stripe_sdk");
    assert_eq!(action.client_secret.unwrap().expose(), "pi_1_secret_of_the_customer");
    assert_eq!(lab.last_event_type().await.as_deref(), Some("payment.pending"));
    assert_eq!(lab.aws.results(), []);
    let check = json!({
        "action": "CheckPayment", "order_id": lab.order, "correlation_id": "cor_test", "looks": 1
    });
    let [(sent, delay)] = &lab.aws.sent()[..] else { panic!("one check") };
    assert_eq!(sent, &check);
    assert!((1..=5).contains(delay), "{delay}");

    lab.check_at(5).await.unwrap();
    assert_eq!(
        lab.last_event_type().await.as_deref(),
        Some("payment.pending"),
        "and that was published once"
    );
    assert_eq!(lab.payment().await.version, 3);

    lab.stripe.set_status("pi_1", "succeeded");
    lab.check_at(15).await.unwrap();
    assert_eq!(lab.aws.results(), [paid("t1")]);
    assert_eq!(lab.payment().await.waiting, None);
    assert_eq!(lab.aws.sent().len(), 2, "nothing is checked any more");
}

#[tokio::test]
async fn past_the_deadline_the_intent_is_closed_and_the_step_times_out() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    lab.check_at(DEADLINE).await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentTimeout")]);
    let event = lab.last_event().await.unwrap();
    assert_eq!((event.event_type.as_str(), &event.data["reason"]), ("payment.failed", &json!("timed_out")));
    assert_eq!(lab.stripe.open(), 0);
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn past_the_deadline_money_that_was_taken_after_all_wins() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    lab.stripe.set_status("pi_1", "succeeded");
    lab.check_at(DEADLINE).await.unwrap();
    assert_eq!(lab.aws.results(), [paid("t1")]);
    assert_eq!(lab.stripe.money_held(), 4200);
}

#[tokio::test]
async fn past_the_deadline_a_gateway_that_is_away_does_not_hold_the_order_up_and_late_money_goes_back() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    lab.stripe.fail("cancel", &[Fault::Unreachable]);
    lab.check_at(DEADLINE).await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentTimeout")]);
    assert_eq!(lab.aws.sent().len(), 2, "the intent is still to be closed");

    lab.stripe.set_status("pi_1", "succeeded");
    lab.check_at(DEADLINE + 5).await.unwrap();
    assert_eq!(lab.status().await, Status::Refunded);
    assert_eq!(lab.stripe.money_held(), 0);
    assert_eq!(lab.last_event_type().await.as_deref(), Some("payment.refunded"));
}

#[tokio::test]
async fn a_bank_that_has_not_decided_by_the_deadline_is_watched_on() {
    let lab = Lab::new().await;
    lab.take("pm_slow", "t1").await.unwrap();
    assert_eq!(lab.payment().await.waiting, Some(Waiting::Bank));
    lab.check_at(DEADLINE).await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentTimeout")]);
    assert!(matches!(lab.undo().await, Err(PaymentsError::StillPending)), "the money may still come");
    lab.stripe.set_status("pi_1", "succeeded");
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(lab.stripe.money_held(), 0);
}

#[rstest]
#[case::creating("create")]
#[case::confirming("confirm")]
#[tokio::test]
async fn a_gateway_that_does_not_answer_is_called_again_later_with_the_same_key(
    #[case] operation: &str,
    #[values(Fault::Unreachable, Fault::LostAnswer, Fault::Busy)] fault: Fault,
) {
    let lab = Lab::new().await;
    lab.stripe.fail(operation, &[fault]);
    lab.take("pm_card_visa", "t1").await.expect("the message itself is done");
    assert_eq!(lab.aws.results(), []);
    assert!((1..=5).contains(&lab.aws.sent()[0].1));

    lab.check_at(5).await.unwrap();
    assert_eq!(lab.aws.results(), [paid("t1")]);
    assert_eq!(lab.stripe.money_held(), 4200);
    assert!(lab.stripe.keys().iter().all(|key| key.ends_with(".1")));
}

#[rstest]
#[case::it_had_happened(Fault::FailedAfter, 1)]
#[case::it_had_not_happened(Fault::FailedBefore, 2)]
#[tokio::test]
async fn after_a_5xx_the_intent_is_read_and_only_if_nothing_happened_is_the_key_raised(
    #[case] fault: Fault,
    #[case] n: u32,
) {
    let lab = Lab::new().await;
    lab.stripe.fail("confirm", &[fault]);
    lab.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!(lab.stripe.calls(), ["create create.1", "confirm confirm.1", "retrieve"]);
    assert_eq!(lab.payment().await.attempts.of(Operation::Confirm), n);

    lab.check_at(5).await.unwrap();
    assert_eq!(lab.aws.results().last(), Some(&paid("t1")));
    assert_eq!(lab.stripe.money_held(), 4200);
    assert_eq!(lab.stripe.calls().iter().any(|call| call == "confirm confirm.2"), n == 2);
}

#[rstest]
#[case(Fault::FailedAfter)]
#[case(Fault::FailedBefore)]
#[tokio::test]
async fn an_intent_that_could_not_be_made_is_made_with_the_next_key(#[case] fault: Fault) {
    let lab = Lab::new().await;
    lab.stripe.fail("create", &[fault]);
    lab.take("pm_card_visa", "t1").await.unwrap();
    lab.check_at(5).await.unwrap();
    assert_eq!(lab.stripe.calls(), ["create create.1", "create create.2", "confirm confirm.1"]);
    assert_eq!(lab.stripe.money_held(), 4200);
    assert_eq!(lab.aws.results(), [paid("t1")]);
}

#[rstest]
#[case::it_had_happened(Fault::FailedAfter, &["refund refund.1", "retrieve"])]
#[case::it_had_not_happened(Fault::FailedBefore, &["refund refund.1", "retrieve", "refund refund.2"])]
#[case::the_bank_refused(Fault::RefundFails, &["refund refund.1", "retrieve", "refund refund.2"])]
#[case::no_answer(Fault::Unreachable, &["refund refund.1", "refund refund.1"])]
#[case::the_answer_was_lost(Fault::LostAnswer, &["refund refund.1", "refund refund.1"])]
#[tokio::test]
async fn a_refund_is_made_once_whatever_the_gateway_answers(#[case] fault: Fault, #[case] calls: &[&str]) {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t1").await.unwrap();
    lab.stripe.fail("refund", &[fault]);
    let first = lab.undo().await;
    assert_eq!(first.is_ok(), fault == Fault::FailedAfter, "{first:?}");
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(lab.stripe.calls()[2..], *calls);
    assert_eq!(lab.stripe.money_held(), 0);
    assert_eq!(lab.last_event_type().await.as_deref(), Some("payment.refunded"));
}

#[tokio::test]
async fn a_refund_that_was_made_in_the_dashboard_is_found_out() {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t1").await.unwrap();
    let payment = lab.payment().await;
    lab.payments.gateway.refund(&payment, "pi_1", crate::testing::CALL).await.unwrap();
    let known = Some(payment);
    let spent = PaymentInput::IdempotencyKeyExhausted { operation: Operation::Refund, n: 1 };
    crate::handler::record(&lab.payments.recorder.store, &lab.order, known, &spent, lab.event_context())
        .await
        .unwrap();

    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(lab.stripe.calls()[2..], ["refund refund.1", "refund refund.2", "retrieve"]);
}

#[tokio::test]
async fn an_undo_that_is_repeated_says_the_same_and_does_nothing_more() {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    let calls = lab.stripe.calls();
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(lab.stripe.calls(), calls);
}

#[tokio::test]
async fn an_undo_before_the_do_leaves_its_mark_and_the_do_refuses() {
    let lab = Lab::new().await;
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
    lab.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "OrderCancelRequested")]);
    assert_eq!(lab.stripe.calls(), [""; 0]);
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn an_undo_of_a_waiting_payment_closes_its_intent_and_frees_who_waits() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Voided));
    assert_eq!(lab.aws.results(), [failed("t1", "OrderCancelRequested")]);
    assert_eq!(lab.stripe.open(), 0);
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Voided));
}

#[tokio::test]
async fn an_undo_that_meets_money_when_it_closes_the_intent_gives_it_back() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    lab.stripe.set_status("pi_1", "succeeded");
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(lab.stripe.money_held(), 0);
    assert_eq!(lab.aws.results().first(), Some(&failed("t1", "OrderCancelRequested")));
}

#[tokio::test]
async fn an_undo_while_the_gateway_is_away_is_tried_again_and_nothing_is_taken_meanwhile() {
    let lab = Lab::new().await;
    lab.stripe.fail("confirm", &[Fault::Unreachable]);
    lab.take("pm_card_visa", "t1").await.unwrap();
    lab.stripe.fail("cancel", &[Fault::Unreachable]);
    assert!(matches!(lab.undo().await, Err(PaymentsError::Gateway(_))));
    lab.check_at(5).await.unwrap();
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Voided));
    assert_eq!((lab.stripe.money_held(), lab.stripe.open()), (0, 0));
}

#[tokio::test]
async fn an_intent_made_while_the_order_was_undone_is_cancelled_and_never_confirmed() {
    let lab = Lab::new().await;
    // The intent is made, its answer is lost, and the order is undone before the next try.
    lab.stripe.fail("create", &[Fault::LostAnswer]);
    lab.take("pm_card_visa", "t1").await.unwrap();
    let stale = lab.payment().await;
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
    let context = lab.event_context();
    lab.payments.run_pending(stale, context, lab.at(5)).await.unwrap();
    assert_eq!(lab.stripe.calls(), ["create create.1", "create create.1", "cancel"]);
    assert_eq!((lab.stripe.money_held(), lab.stripe.open()), (0, 0));
    assert_eq!(lab.payment().await.intent, None);
}

#[tokio::test]
async fn a_worker_with_a_payment_from_before_the_undo_cannot_take_money() {
    let lab = Lab::new().await;
    lab.stripe.fail("confirm", &[Fault::Unreachable]);
    lab.take("pm_card_visa", "t1").await.unwrap();
    let stale = lab.payment().await;
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Voided));
    lab.payments.run_pending(stale, lab.event_context(), lab.at(5)).await.unwrap();
    assert_eq!(lab.status().await, Status::Voided);
    assert_eq!((lab.stripe.money_held(), lab.stripe.open()), (0, 0));
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Voided));
}

#[tokio::test]
async fn late_money_on_an_undone_payment_goes_back_by_itself() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    lab.stripe.fail("cancel", &[Fault::Unreachable]);
    assert!(lab.undo().await.is_err());
    lab.stripe.set_status("pi_1", "succeeded");
    lab.observe(IntentState::Succeeded).await;
    assert_eq!(lab.status().await, Status::Refunding);
    lab.check_at(10).await.unwrap();
    assert_eq!(lab.status().await, Status::Refunded);
    assert_eq!(lab.stripe.money_held(), 0);
}

#[tokio::test]
async fn no_call_is_begun_that_the_invocation_has_no_time_for() {
    let lab = Lab::new().await;
    let mut short = lab.at(0);
    short.ends = Instant::now() + Duration::from_secs(5);
    lab.payments.take(lab.take_of("pm_card_visa", "t1"), short).await.unwrap();
    assert_eq!(lab.stripe.calls(), [""; 0]);
    assert_eq!(lab.aws.sent().len(), 1);
}

#[tokio::test]
async fn a_check_that_cannot_be_queued_brings_the_message_back() {
    let lab = Lab::new().await;
    lab.aws.break_queue();
    assert!(matches!(lab.take("pm_3ds", "t1").await, Err(PaymentsError::Recorder(RecorderError::Queue(_)))));
}

#[tokio::test]
async fn a_key_that_was_replaced_is_read_again() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    lab.stripe.accept_only("sk_test_new");
    lab.aws.set_secret(json!({"api_key": "sk_test_new", "webhook_secrets": []}));
    let known = lab.secrets.get(lab.start).await.unwrap();
    let later = lab.start + jiff::SignedDuration::from_secs(120);
    let newer = lab.secrets.get_after(&known, later).await.unwrap().unwrap();
    assert_eq!(newer.api_key.expose(), "sk_test_new");
    assert!(lab.secrets.get_after(&newer, later).await.unwrap().is_none(), "not twice in a minute");
    lab.stripe.set_status("pi_1", "succeeded");
    lab.check_at(5).await.unwrap();
    assert_eq!(lab.aws.results(), [paid("t1")]);
    assert_eq!(lab.aws.secret_reads(), 2);
}

#[tokio::test]
async fn a_wrong_key_is_waited_out_like_a_gateway_that_is_away() {
    let lab = Lab::new().await;
    lab.stripe.accept_only("another");
    lab.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!((lab.aws.sent().len(), lab.aws.results().len()), (1, 0));
    lab.check_at(DEADLINE).await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentTimeout")]);
}
