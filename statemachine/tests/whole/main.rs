//! Runs the definition: every step and undo with every outcome of its calls, two faults in one run, and a
//! cancel at every moment, against services that do no more than they promise. In every case money, stock and
//! shipment must end consistent.

mod machine;
mod services;

use std::time::Duration;

use contracts::{
    OrderStatus,
    saga::{
        Call, Context, SERVICE_UNAVAILABLE, STEPS, Step,
        steps::{COMPLETE_ORDER, TAKE_PAYMENT},
        undos,
    },
};
use machine::{Ended, Jitter, Machine, ORDER_WAIT};
use serde_json::Value;
use services::{Fault, Services};

const JITTERS: [Jitter; 3] = [Jitter::None, Jitter::Half, Jitter::All];
/// The longest that a step goes on when its time is up: its function times out in each of 15 tries, and all pauses are
/// drawn whole.
const LAST_TRIES: Duration = Duration::from_secs(15 * 35 + 301);
/// More calls than a run makes before its undos are done: a cancel may come before each.
const MOMENTS: usize = 24;

/// The steps that are invoked.
fn invoked() -> impl Iterator<Item = &'static Step> {
    STEPS.into_iter().filter(|step| step.call == Call::Invoke)
}

fn tasks() -> Vec<&'static str> {
    let steps = STEPS.iter().map(|step| step.name);
    steps.chain(["AbortOrder"]).chain(undos().map(|undo| undo.name)).chain(["CancelOrder"]).collect()
}

/// The tasks of a context.
fn tasks_of(context: Context) -> Vec<&'static str> {
    let steps = STEPS.iter().filter(|step| step.context == context).map(|step| step.name);
    let undos = undos().filter(|undo| undo.context == context).map(|undo| undo.name);
    let ends = ["AbortOrder", "CancelOrder"].into_iter().filter(|_| context == Context::Orders);
    steps.chain(undos).chain(ends).collect()
}

/// The number of calls before this step when nothing goes wrong.
fn calls_before(step: &Step) -> usize {
    STEPS.iter().position(|other| other.name == step.name).expect("a step of the ledger")
}

/// The final errors by which steps are refused.
fn refusals() -> impl Iterator<Item = &'static str> {
    STEPS.iter().flat_map(|step| step.refusals).map(|refusal| refusal.reason.name)
}

/// One run, and what must hold after it.
fn run(machine: &Machine, mut services: Services) -> (Services, Ended) {
    let ended = machine.run(&mut services);
    services.everything_late_happens();
    if let Err(wrong) = check(&services, &ended) {
        panic!("{wrong}\n{ended:?}, {:?}\n{}", services.order, services.describe());
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
        (OrderStatus::OrderCompleted, Ended::Succeeded) if held.len() == undos().count() => Ok(()),
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
    tasks().into_iter().flat_map(|task| Fault::ALL.map(|fault| (task, fault))).collect()
}

#[test]
fn without_trouble_the_order_completes_with_everything_done() {
    let (services, ended) = run(&Machine::of_the_repository(), Services::default());
    assert_eq!((services.order.status, ended), (OrderStatus::OrderCompleted, Ended::Succeeded));
    assert_eq!(services.calls(), STEPS.map(|step| step.name));
}

#[test]
fn each_refusal_ends_cancelled_with_nothing_held() {
    let machine = Machine::of_the_repository();
    for refusal in refusals() {
        let (services, ended) = run(&machine, Services::default().refusing(Some(refusal)));
        assert_eq!(
            (services.order.status, ended),
            (OrderStatus::OrderCancelled, Ended::Succeeded),
            "{refusal}"
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
    let refusals = refusals().map(Some).chain([None]);
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
    let (payment, completion) = (calls_before(&TAKE_PAYMENT), calls_before(&COMPLETE_ORDER));
    let moments = [(0, true), (payment, true), (payment, false), (completion, false)];
    let cancels: Vec<_> = moments.map(Some).into_iter().chain([None]).collect();
    for (first, one) in faults.iter().enumerate() {
        for other in &faults[first + 1..] {
            for cancel in &cancels {
                let services = Services::default().with(one.0, one.1).with(other.0, other.1);
                run(
                    &machine,
                    cancel.iter().fold(services, |s, (moment, heard)| s.cancelled_before(*moment, *heard)),
                );
            }
        }
    }
}

#[test]
fn a_service_that_is_away_for_ten_minutes_delays_the_order_and_cancels_none() {
    for jitter in JITTERS {
        let machine = Machine::of_the_repository().with_jitter(jitter);
        // What is sent to a queue waits there.
        for context in invoked().map(|step| step.context).filter(|context| *context != TAKE_PAYMENT.context) {
            let (services, _) = run(&machine, Services::default().away(&tasks_of(context), 0..10));
            assert_eq!(services.order.status, OrderStatus::OrderCompleted, "{context:?}, {jitter:?}");
            let minutes = services.clock.as_secs() / 60;
            assert_eq!(minutes, 10, "{context:?}, {jitter:?}: it goes on as soon as the service is back");
        }
    }
}

/// However long it has waited before it was paid.
#[test]
fn a_paid_order_waits_as_long_once_more() {
    for jitter in JITTERS {
        let services = Services::default()
            .away(&tasks_of(Context::Inventory), 0..25)
            .paid_after(14)
            .away(&tasks_of(Context::Fulfillment), 39..52)
            .away(&tasks_of(Context::Orders), 52..62);
        let (services, _) = run(&Machine::of_the_repository().with_jitter(jitter), services);
        assert_eq!(services.order.status, OrderStatus::OrderCompleted, "{jitter:?}");
    }
}

#[test]
fn a_step_that_fails_for_good_cancels_the_order_when_its_time_is_up() {
    for jitter in JITTERS {
        let machine = Machine::of_the_repository().with_jitter(jitter);
        for step in invoked().map(|step| step.name) {
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
    let (services, _) =
        run(&Machine::of_the_repository(), services.away(&tasks_of(Context::Inventory), 0..29));
    assert!(services.calls().len() * 3 < 5_000, "{} calls", services.calls().len());
}

#[test]
fn an_order_that_is_to_be_undone_does_not_wait() {
    let machine = Machine::of_the_repository();
    for moment in 0..STEPS.len() {
        let (services, _) = run(&machine, Services::default().cancelled_before(moment, false));
        assert!(services.clock < Duration::from_secs(10), "{moment}: {:?}", services.clock);
    }
}

#[test]
fn an_undo_that_is_down_for_hours_is_named_and_the_others_are_done() {
    let machine = Machine::of_the_repository();
    for (undo, part) in undos().map(|undo| (undo.name, undo.part)) {
        // Cancelled when everything was done and nothing completed: all undos are needed.
        let services = Services::default().cancelled_before(calls_before(&COMPLETE_ORDER), false);
        let services = services.with(undo, Fault::Down);
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
        assert!(is_seen(&broken), "no test sees that {what}");
    }
}

/// The same for each undo of the ledger.
#[test]
fn an_undo_that_is_left_out_is_seen() {
    for undo in undos() {
        let broken = Machine::with(|states| {
            let next = states[undo.name]["Next"].clone();
            for state in states.as_object_mut().expect("states").values_mut() {
                lead_past(state, undo.name, &next);
            }
        });
        assert!(is_seen(&broken), "no test sees that {} is left out", undo.name);
    }
}

/// Every way to `undo` leads to `next`.
fn lead_past(value: &mut Value, undo: &str, next: &Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| lead_past(member, undo, next)),
        Value::Array(items) => items.iter_mut().for_each(|item| lead_past(item, undo, next)),
        // Its own name is also the action that it sends.
        Value::String(name) if name == undo => *value = next.clone(),
        _ => {}
    }
}

/// Whether a run of this machine ends in a way that it must not: with any call ending in any way, and with a cancel
/// before any step or without one.
fn is_seen(machine: &Machine) -> bool {
    let mut all = faults().into_iter().flat_map(|(task, fault)| {
        let services = Services::default().with(task, fault);
        let cancelled = (0..STEPS.len()).map(|moment| services.clone().cancelled_before(moment, false));
        cancelled.chain([services.clone()]).collect::<Vec<_>>()
    });
    all.any(|mut services| {
        let ended = machine.run(&mut services);
        services.everything_late_happens();
        check(&services, &ended).is_err()
    })
}
