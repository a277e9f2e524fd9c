//! Invariants of every order, for any sequence of commands.

use contracts::saga::{Compensations, ORDER_CANCEL_REQUESTED, STEPS, UndoOutcome, undos};
use proptest::prelude::*;

use super::{Command, Event, History, Order, Rejected, command_id, decide};
use crate::testing::{commit, complete, failure, given, order_id, place, placed, refund_failed};

/// Any outcome of any undo, so that an undo may also end as another one does.
fn outcome() -> impl Strategy<Value = UndoOutcome> {
    let own = undos().flat_map(|undo| undo.done.iter().chain([&undo.nothing_done])).copied();
    prop::sample::select(own.chain([UndoOutcome::NotNeeded, UndoOutcome::Failed]).collect::<Vec<_>>())
}

fn compensations() -> impl Strategy<Value = Compensations> {
    prop::collection::vec(outcome(), undos().count()).prop_map(|outcomes| {
        let each = undos().zip(outcomes);
        each.fold(Compensations::default(), |all, (undo, outcome)| all.with(undo, outcome))
    })
}

fn any_cancel() -> impl Strategy<Value = Command> {
    let refusals = STEPS.iter().flat_map(|step| {
        let names = step.refusals.iter().map(|refusal| refusal.reason.name);
        names.chain([ORDER_CANCEL_REQUESTED, "States.Timeout"]).map(|error| (step.name, error))
    });
    (prop::sample::select(refusals.collect::<Vec<_>>()), compensations()).prop_map(
        |((step, error), compensations)| Command::Cancel { failure: failure(step, error), compensations },
    )
}

/// The happy path more often than its disturbances, so that orders come far.
fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => Just(place()),
        3 => Just(Command::RecordReservation),
        3 => Just(complete()),
        1 => Just(Command::RequestCancel),
        1 => Just(Command::Abort),
        2 => any_cancel(),
        1 => (0..3_u8).prop_map(|n| refund_failed(&format!("re_{n}"))),
    ]
}

fn ended(order: &Order) -> bool {
    matches!(order, Order::Placed(placed) if placed.status.is_final())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_order_keeps_its_promises(commands in prop::collection::vec(any_command(), 1..14)) {
        let mut order = Order::NotPlaced;
        let (mut commits, mut events, mut taken) = (vec![], Vec::<Event>::new(), vec![]);
        let mut comes_backs = 0;
        for (second, command) in (0..).zip(commands) {
            let Ok(new) = decide(&order, command.clone()) else { continue };

            // A final state is final, unless the money comes back.
            let comes_back = matches!(command, Command::RefundFailed { .. });
            prop_assert!(new.is_empty() || !ended(&order) || comes_back, "{command:?} after the end");
            comes_backs += usize::from(comes_back && !new.is_empty());

            if !new.is_empty() {
                commits.push(commit(&order, command.clone(), second));
            }
            events.extend(new);
            order = given(order, vec![command.clone()]);
            taken.push(command.clone());

            // The same again is a success that changes nothing.
            let again = decide(&order, command.clone());
            if matches!(command, Command::Place { .. }) {
                prop_assert_eq!(again, Err(Rejected::AlreadyPlaced));
            } else if command != Command::RequestCancel || !ended(&order) {
                prop_assert_eq!(again, Ok(vec![]));
            }
        }

        // At most one end, and another one each time the bank returned the money.
        let completed = events.iter().filter(|event| matches!(event, Event::Completed(_))).count();
        let cancelled = events.iter().filter(|event| matches!(event, Event::Cancelled(_))).count();
        prop_assert!(completed + cancelled <= 1 + comes_backs && (completed == 0 || cancelled == 0));

        // Replaying the stored commits yields the same order.
        let history = History::replay(&order_id(), commits).unwrap();
        prop_assert_eq!(history.as_ref().map(|h| Order::Placed(h.order.clone())).unwrap_or_default(), order);
        if let Some(history) = history {
            let stored: Vec<Event> = history.events.iter().map(|e| Event::read(&e.envelope).unwrap()).collect();
            prop_assert_eq!(stored, events);
        }
    }

    #[test]
    fn an_order_is_never_both_completed_and_requested_to_be_cancelled(
        commands in prop::collection::vec(any_command(), 1..14),
    ) {
        let mut order = given(Order::NotPlaced, vec![place()]);
        for command in commands {
            if decide(&order, command.clone()).is_ok() {
                order = given(order, vec![command]);
            }
        }
        let placed = placed(&order);
        let completed = placed.status == contracts::OrderStatus::OrderCompleted;
        prop_assert!(!(completed && placed.cancel_requested));
    }

    #[test]
    fn cancels_are_the_same_command_only_when_the_undos_ended_alike(a in any_cancel(), b in any_cancel()) {
        let (Command::Cancel { compensations: left, .. }, Command::Cancel { compensations: right, .. }) = (&a, &b)
        else { unreachable!() };
        prop_assert_eq!(command_id(&order_id(), &a) == command_id(&order_id(), &b), left == right);
    }
}
