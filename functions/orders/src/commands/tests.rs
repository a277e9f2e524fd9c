mod faults;

use contracts::saga::{
    CommandContext, Compensations, UndoOutcome, error_names,
    steps::{CANCEL_SHIPMENT, REFUND_PAYMENT, RELEASE_INVENTORY},
};
use lambda_kit::{
    dynamodb::Table,
    testing::{Faults, table},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    store::StoreError,
    testing::{at, correlation_id, failure, order_id, place_order, shipment},
};

async fn with_order() -> (Store, Faults) {
    let (store, _, faults) = with_order_in().await;
    (store, faults)
}

async fn with_order_in() -> (Store, Table, Faults) {
    let (table, faults) = table(&[]).await;
    let store = crate::testing::store(table.clone());
    place_order(&store).await;
    faults.reset();
    (store, table, faults)
}

fn context() -> CommandContext {
    CommandContext::new(order_id(), correlation_id())
}

fn record() -> OrderCommand {
    OrderCommand::RecordReservation { context: context() }
}

fn complete() -> OrderCommand {
    OrderCommand::CompleteOrder { context: context(), shipment: shipment() }
}

fn abort() -> OrderCommand {
    OrderCommand::AbortOrder { context: context() }
}

fn cancel(inventory: UndoOutcome) -> OrderCommand {
    OrderCommand::CancelOrder {
        context: context(),
        failure: failure("CompleteOrder", "OrderCancelRequested"),
        compensations: Compensations::default()
            .with(&CANCEL_SHIPMENT, UndoOutcome::Cancelled)
            .with(&REFUND_PAYMENT, UndoOutcome::Refunded)
            .with(&RELEASE_INVENTORY, inventory),
    }
}

/// The answer as the state machine reads it, or the error's name.
async fn answer(store: &Store, command: OrderCommand) -> Value {
    match handle(store, command, at(1)).await {
        Ok(answer) => serde_json::to_value(answer).unwrap(),
        Err(error) => json!(error.name()),
    }
}

#[tokio::test]
async fn the_happy_path_ends_completed_and_an_abort_after_it_says_so() {
    let (store, _) = with_order().await;
    assert_eq!(answer(&store, record()).await, json!({"status": "PaymentPending"}));
    assert_eq!(answer(&store, complete()).await, json!({"status": "OrderCompleted"}));
    assert_eq!(answer(&store, abort()).await, json!({"completed": true}));
    assert_eq!(answer(&store, cancel(UndoOutcome::Released)).await, json!("Transient"));
}

#[tokio::test]
async fn after_an_abort_the_order_does_not_complete_and_can_only_be_cancelled() {
    let (store, _) = with_order().await;
    answer(&store, record()).await;
    assert_eq!(answer(&store, abort()).await, json!({"completed": false}));
    assert_eq!(answer(&store, abort()).await, json!({"completed": false}));
    assert_eq!(answer(&store, complete()).await, json!("OrderCancelRequested"));
    assert_eq!(answer(&store, cancel(UndoOutcome::Released)).await, json!({"status": "OrderCancelled"}));
    assert_eq!(answer(&store, complete()).await, json!("OrderCancelRequested"));
}

#[tokio::test]
async fn an_undo_that_failed_needs_attention_until_it_is_repaired() {
    let (store, _) = with_order().await;
    answer(&store, record()).await;
    assert_eq!(answer(&store, cancel(UndoOutcome::Failed)).await, json!("CompensationFailed"));
    assert_eq!(answer(&store, cancel(UndoOutcome::Failed)).await, json!("CompensationFailed"));
    assert_eq!(answer(&store, complete()).await, json!("OrderCancelRequested"));
    assert_eq!(answer(&store, cancel(UndoOutcome::Released)).await, json!({"status": "OrderCancelled"}));
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_found_by_the_abort() {
    let (store, faults) = with_order().await;
    answer(&store, record()).await;
    faults.lose_answers("PutItem", 3);
    assert_eq!(answer(&store, complete()).await, json!("Transient"));
    assert_eq!(answer(&store, abort()).await, json!({"completed": true}));
}

#[rstest]
#[case(Rejected::CancelRequested, "OrderCancelRequested")]
#[case(Rejected::NotPlaced, "Transient")]
#[case(Rejected::NotReserved, "Transient")]
#[case(Rejected::AlreadyPlaced, "Transient")]
#[case(Rejected::Lines(vec![]), "Transient")]
#[case(Rejected::Ended(OrderStatus::OrderCompleted), "Transient")]
fn refusals_have_the_names_of_the_contract(#[case] rejected: Rejected, #[case] expected: &str) {
    let name = ExecuteError::from(rejected).name();
    assert_eq!(name, expected);
    assert!(name == TRANSIENT || error_names().contains(name));
}

#[test]
fn failures_of_the_store_are_transient() {
    assert_eq!(ExecuteError::from(StoreError::Contended(order_id())).name(), TRANSIENT);
}

#[rstest]
#[case("InventoryNotAvailable", false)]
#[case("PaymentDeclined", false)]
#[case("PaymentTimeout", false)]
#[case("ShipmentRejected", false)]
#[case("OrderCancelRequested", false)]
#[case("SagaAborted", false)]
#[case("ServiceUnavailable", true)]
#[case("Lambda.Unknown", true)]
fn the_alarm_counts_faults_and_no_refusals(#[case] reason: &str, #[case] expected: bool) {
    assert_eq!(is_fault(reason), expected);
}

#[test]
fn the_alarm_names_the_error_that_a_step_waited_out() {
    let waited = Failure {
        cause: "Lambda.TooManyRequestsException: Rate Exceeded".to_owned(),
        ..failure("ReserveInventory", "ServiceUnavailable")
    };
    assert_eq!(last_error(&waited), "Lambda.TooManyRequestsException");
    let other = Failure { cause: "Error: no".to_owned(), ..failure("TakePayment", "Transient") };
    assert_eq!(last_error(&other), "Transient");
}
