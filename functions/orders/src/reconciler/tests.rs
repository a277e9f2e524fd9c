//! Sagas that are lost in every way, with a real table, and a fake Step Functions and Lambda that record
//! their calls.

mod fixture;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use contracts::{
    OrderStatus,
    saga::{Context, UndoOutcome, undos},
};
use lambda_kit::aws::MAX_ATTEMPTS;
use rstest::rstest;
use serde_json::json;

use self::fixture::{Fixture, PLACED};
use super::{
    invocation::TIME_TO_UNDO,
    roll_back::{RetryError, RetryOutcome},
    *,
};
use crate::{
    domain::Command,
    testing::{at, cancel, cancel_after, complete, order_id, refund_failed},
};

const DAY: i64 = 86_400;

/// The undos of the ledger, in the order in which they run.
fn all_undos() -> Vec<String> {
    undos().map(|undo| undo.name.to_owned()).collect()
}

/// The saga's undo of the payment, and perhaps of the stock, was exhausted.
fn exhausted(inventory: UndoOutcome) -> Command {
    cancel_after(
        "ScheduleShipment",
        "ShipmentRejected",
        [UndoOutcome::NotNeeded, UndoOutcome::Failed, inventory],
    )
}

#[rstest]
#[case::placed(vec![])]
#[case::reserved(vec![Command::RecordReservation])]
#[case::asked_to_be_cancelled(vec![Command::RequestCancel])]
#[tokio::test]
async fn an_order_whose_execution_runs_is_never_touched(#[case] commands: Vec<Command>) {
    let fixture = Fixture::new().await.with_order(commands).await;
    fixture.execution("RUNNING");
    let before = fixture.history().await;
    let report = fixture.check(DAY).await;
    assert_eq!((report.overdue, report.running, report.orders.len()), (1, 1, 0));
    assert_eq!(fixture.calls(), ["DescribeExecution"]);
    assert_eq!(fixture.history().await, before);
}

#[tokio::test]
async fn an_order_that_is_young_is_not_inspected() {
    let fixture = Fixture::new().await.with_order(vec![]).await;
    let report = fixture.check(i64::from(LONGEST_WAY_FORWARD_SECONDS)).await;
    assert_eq!((report.overdue, fixture.calls().len()), (0, 0));
    let report = fixture.check(i64::from(LONGEST_WAY_FORWARD_SECONDS) + 1).await;
    assert_eq!(report.overdue, 1);
}

#[tokio::test]
async fn a_saga_that_never_started_is_started_as_the_relay_would_have() {
    let fixture = Fixture::new().await.with_order(vec![]).await;
    let report = fixture.check(DAY).await;
    assert_eq!(
        (report.started, fixture.calls()),
        (1, vec!["DescribeExecution".into(), "StartExecution".into()])
    );
    let input = fixture.started();
    assert_eq!(input["order_id"], json!(order_id()));
    assert_eq!(input["items"], json!([{"sku": "MUG", "quantity": 2}]));
    assert_eq!(input["shipping_address"]["city"], "Berlin");
    assert_eq!(fixture.history().await.order.version, PLACED);

    // Now it runs.
    assert_eq!(fixture.check(DAY).await.running, 1);
    assert_eq!(fixture.check(DAY).await.started, 0);
}

#[tokio::test]
async fn a_saga_that_the_relay_starts_at_the_same_moment_is_a_success() {
    let fixture = Fixture::new().await.with_order(vec![]).await;
    fixture.execution("RUNNING");
    fixture.hide_execution();
    assert_eq!(fixture.check(DAY).await.started, 1);
    assert_eq!(fixture.history().await.order.version, PLACED);
}

#[tokio::test]
async fn a_saga_that_never_started_and_whose_address_is_erased_is_taken_back() {
    let fixture = Fixture::new().await.with_order(vec![]).await;
    fixture.erase_address().await;
    assert_eq!(fixture.check(DAY).await.cancelled, 1);
    assert_eq!(fixture.undone(), all_undos());
    assert_eq!(fixture.history().await.order.status, OrderStatus::OrderCancelled);
}

#[rstest]
#[case::before_anything(vec![], "SagaAborted")]
#[case::while_it_paid(vec![Command::RecordReservation], "SagaAborted")]
#[case::while_it_completed(vec![Command::RecordReservation, Command::Abort], "SagaAborted")]
#[case::after_its_customer_gave_up(vec![Command::RecordReservation, Command::RequestCancel], "OrderCancelRequested")]
#[tokio::test]
async fn an_order_whose_execution_ended_without_it_is_undone_and_cancelled(
    #[case] commands: Vec<Command>,
    #[values("ABORTED", "TIMED_OUT", "FAILED", "SUCCEEDED")] execution: &str,
    #[case] reason: &str,
) {
    let fixture = Fixture::new().await.with_order(commands).await;
    fixture.execution(execution);
    let report = fixture.check(DAY).await;
    assert_eq!((report.cancelled, fixture.undone()), (1, all_undos()));
    let history = fixture.history().await;
    assert_eq!(history.order.status, OrderStatus::OrderCancelled);
    let end = &history.events.last().unwrap().envelope.data;
    assert_eq!((&end["reason"], &end["step"]), (&json!(reason), &json!("Saga")));

    // The relay removes the order from the index; until then, the order itself shows that it has ended.
    let again = fixture.check(DAY).await;
    assert_eq!((again.ended, again.cancelled), (1, 0));
    assert_eq!(fixture.undone(), all_undos());
    assert_eq!(fixture.check(DAY).await.overdue, 0);
    assert_eq!(fixture.history().await, history);
}

#[tokio::test]
async fn an_order_that_completed_before_its_execution_was_lost_stays_completed() {
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation]).await;
    fixture.execution("ABORTED");
    fixture.run_unseen(complete()).await;
    assert_eq!(fixture.check(DAY).await.ended, 1);
    assert_eq!(fixture.undone(), Vec::<String>::new());
    assert_eq!(fixture.history().await.order.status, OrderStatus::OrderCompleted);
}

#[tokio::test]
async fn an_undo_that_fails_is_tried_again_and_keeps_no_other_from_being_done() {
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation]).await;
    fixture.execution("ABORTED");
    fixture.fail("RefundPayment");
    let report = fixture.check(DAY).await;
    assert_eq!((report.undo_failed, fixture.undone()), (1, all_undos()));
    let history = fixture.history().await;
    assert!(history.order.cancel_requested, "it cannot complete any more");
    assert_eq!(history.order.status, OrderStatus::PaymentPending);

    fixture.repair("RefundPayment");
    assert_eq!(fixture.check(DAY + 600).await.cancelled, 1);
    assert_eq!(fixture.history().await.order.status, OrderStatus::OrderCancelled);
}

#[tokio::test]
async fn an_undo_that_fails_for_hours_is_raised_to_a_person() {
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation]).await;
    fixture.execution("ABORTED");
    fixture.fail("RefundPayment");
    assert_eq!(fixture.check(DAY).await.undo_failed, 1);
    assert_eq!(fixture.check(DAY + UNDO_RETRY_PERIOD.as_secs() - 1).await.undo_failed, 1);
    assert_eq!(fixture.check(DAY + UNDO_RETRY_PERIOD.as_secs()).await.needs_attention, 1);
    let history = fixture.history().await;
    assert_eq!(history.order.status, OrderStatus::NeedsAttention);
    assert_eq!(history.events.last().unwrap().envelope.data["failed"], json!(["payment"]));

    fixture.update_index().await;
    let report = fixture.check(2 * DAY).await;
    assert_eq!((report.overdue, report.in_attention), (0, 1));
}

#[rstest]
#[tokio::test]
async fn a_check_that_is_interrupted_anywhere_is_finished_by_the_next_one(
    #[values("Query", "PutItem")] call: &str,
    #[values(lambda_kit::testing::Faults::lose_answers, lambda_kit::testing::Faults::refuse)] disturb: fn(
        &lambda_kit::testing::Faults,
        &str,
        u32,
    ),
    #[values(0, 1, 2)] before: u32,
) {
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation]).await;
    fixture.execution("ABORTED");
    // The first tries fail and the rest of that call does too; what came before stays.
    disturb(&fixture.faults, call, before + MAX_ATTEMPTS);
    let _ = fixture.try_check(DAY).await;
    fixture.faults.reset();
    fixture.check(DAY).await;
    assert_eq!(fixture.history().await.order.status, OrderStatus::OrderCancelled);
    let types: Vec<_> =
        fixture.history().await.events.iter().map(|e| e.envelope.event_type.clone()).collect();
    assert_eq!(types.iter().filter(|name| *name == "order.cancelled").count(), 1);
    assert_eq!(types.iter().filter(|name| *name == "order.cancel_requested").count(), 1);
}

#[tokio::test]
async fn every_page_is_read() {
    let fixture = Fixture::new().await;
    fixture.with_running_orders(2 * usize::try_from(PAGE).unwrap() + 17).await;
    let report = fixture.check(DAY).await;
    assert_eq!((report.overdue, report.running), (217, 217));
}

#[tokio::test]
async fn what_there_is_no_time_for_is_left_to_the_next_run() {
    let fixture = Fixture::new().await.with_order(vec![]).await;
    let ends = Instant::now() + TIME_TO_UNDO - Duration::from_secs(1);
    let late = Invocation { now: at(DAY), ends };
    let report = fixture.reconciler.check(SignedDuration::ZERO, late).await.unwrap();
    assert_eq!((report.overdue, report.skipped, fixture.calls().len()), (1, 1, 0));
}

#[tokio::test]
async fn the_payment_of_a_cancelled_order_is_queried_once() {
    let declined = cancel("TakePayment", "PaymentDeclined");
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation, declined]).await;
    let soon = MONEY_CHECK_DELAY.as_secs();
    assert_eq!(fixture.check(soon).await.money_checked, 0);
    let report = fixture.check(soon + 10).await;
    assert_eq!((report.money_checked, report.refunded), (1, 0));
    assert_eq!(fixture.calls(), ["PaymentStatuses"]);
    assert_eq!(fixture.check(DAY).await.money_checked, 0);
}

/// More orders than one run could check one after the other.
#[tokio::test]
async fn cancelled_orders_whose_money_is_back_leave_the_index_side_by_side() {
    let fixture = Fixture::new().await;
    fixture.with_cancelled_orders(40).await;
    let gate = fixture.faults.hold("UpdateItem");
    let check = fixture.check(DAY);
    let side_by_side = async {
        let deadline = Instant::now() + Duration::from_secs(10);
        while fixture.faults.calls().iter().filter(|call| *call == "UpdateItem").count() < CONCURRENCY {
            assert!(Instant::now() < deadline, "they wait for each other");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(gate);
    };
    let (report, ()) = futures::join!(check, side_by_side);
    assert_eq!((report.money_checked, report.failed), (40, 0));
    assert_eq!(fixture.check(DAY).await.money_checked, 0);
}

#[tokio::test]
async fn money_that_a_cancelled_order_still_holds_is_sent_back() {
    let declined = cancel("TakePayment", "PaymentDeclined");
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation, declined]).await;
    fixture.hold_money();
    fixture.fail("RefundPayment");
    for _ in 0..2 {
        let report = fixture.check(DAY).await;
        assert_eq!((report.money_checked, report.refunded, report.refund_failed), (1, 0, 1));
    }
    fixture.repair("RefundPayment");
    let report = fixture.check(DAY).await;
    assert_eq!((report.refunded, report.refund_failed), (1, 0));
    assert_eq!(fixture.check(DAY).await.money_checked, 0);
    assert_eq!(fixture.undone().len(), 3);
}

#[tokio::test]
async fn payments_that_could_not_be_queried_are_queried_again() {
    let declined = cancel("TakePayment", "PaymentDeclined");
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation, declined]).await;
    fixture.fail("PaymentStatuses");
    assert_eq!(fixture.check(DAY).await.failed, 1);
    fixture.repair("PaymentStatuses");
    assert_eq!(fixture.check(DAY).await.money_checked, 1);
}

#[rstest]
#[case::one(exhausted(UndoOutcome::Released), &["RefundPayment"])]
#[case::two(exhausted(UndoOutcome::Failed), &["RefundPayment", "ReleaseInventory"])]
#[tokio::test]
async fn a_retry_does_the_missing_undos_in_the_sagas_order(
    #[case] failed: Command,
    #[case] missing: &[&str],
) {
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation, failed]).await;
    fixture.execution("FAILED");
    let retried = fixture.reconciler.retry(&order_id(), at(DAY)).await.unwrap();
    assert_eq!(
        (retried, fixture.undone()),
        (RetryOutcome::Cancelled, missing.iter().map(|&s| s.to_owned()).collect())
    );
    let history = fixture.history().await;
    assert_eq!(history.order.status, OrderStatus::OrderCancelled);
    let end = &history.events.last().unwrap().envelope.data;
    assert_eq!((&end["reason"], &end["step"]), (&json!("ShipmentRejected"), &json!("ScheduleShipment")));
    let again = fixture.reconciler.retry(&order_id(), at(DAY)).await;
    assert!(matches!(again, Err(RetryError::Ended(OrderStatus::OrderCancelled))));
}

#[tokio::test]
async fn a_retry_that_fails_again_says_what_and_changes_nothing_that_is_known() {
    let both = exhausted(UndoOutcome::Failed);
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation, both]).await;
    fixture.execution("FAILED");
    fixture.fail("RefundPayment");
    let retry = async || fixture.reconciler.retry(&order_id(), at(DAY)).await.unwrap();
    assert_eq!(retry().await, RetryOutcome::StillFailing(vec!["payment".to_owned()]));
    let half = fixture.history().await;
    assert_eq!(half.events.last().unwrap().envelope.data["failed"], json!(["payment"]));
    assert_eq!(retry().await, RetryOutcome::StillFailing(vec!["payment".to_owned()]));
    assert_eq!(fixture.history().await, half);
    fixture.repair("RefundPayment");
    assert_eq!(retry().await, RetryOutcome::Cancelled);
}

#[tokio::test]
async fn an_order_whose_refund_failed_is_listed_and_a_retry_refunds_it_again() {
    let undone = cancel_after(
        "ScheduleShipment",
        "ShipmentRejected",
        [UndoOutcome::NotNeeded, UndoOutcome::Refunded, UndoOutcome::Released],
    );
    let commands = vec![Command::RecordReservation, undone, refund_failed("re_1")];
    let fixture = Fixture::new().await.with_order(commands).await;
    fixture.execution("SUCCEEDED");
    let listed = fixture.ask(json!({"action": "ListSagas", "attention": true})).await.unwrap();
    assert_eq!(listed["orders"][0]["failed"], json!(["payment"]));
    assert!(
        listed["orders"][0]["failure"]["cause"]
            .as_str()
            .unwrap()
            .contains("re_1 failed at the customer's bank")
    );

    fixture.fail("RefundPayment");
    let retry = async || fixture.reconciler.retry(&order_id(), at(DAY)).await.unwrap();
    assert_eq!(retry().await, RetryOutcome::StillFailing(vec!["payment".to_owned()]));
    fixture.repair("RefundPayment");
    assert_eq!(retry().await, RetryOutcome::Cancelled);
    assert!(fixture.undone().iter().all(|undo| undo == "RefundPayment"), "{:?}", fixture.undone());
    assert_eq!(fixture.history().await.order.status, OrderStatus::OrderCancelled);
}

#[rstest]
#[case::completed(vec![Command::RecordReservation, complete()], Some("SUCCEEDED"), "ended as OrderCompleted")]
#[case::running(vec![Command::RecordReservation], Some("RUNNING"), "still runs")]
#[case::in_need_but_running(vec![Command::RecordReservation, exhausted(UndoOutcome::Failed)], Some("RUNNING"), "still runs")]
#[case::never_started(vec![], None, "never started")]
#[tokio::test]
async fn a_retry_is_refused_when_there_is_nothing_to_retry(
    #[case] commands: Vec<Command>,
    #[case] execution: Option<&str>,
    #[case] why: &str,
) {
    let fixture = Fixture::new().await.with_order(commands).await;
    execution.into_iter().for_each(|status| fixture.execution(status));
    let before = fixture.history().await;
    let refused = fixture.reconciler.retry(&order_id(), at(DAY)).await.unwrap_err();
    assert!(refused.to_string().contains(why), "{refused}");
    assert_eq!((fixture.undone().len(), fixture.history().await), (0, before));
}

#[tokio::test]
async fn a_retry_of_a_lost_order_need_not_wait_for_the_check() {
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation]).await;
    fixture.execution("ABORTED");
    assert_eq!(fixture.reconciler.retry(&order_id(), at(60)).await.unwrap(), RetryOutcome::Cancelled);
    assert_eq!(fixture.undone(), all_undos());
}

#[tokio::test]
async fn the_function_answers_what_the_schedule_and_the_command_line_ask() {
    let both = exhausted(UndoOutcome::Failed);
    let fixture = Fixture::new().await.with_order(vec![Command::RecordReservation, both]).await;
    fixture.execution("FAILED");
    let listed = fixture.ask(json!({"action": "ListSagas", "attention": true})).await.unwrap();
    assert_eq!(listed["orders"][0]["order_id"], json!(order_id()));
    assert_eq!(listed["orders"][0]["failed"], json!(["payment", "inventory"]));
    assert_eq!(listed["orders"][0]["failure"]["error"], "ShipmentRejected");
    assert_eq!(listed["more"], json!(false));
    assert_eq!(fixture.ask(json!({"action": "ListSagas", "limit": 0})).await.unwrap()["more"], json!(true));

    let report = fixture.ask(json!({"action": "CheckSagas"})).await.unwrap();
    assert_eq!((&report["in_attention"], &report["overdue"]), (&json!(1), &json!(0)));

    let retried = fixture.ask(json!({"action": "RetrySaga", "order_id": order_id()})).await.unwrap();
    assert_eq!((&retried["status"], &retried["failed"]), (&json!("OrderCancelled"), &json!([])));
    let again = fixture.ask(json!({"action": "RetrySaga", "order_id": order_id()})).await.unwrap_err();
    assert_eq!(again.error_type, "NothingToRetry");
    let unknown =
        fixture.ask(json!({"action": "RetrySaga", "order_id": format!("ord_{}", "9".repeat(32))})).await;
    assert!(unknown.unwrap_err().error_message.contains("no such order"));
}

#[test]
fn the_templates_policy_names_the_functions_that_are_invoked() {
    let template = include_str!("../../../../infra/orders.yaml");
    let (_, own) = template.split_once("  OrdersReconciler:\n").unwrap();
    let (own, _) = own.split_once("  OrdersReconcilerLog:\n").unwrap();
    let named: Vec<_> =
        own.lines().filter_map(|line| line.split_once(":function:ordersaga-${Stage}-")).collect();
    let named: Vec<_> = named.iter().filter_map(|(_, binary)| binary.strip_suffix(":live")).collect();
    let mut invoked: Vec<_> = undos().map(|undo| undo.context.function()).collect();
    invoked.push(Context::Payments.function());
    assert_eq!(BTreeSet::from_iter(named), BTreeSet::from_iter(invoked));
}
