//! Both commands with a fault at each of their calls. A command can only be interrupted before or after the
//! effect of a call, so these are all the ways in which it can fail halfway.

use super::*;

/// The state of the order's shipment, and the command.
#[derive(Debug, Clone, Copy)]
enum Case {
    Schedule,
    ScheduleAgain,
    ScheduleAbroad,
    ScheduleAfterItsUndo,
    Cancel,
    CancelAgain,
    CancelOfNothing,
    CancelOfARejected,
}

impl Case {
    async fn before(self) -> Dispatch {
        let dispatch = Dispatch::open().await;
        match self {
            Self::Schedule | Self::ScheduleAbroad | Self::CancelOfNothing => {}
            Self::ScheduleAgain | Self::Cancel => {
                dispatch.schedule().await.unwrap();
            }
            Self::ScheduleAfterItsUndo => {
                dispatch.cancel().await.unwrap();
            }
            Self::CancelAgain => {
                dispatch.schedule().await.unwrap();
                dispatch.cancel().await.unwrap();
            }
            Self::CancelOfARejected => {
                dispatch.schedule_to("AQ", TODAY).await.unwrap_err();
            }
        }
        dispatch.faults.reset();
        dispatch
    }

    async fn run(self, dispatch: &Dispatch) -> Result<Value, String> {
        match self {
            Self::Schedule | Self::ScheduleAgain | Self::ScheduleAfterItsUndo => dispatch.schedule().await,
            Self::ScheduleAbroad => dispatch.schedule_to("AQ", TODAY).await,
            Self::Cancel | Self::CancelAgain | Self::CancelOfNothing | Self::CancelOfARejected => {
                dispatch.cancel().await
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_command_that_is_interrupted_anywhere_is_finished_by_its_repeat(
    #[values(
        Case::Schedule,
        Case::ScheduleAgain,
        Case::ScheduleAbroad,
        Case::ScheduleAfterItsUndo,
        Case::Cancel,
        Case::CancelAgain,
        Case::CancelOfNothing,
        Case::CancelOfARejected
    )]
    case: Case,
    #[values("GetItem", "PutItem")] call: &str,
    #[values(Faults::lose_answers, Faults::refuse)] disturb: fn(&Faults, &str, u32),
    #[values(1, MAX_ATTEMPTS, MAX_ATTEMPTS + 1)] tries: u32,
) {
    let dispatch = case.before().await;
    let expected = case.run(&dispatch).await;
    let undisturbed = dispatch.store.shipment(&context().order_id).await.unwrap();

    let dispatch = case.before().await;
    disturb(&dispatch.faults, call, tries);
    let first = case.run(&dispatch).await;
    assert!(first == expected || first == refused("Transient"), "{first:?}");
    dispatch.faults.reset();
    for _ in 0..2 {
        assert_eq!(case.run(&dispatch).await, expected);
        assert_eq!(dispatch.store.shipment(&context().order_id).await.unwrap(), undisturbed);
    }
}

#[rstest]
#[case::done_twice_and_undone_twice(&["schedule", "schedule", "cancel", "cancel"])]
#[case::undone_and_done_and_undone(&["cancel", "schedule", "cancel"])]
#[case::undone_twice_and_done_twice(&["cancel", "cancel", "schedule", "schedule"])]
#[case::undone_between(&["schedule", "cancel", "schedule", "cancel"])]
#[tokio::test]
async fn once_undone_nothing_is_scheduled_whatever_comes_after(#[case] commands: &[&str]) {
    let dispatch = Dispatch::open().await;
    for command in commands {
        // Refusals are possible; only the final state matters.
        let _ = if *command == "schedule" { dispatch.schedule().await } else { dispatch.cancel().await };
    }
    let shipment = dispatch.store.shipment(&context().order_id).await.unwrap().unwrap();
    assert_eq!((shipment.status, shipment.shipping_address), (crate::domain::Status::Cancelled, None));
}
