//! Runs the definition: every step and undo with every outcome of its calls, two faults in one run, and a
//! cancel at every moment, against services that do no more than they promise. In every case money, stock and
//! shipment must end consistent.

mod expression;
mod machine;
mod services;

use std::time::Duration;

use contracts::{OrderStatus, saga::SERVICE_UNAVAILABLE};
use machine::{Ended, Jitter, Machine, ORDER_WAIT};
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
/// Each service with the tasks that it does.
const SERVICES: [(&str, &[&str]); 3] = [
    ("inventory", &["ReserveInventory", "ReleaseInventory"]),
    ("orders", &["RecordReservation", "CompleteOrder", "AbortOrder", "CancelOrder"]),
    ("fulfillment", &["ScheduleShipment", "CancelShipment"]),
];
const JITTERS: [Jitter; 3] = [Jitter::None, Jitter::Half, Jitter::All];
/// The longest that a step goes on when its time is up: its function times out in each of 15 tries, and all pauses are
/// drawn whole.
const LAST_TRIES: Duration = Duration::from_secs(15 * 35 + 301);
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
fn a_service_that_is_away_for_ten_minutes_delays_the_order_and_cancels_none() {
    for jitter in JITTERS {
        let machine = Machine::of_the_repository().with_jitter(jitter);
        for (service, tasks) in SERVICES {
            let (services, _) = run(&machine, Services::default().away(tasks, 0..10));
            assert_eq!(services.order.status, OrderStatus::OrderCompleted, "{service}, {jitter:?}");
            let minutes = services.clock.as_secs() / 60;
            assert_eq!(minutes, 10, "{service}, {jitter:?}: it goes on as soon as the service is back");
        }
    }
}

/// However long it has waited before it was paid.
#[test]
fn a_paid_order_waits_as_long_once_more() {
    for jitter in JITTERS {
        let services = Services::default()
            .away(SERVICES[0].1, 0..25)
            .paid_after(14)
            .away(SERVICES[2].1, 39..52)
            .away(SERVICES[1].1, 52..62);
        let (services, _) = run(&Machine::of_the_repository().with_jitter(jitter), services);
        assert_eq!(services.order.status, OrderStatus::OrderCompleted, "{jitter:?}");
    }
}

#[test]
fn a_step_that_fails_for_good_cancels_the_order_when_its_time_is_up() {
    for jitter in JITTERS {
        let machine = Machine::of_the_repository().with_jitter(jitter);
        for step in ["ReserveInventory", "RecordReservation", "ScheduleShipment", "CompleteOrder"] {
            for fault in [Fault::Down, Fault::Mute, Fault::Late(255)] {
                let (services, ended) = run(&machine, Services::default().with(step, fault));
                let told = format!("{step}, {fault:?}, {jitter:?}");
                assert_eq!(ended, Ended::Succeeded, "{told}");
                // Only the answer of CompleteOrder was lost.
                if services.order.status != OrderStatus::OrderCompleted {
                    assert_eq!(services.order.reason, SERVICE_UNAVAILABLE, "{told}");
                }
                let waited = ORDER_WAIT..=ORDER_WAIT + LAST_TRIES + Duration::from_secs(1);
                assert!(waited.contains(&services.clock), "{told}: {:?}", services.clock);
            }
        }
    }
}

/// An execution's history has room for 25,000 events (Step Functions Developer Guide, "Quotas related to state machine
/// executions"), and a try takes three.
#[test]
fn the_history_has_room_for_every_try() {
    let services =
        Services::default().with("ScheduleShipment", Fault::Down).with("CancelShipment", Fault::Down);
    let (services, _) = run(&Machine::of_the_repository(), services.away(SERVICES[0].1, 0..29));
    assert!(services.calls().len() * 3 < 5_000, "{} calls", services.calls().len());
}

#[test]
fn an_order_that_is_to_be_undone_does_not_wait() {
    let machine = Machine::of_the_repository();
    for moment in 0..5 {
        let (services, _) = run(&machine, Services::default().cancelled_before(moment, false));
        assert!(services.clock < Duration::from_secs(10), "{moment}: {:?}", services.clock);
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

/// Checks this test itself: each of these mistakes would lose money or stock, and must be detected.
#[test]
fn a_broken_edge_is_seen() {
    let wrongs = [
        ("a payment of unknown outcome is not refunded", "TakePayment", "/Catch/1/Next", "ReleaseInventory"),
        (
            "a shipment of unknown outcome is not called off",
            "ScheduleShipmentAgain",
            "/Default",
            "RefundPayment",
        ),
        ("a reservation of unknown outcome is kept", "ReserveInventoryAgain", "/Default", "CancelOrder"),
        ("stock is kept after a cancel", "RecordReservation", "/Catch/0/Next", "CancelOrder"),
        ("a completed order is undone", "CompleteOrderAgain", "/Default", "CancelShipment"),
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
