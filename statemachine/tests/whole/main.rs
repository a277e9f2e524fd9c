//! The definition itself, run: every step and undo in every way in which a call can end, two such calls in one run, and a
//! cancel at every moment, against services that do no more than they promise. However it goes, money, stock and
//! shipment come out right.

mod expression;
mod machine;
mod services;

use contracts::OrderStatus;
use machine::{Ended, Machine};
use services::{Fault, Refusal, Services};

const TASKS: [&str; 10] = [
    "ReserveInventory",
    "RecordReservation",
    "TakePayment",
    "ScheduleShipment",
    "CompleteOrder",
    "AbortOrder",
    "CancelShipment",
    "RefundPayment",
    "ReleaseInventory",
    "CancelOrder",
];
/// More calls than a run makes before its undos are done: a cancel may come before each.
const MOMENTS: usize = 24;

/// One run, and what must hold after it.
fn run(machine: &Machine, mut services: Services) -> (Services, Ended) {
    let ended = machine.run(&mut services);
    services.everything_late_happens();
    if let Err(wrong) = check(&services, &ended) {
        panic!("{wrong}\n{ended:?}, {:?}\n{}", services.order, services.told());
    }
    (services, ended)
}

fn check(services: &Services, ended: &Ended) -> Result<(), String> {
    let order = &services.order;
    let held: Vec<&str> = services.held();
    if services.charges > 1 {
        return Err(format!("charged {} times", services.charges));
    }
    match (order.status, ended) {
        // Orders could not be reached for hours: the reconciler goes on from here, on the same undos.
        (_, Ended::Failed(error)) if error == "SagaUnresolved" => match services.orders_was_down() {
            true => Ok(()),
            false => Err("unresolved without need".to_owned()),
        },
        (OrderStatus::OrderCompleted, Ended::Succeeded) if held.len() == 3 => Ok(()),
        (OrderStatus::OrderCompleted, Ended::Succeeded) => Err(format!("completed with {held:?} only")),
        (OrderStatus::OrderCancelled, Ended::Succeeded) if held.is_empty() => Ok(()),
        (OrderStatus::OrderCancelled, Ended::Succeeded) => {
            Err(format!("cancelled and {held:?} is not undone"))
        }
        (OrderStatus::NeedsAttention, Ended::Failed(error)) if error == "CompensationFailed" => {
            match held.iter().find(|part| !order.failed.iter().any(|failed| failed == *part)) {
                None => Ok(()),
                Some(part) => Err(format!("{part} is not undone, and the order does not say so")),
            }
        }
        (status, _) => Err(format!("the execution ended, and the order as {status}")),
    }
}

fn faults() -> Vec<(&'static str, Fault)> {
    TASKS.into_iter().flat_map(|task| Fault::ALL.map(|fault| (task, fault))).collect()
}

#[test]
fn without_trouble_the_order_completes_with_everything_done() {
    let (services, ended) = run(&Machine::of_the_repository(), Services::default());
    assert_eq!((services.order.status, ended), (OrderStatus::OrderCompleted, Ended::Succeeded));
    assert_eq!(services.calls(), TASKS[..5]);
}

#[test]
fn each_refusal_ends_cancelled_with_nothing_held() {
    let machine = Machine::of_the_repository();
    for refusal in Refusal::ALL {
        let (services, ended) = run(&machine, Services::default().refusing(Some(refusal)));
        assert_eq!(
            (services.order.status, ended),
            (OrderStatus::OrderCancelled, Ended::Succeeded),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_cancel_at_any_moment_ends_in_one_of_two_ways() {
    let machine = Machine::of_the_repository();
    let mut ends = vec![];
    for moment in 0..MOMENTS {
        for heard in [true, false] {
            let (services, ended) = run(&machine, Services::default().cancelled_before(moment, heard));
            assert_eq!(ended, Ended::Succeeded);
            let status = services.order.status;
            assert_eq!(status == OrderStatus::OrderCancelled, services.cancel_accepted, "call {moment}");
            ends.push(status);
        }
    }
    assert!(ends.contains(&OrderStatus::OrderCompleted) && ends.contains(&OrderStatus::OrderCancelled));
}

#[test]
fn one_call_may_end_in_any_way_whatever_is_refused_and_whenever_it_is_cancelled() {
    let machine = Machine::of_the_repository();
    let refusals = Refusal::ALL.map(Some).into_iter().chain([None]);
    for refusal in refusals {
        for (task, fault) in faults() {
            for moment in 0..MOMENTS {
                for heard in [true, false] {
                    let services = Services::default().refusing(refusal).cancelled_before(moment, heard);
                    run(&machine, services.with(task, fault));
                }
            }
        }
    }
}

#[test]
fn any_two_calls_may_end_in_any_way() {
    let machine = Machine::of_the_repository();
    let faults = faults();
    let cancels = [None, Some((0, true)), Some((2, true)), Some((2, false)), Some((4, false))];
    for (first, one) in faults.iter().enumerate() {
        for other in &faults[first + 1..] {
            for cancel in cancels {
                let services = Services::default().with(one.0, one.1).with(other.0, other.1);
                run(
                    &machine,
                    cancel.into_iter().fold(services, |s, (moment, heard)| s.cancelled_before(moment, heard)),
                );
            }
        }
    }
}

#[test]
fn an_undo_that_is_down_for_hours_is_named_and_the_others_are_done() {
    let machine = Machine::of_the_repository();
    for (undo, part) in
        [("CancelShipment", "shipment"), ("RefundPayment", "payment"), ("ReleaseInventory", "inventory")]
    {
        // Cancelled when everything was done and nothing completed: all three undos are needed.
        let services = Services::default().cancelled_before(4, false).with(undo, Fault::Down);
        let (services, ended) = run(&machine, services);
        assert_eq!(ended, Ended::Failed("CompensationFailed".to_owned()));
        assert_eq!((services.order.failed.clone(), services.held()), (vec![part.to_owned()], vec![part]));
    }
}

/// What this test is worth: each of these would lose money or stock, and is seen.
#[test]
fn a_broken_edge_is_seen() {
    let wrongs = [
        ("a payment of unknown outcome is not refunded", "TakePayment", "/Catch/1/Next", "ReleaseInventory"),
        (
            "a shipment of unknown outcome is not called off",
            "ScheduleShipment",
            "/Catch/1/Next",
            "RefundPayment",
        ),
        ("a reservation of unknown outcome is kept", "ReserveInventory", "/Catch/1/Next", "CancelOrder"),
        ("stock is kept after a cancel", "RecordReservation", "/Catch/0/Next", "CancelOrder"),
        ("a completed order is undone", "CompleteOrder", "/Catch/1/Next", "CancelShipment"),
        ("a cancel is ignored at the end", "CompleteOrder", "/Catch/0/Next", "Completed"),
        ("a failed undo ends the undoing", "CancelShipment", "/Catch/0/Next", "CancelOrder"),
        ("a failed refund is not told", "RefundPayment", "/Catch/0/Assign/undone", "{% $undone %}"),
        ("a failed order counts as cancelled", "CancelOrder", "/Catch/0/Next", "Completed"),
        ("an aborted order counts as completed", "HadItCompleted", "/Choices/1/Next", "Completed"),
        ("the refund is left out", "CancelShipment", "/Next", "ReleaseInventory"),
    ];
    for (what, state, place, value) in wrongs {
        let broken =
            Machine::with(|states| *states[state].pointer_mut(place).expect("it is there") = value.into());
        let all = faults().into_iter().flat_map(|(task, fault)| {
            let services = Services::default().with(task, fault);
            [
                services.clone(),
                services.clone().cancelled_before(2, false),
                services.cancelled_before(4, false),
            ]
        });
        let seen = all.into_iter().any(|mut services| {
            let ended = broken.run(&mut services);
            services.everything_late_happens();
            check(&services, &ended).is_err()
        });
        assert!(seen, "nobody sees that {what}");
    }
}
