//! Every command of the saga, disturbed at every call that it makes. A command is interrupted between its calls, before
//! the effect or after it, so that these are all the ways in which it can die halfway.

use lambda_kit::{aws::MAX_ATTEMPTS, dynamodb::Table};

use super::*;
use crate::domain::History;

/// The command under test, with the commands that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Record,
    Complete,
    AbortBeforeTheEnd,
    AbortOfACompleted,
    CancelOfANewOrder,
    CancelAfterAnAbort,
    CancelWithAFailedUndo,
    CancelAfterARepair,
}

impl Case {
    fn before(self) -> Vec<OrderCommand> {
        match self {
            Self::Record | Self::CancelOfANewOrder => vec![],
            Self::Complete | Self::AbortBeforeTheEnd | Self::CancelWithAFailedUndo => vec![record()],
            Self::AbortOfACompleted => vec![record(), complete()],
            Self::CancelAfterAnAbort => vec![record(), abort()],
            Self::CancelAfterARepair => vec![record(), cancel(UndoOutcome::Failed)],
        }
    }

    fn command(self) -> OrderCommand {
        match self {
            Self::Record => record(),
            Self::Complete => complete(),
            Self::AbortBeforeTheEnd | Self::AbortOfACompleted => abort(),
            Self::CancelWithAFailedUndo => cancel(UndoOutcome::Failed),
            Self::CancelOfANewOrder | Self::CancelAfterAnAbort | Self::CancelAfterARepair => {
                cancel(UndoOutcome::Released)
            }
        }
    }

    async fn store(self) -> (Store, Faults) {
        let (store, faults) = with_order().await;
        for command in self.before() {
            take(&store, command, at(1)).await.unwrap();
        }
        faults.reset();
        (store, faults)
    }
}

async fn loaded(store: &Store) -> History {
    store.load(&order_id()).await.unwrap().unwrap()
}

#[rstest]
#[tokio::test]
async fn a_command_that_is_interrupted_anywhere_is_finished_by_its_repeat(
    #[values(
        Case::Record,
        Case::Complete,
        Case::AbortBeforeTheEnd,
        Case::AbortOfACompleted,
        Case::CancelOfANewOrder,
        Case::CancelAfterAnAbort,
        Case::CancelWithAFailedUndo,
        Case::CancelAfterARepair
    )]
    case: Case,
    #[values("Query", "PutItem")] call: &str,
    #[values(Faults::lose_answers, Faults::refuse)] disturb: fn(&Faults, &str, u32),
    #[values(1, MAX_ATTEMPTS)] tries: u32,
) {
    let (store, _) = case.store().await;
    let expected = answer(&store, case.command()).await;
    let undisturbed = loaded(&store).await;

    let (store, faults) = case.store().await;
    disturb(&faults, call, tries);
    let first = answer(&store, case.command()).await;
    // An abort of a completed order writes nothing that could be disturbed.
    let hidden = tries < MAX_ATTEMPTS || (case == Case::AbortOfACompleted && call == "PutItem");
    assert_eq!(first, if hidden { expected.clone() } else { json!("Transient") });
    faults.reset();
    for _ in 0..2 {
        assert_eq!(answer(&store, case.command()).await, expected);
        assert_eq!(loaded(&store).await, undisturbed);
    }
}

#[rstest]
#[case::a_step_after_the_undo_of_all(vec![], vec![record(), complete()])]
#[case::a_late_completion(vec![record()], vec![complete()])]
#[tokio::test]
async fn a_step_that_comes_after_the_cancel_is_refused_and_changes_nothing(
    #[case] before: Vec<OrderCommand>,
    #[case] late: Vec<OrderCommand>,
) {
    let (store, _) = with_order().await;
    for command in before {
        handle(&store, command, at(1)).await.unwrap();
    }
    assert_eq!(answer(&store, cancel(UndoOutcome::NothingHeld)).await, json!({"status": "OrderCancelled"}));
    let ended = loaded(&store).await;
    for command in late {
        assert_eq!(answer(&store, command).await, json!("OrderCancelRequested"));
    }
    assert_eq!(loaded(&store).await, ended);
}

/// The same table through a client of its own, with no faults.
fn undisturbed(table: &Table) -> Store {
    let config = table.client.config().to_builder().http_client(lambda_kit::aws::http_client()).build();
    crate::testing::store(Table::new(aws_sdk_dynamodb::Client::from_conf(config), &table.name))
}

/// Runs `early` when `late`, whose client has these faults, has read the order and is about to write.
async fn overtaken<L, E>(
    faults: &Faults,
    late: impl Future<Output = L>,
    early: impl Future<Output = E>,
) -> (L, E) {
    faults.refuse("PutItem", 1);
    tokio::join!(late, async {
        while !faults.calls().contains(&"PutItem".to_owned()) {
            tokio::task::yield_now().await;
        }
        early.await
    })
}

/// Requests a cancel as the customer. Returns whether it was accepted.
async fn ask(store: &Store) -> bool {
    match crate::handler::execute(store, &order_id(), &Command::RequestCancel, &correlation_id(), at(1)).await
    {
        Ok(_) => true,
        Err(ExecuteError::Rejected(Rejected::Ended(OrderStatus::OrderCompleted))) => false,
        Err(other) => panic!("{other}"),
    }
}

/// Continues as the saga does after CompleteOrder's answer, until the order has ended.
async fn finish(store: &Store, completed: Value) -> OrderStatus {
    let undo = match completed.as_str() {
        None => false,
        Some("OrderCancelRequested") => true,
        Some("Transient") => answer(store, abort()).await == json!({"completed": false}),
        Some(other) => panic!("{other}"),
    };
    if undo {
        answer(store, cancel(UndoOutcome::Released)).await;
    }
    loaded(store).await.order.status
}

#[rstest]
#[tokio::test]
async fn a_cancel_that_races_the_completion_ends_in_one_of_two_ways(
    #[values(true, false)] cancel_first: bool,
    #[values(0, MAX_ATTEMPTS)] lost_answers_of_complete: u32,
) {
    let mut met = 0;
    for _ in 0..10 {
        let (disturbed, table, faults) = with_order_in().await;
        let other = undisturbed(&table);
        handle(&other, record(), at(1)).await.unwrap();
        let (completed, requested) = if cancel_first {
            faults.lose_answers("PutItem", lost_answers_of_complete);
            overtaken(&faults, answer(&disturbed, complete()), ask(&other)).await
        } else if lost_answers_of_complete == 0 {
            let (requested, completed) =
                overtaken(&faults, ask(&disturbed), answer(&other, complete())).await;
            (completed, requested)
        } else {
            faults.lose_answers("PutItem", lost_answers_of_complete);
            let completed = answer(&disturbed, complete()).await;
            (completed, ask(&other).await)
        };
        // The command that lost the race read the order again.
        met += usize::from(faults.calls().iter().filter(|call| *call == "Query").count() == 2);
        let end = finish(&other, completed).await;
        match (end, requested) {
            (OrderStatus::OrderCompleted, false) | (OrderStatus::OrderCancelled, true) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(met > 0 || lost_answers_of_complete > 0, "the commands never met");
}
