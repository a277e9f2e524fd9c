//! Rules for the definition itself, independent of what the commands answer.

use std::collections::{BTreeMap, BTreeSet};

use contracts::saga::{
    COMPENSATION_FAILED, ERROR_NAMES, LONGEST_WAY_FORWARD_SECONDS, ORDER_WAIT_MINUTES, RESERVATION_COMMITTED,
    SERVICE_UNAVAILABLE,
};
use serde_json::{Value, json};
use statemachine::ORDER_SAGA;

/// In the order of the happy path.
const STEPS: [&str; 5] =
    ["ReserveInventory", "RecordReservation", "TakePayment", "ScheduleShipment", "CompleteOrder"];
/// In the order in which a failed saga goes through them: the reverse of their steps.
const UNDOS: [&str; 3] = ["CancelShipment", "RefundPayment", "ReleaseInventory"];
/// A command function's timeout in the templates: the task must outlast it, or a late success is taken for a failure.
const COMMAND_TIMEOUT_SECONDS: u64 = 30;
/// The payments context's own deadline; the task's timeout is the backstop behind it.
const PAYMENT_DEADLINE_SECONDS: u64 = 15 * 60;
/// A step that a function does, from when its order waits, and what follows when its time is up.
const WAITS: [(&str, &str, &str); 4] = [
    ("ReserveInventory", "$toMillis($states.context.Execution.StartTime)", "ReleaseInventory"),
    ("RecordReservation", "$toMillis($states.context.Execution.StartTime)", "ReleaseInventory"),
    ("ScheduleShipment", "$paid_at", "CancelShipment"),
    ("CompleteOrder", "$paid_at", "AbortOrder"),
];

fn definition() -> Value {
    serde_json::from_str(ORDER_SAGA).expect("the definition is JSON")
}

fn states() -> BTreeMap<String, Value> {
    serde_json::from_value(definition()["States"].clone()).expect("States is an object")
}

fn tasks() -> BTreeMap<String, Value> {
    states().into_iter().filter(|(_, state)| state["Type"] == "Task").collect()
}

fn list<'a>(state: &'a Value, field: &str) -> &'a [Value] {
    state[field].as_array().map_or(&[], Vec::as_slice)
}

fn names(rule: &Value) -> Vec<&str> {
    list(rule, "ErrorEquals").iter().map(|name| name.as_str().expect("an error name is a string")).collect()
}

/// Every state that may follow: on success, by a choice, on an error.
fn successors(state: &Value) -> BTreeSet<&str> {
    let rules = list(state, "Catch").iter().chain(list(state, "Choices"));
    rules
        .map(|rule| &rule["Next"])
        .chain([&state["Next"], &state["Default"]])
        .filter_map(Value::as_str)
        .collect()
}

fn ends(state: &Value) -> bool {
    state["End"] == true || state["Type"] == "Succeed" || state["Type"] == "Fail"
}

#[test]
fn the_happy_path_enters_exactly_five_states() {
    let states = states();
    let mut path = vec![definition()["StartAt"].as_str().expect("StartAt").to_owned()];
    while let Some(next) = states[path.last().expect("never empty")]["Next"].as_str() {
        path.push(next.to_owned());
        assert!(path.len() <= states.len(), "the happy path goes in a circle: {path:?}");
    }
    assert_eq!(path, STEPS);
    assert_eq!(states["CompleteOrder"]["End"], true);
}

#[test]
fn every_task_has_a_timeout_retries_and_catches_everything() {
    for (name, task) in tasks() {
        let timeout =
            task["TimeoutSeconds"].as_u64().unwrap_or_else(|| panic!("{name} has no TimeoutSeconds"));
        let floor = if name == "TakePayment" { PAYMENT_DEADLINE_SECONDS } else { COMMAND_TIMEOUT_SECONDS };
        assert!(timeout > floor, "{name} gives up after {timeout} s, before what it waits for does");
        assert!(!list(&task, "Retry").is_empty(), "{name} has no Retry");
        let last = list(&task, "Catch").last().unwrap_or_else(|| panic!("{name} has no Catch"));
        assert_eq!(names(last), ["States.ALL"], "{name} lets an error through");
    }
}

#[test]
fn the_execution_as_a_whole_has_no_timeout() {
    // It would end an execution in the middle, without its undos.
    assert_eq!(definition()["TimeoutSeconds"], Value::Null);
}

/// A retrier has no clock, and with full jitter its tries may take half or twice the expected time. So the
/// time is checked after them.
#[test]
fn a_step_that_fails_is_entered_again_until_the_time_of_its_order_is_up() {
    let states = states();
    for (step, since, undo) in WAITS {
        let expected = json!({
            "Type": "Choice",
            "Choices": [{
                "Condition": format!("{{% $millis() - {since} < ${{OrderWaitMinutes}} * 60000 %}}"),
                "Next": step,
            }],
            "Default": undo,
        });
        let mut again = states[&format!("{step}Again")].clone();
        again.as_object_mut().expect("a state").remove("Comment");
        assert_eq!(again, expected, "{step}");
    }
    assert_eq!(states["TakePayment"]["Assign"], json!({ "paid_at": "{% $millis() %}" }));
    // CompleteOrder's input is the shipment, at the first entry and at every later one.
    let unfinished = list(&states["CompleteOrder"], "Catch").last().expect("checked above");
    assert_eq!(unfinished["Output"], "{% $states.input %}");
}

#[test]
fn steps_are_retried_for_minutes_and_undos_for_hours() {
    for (name, task) in tasks() {
        let last = list(&task, "Retry").last().expect("checked above");
        let step = STEPS.contains(&name.as_str());
        // Until a payment answers, another message could charge a second time: its timeout is not retried.
        let errors = if name == "TakePayment" { "States.TaskFailed" } else { "States.ALL" };
        let (longest, attempts) = if step { (30, 14) } else { (300, 100) };
        let expected = json!({
            "ErrorEquals": [errors], "IntervalSeconds": 1, "BackoffRate": 2,
            "MaxDelaySeconds": longest, "JitterStrategy": "FULL", "MaxAttempts": attempts,
        });
        assert_eq!(last, &expected, "{name}");
    }
}

#[test]
fn the_longest_way_forward_is_what_the_contract_says() {
    let payment = states()["TakePayment"]["TimeoutSeconds"].as_u64().expect("checked above");
    let wait = u64::from(ORDER_WAIT_MINUTES) * 60;
    // The order waits before its payment, for it, and after it.
    assert_eq!(wait + payment + wait, u64::from(LONGEST_WAY_FORWARD_SECONDS));
}

#[test]
fn what_the_business_refuses_is_final_and_comes_first() {
    for (name, task) in tasks() {
        let retriers = list(&task, "Retry");
        let (_, first) = retriers.split_last().expect("checked above");
        for retrier in first {
            assert_eq!(retrier["MaxAttempts"], 0, "{name} retries {:?}", names(retrier));
        }
        let final_names: Vec<&str> = first.iter().flat_map(names).collect();
        for caught in list(&task, "Catch").iter().flat_map(names).filter(|name| !name.starts_with("States."))
        {
            assert!(final_names.contains(&caught), "{name} retries {caught} before it catches it");
        }
        match (STEPS.contains(&name.as_str()), name.as_str()) {
            (true, _) => assert!(!final_names.is_empty(), "{name}: steps are refused"),
            // A completed order is not undone, however often it is tried.
            (false, "ReleaseInventory") => assert_eq!(final_names, [RESERVATION_COMMITTED]),
            // The result is recorded, and a retry would return the same.
            (false, "CancelOrder") => assert_eq!(final_names, [COMPENSATION_FAILED]),
            (false, _) => assert!(final_names.is_empty(), "{name}: undos are not refused"),
        }
    }
}

#[test]
fn every_error_name_is_in_the_contract() {
    for (name, state) in states() {
        let rules = list(&state, "Retry").iter().chain(list(&state, "Catch"));
        let own = state["Error"].as_str();
        for error in rules.flat_map(names).chain(own).filter(|error| !error.starts_with("States.")) {
            assert!(ERROR_NAMES.contains(&error), "{name} names {error}, which contracts::saga does not");
        }
        assert_eq!(own.is_some(), state["Type"] == "Fail", "{name}");
    }
}

#[test]
fn every_name_of_the_contract_is_used() {
    let states = states();
    let used: BTreeSet<&str> = states
        .values()
        .flat_map(|state| list(state, "Retry").iter().flat_map(names).chain(state["Error"].as_str()))
        .filter(|name| !name.starts_with("States."))
        .collect();
    assert_eq!(used, ERROR_NAMES.iter().copied().collect());
}

/// Follows every way out of `name`, and fails when one comes back to a state on its own path. A step that is entered again
/// does, and has a test of its own above.
fn walk<'a>(
    states: &'a BTreeMap<String, Value>,
    name: &'a str,
    path: &mut Vec<&'a str>,
    seen: &mut BTreeSet<&'a str>,
) {
    assert!(!path.contains(&name), "{path:?} comes back to {name}");
    let state = states.get(name).unwrap_or_else(|| panic!("{path:?} leads to {name}, which does not exist"));
    let mut next = successors(state);
    if let Some(step) = name.strip_suffix("Again") {
        assert!(next.remove(step), "{name} enters {step} again");
    }
    // A step with `End` still has its errors' ways out; a state without any must end.
    assert!(ends(state) || state["Next"].is_string() || state["Default"].is_string(), "{name} leads nowhere");
    assert!(!(ends(state) && state["Next"].is_string()), "{name} ends and goes on");
    seen.insert(name);
    path.push(name);
    for successor in next {
        walk(states, successor, path, seen);
    }
    path.pop();
}

#[test]
fn every_path_ends_and_every_state_is_on_one() {
    let (definition, states) = (definition(), states());
    let mut seen = BTreeSet::new();
    walk(&states, definition["StartAt"].as_str().expect("StartAt"), &mut Vec::new(), &mut seen);
    assert_eq!(seen, states.keys().map(String::as_str).collect(), "a state is never entered");
}

#[test]
fn an_undo_leads_to_the_next_one_whether_it_succeeds_or_not() {
    let states = states();
    let after = UNDOS.iter().skip(1).copied().chain(["CancelOrder"]);
    for (undo, next) in UNDOS.iter().zip(after) {
        assert_eq!(successors(&states[*undo]), BTreeSet::from([next]), "{undo}");
    }
}

#[test]
fn an_exhausted_or_silent_undo_is_recorded_as_failed() {
    let states = states();
    for (undo, part) in UNDOS.iter().zip(["shipment", "payment", "inventory"]) {
        let state = &states[*undo];
        let outcome = "$states.result.Payload.outcome";
        assert_eq!(
            state["Assign"]["undone"],
            format!("{{% $merge([$undone, {{ '{part}': $exists({outcome}) ? {outcome} : 'failed' }}]) %}}"),
        );
        for catch in list(state, "Catch") {
            let failed = format!("{{% $merge([$undone, {{ '{part}': 'failed' }}]) %}}");
            assert_eq!(catch["Assign"]["undone"], failed, "{undo}");
        }
    }
}

#[test]
fn a_failed_step_says_which_it_was_and_what_it_said() {
    let states = states();
    for step in STEPS {
        for catch in list(&states[step], "Catch") {
            let failure = &catch["Assign"]["failure"];
            assert_eq!(failure["step"], step);
            let everything = names(catch) == ["States.ALL"];
            // A timeout has no cause, and a cause may be as long as a stack trace.
            let cause = "{% $exists($states.errorOutput.Cause) ? $substring($states.errorOutput.Cause, 0, 500) : '' %}";
            let (error, cause) = match step {
                // The backstop behind the payment's own deadline means the same.
                "TakePayment" if everything => (
                    "{% $states.errorOutput.Error = 'States.Timeout' ? 'PaymentTimeout' : $states.errorOutput.Error %}",
                    cause,
                ),
                // To the customer every error that was waited out is the same; which it was comes first in the cause.
                _ if everything => (
                    SERVICE_UNAVAILABLE,
                    "{% $substring($states.errorOutput.Error & ': ' & $states.errorOutput.Cause, 0, 500) %}",
                ),
                _ => ("{% $states.errorOutput.Error %}", cause),
            };
            assert_eq!((&failure["error"], &failure["cause"]), (&json!(error), &json!(cause)), "{step}");
            let nothing =
                json!({ "shipment": "not_needed", "payment": "not_needed", "inventory": "not_needed" });
            assert_eq!(catch["Assign"]["undone"], nothing, "{step}: CancelOrder reads all three");
        }
    }
}

#[test]
fn each_error_undoes_what_may_have_happened() {
    let states = states();
    let ways: Vec<(&str, &str, &str)> = STEPS
        .iter()
        .flat_map(|step| {
            list(&states[*step], "Catch").iter().flat_map(move |catch| {
                names(catch)
                    .into_iter()
                    .map(move |name| (*step, name, catch["Next"].as_str().unwrap_or_default()))
            })
        })
        .collect();
    assert_eq!(
        ways,
        [
            ("ReserveInventory", "InventoryNotAvailable", "CancelOrder"),
            ("ReserveInventory", "OrderCancelRequested", "ReleaseInventory"),
            ("ReserveInventory", "States.ALL", "ReserveInventoryAgain"),
            ("RecordReservation", "OrderCancelRequested", "ReleaseInventory"),
            ("RecordReservation", "States.ALL", "RecordReservationAgain"),
            ("TakePayment", "PaymentDeclined", "ReleaseInventory"),
            ("TakePayment", "States.ALL", "RefundPayment"),
            ("ScheduleShipment", "ShipmentRejected", "RefundPayment"),
            ("ScheduleShipment", "OrderCancelRequested", "CancelShipment"),
            ("ScheduleShipment", "States.ALL", "ScheduleShipmentAgain"),
            ("CompleteOrder", "OrderCancelRequested", "CancelShipment"),
            ("CompleteOrder", "States.ALL", "CompleteOrderAgain"),
        ]
    );
}

#[test]
fn an_answer_that_says_nothing_is_not_taken_for_success() {
    let states = states();
    assert_eq!(states["HadItCompleted"]["Default"], "SagaUnresolved");
    let status = "{% $states.result.Payload.status %}";
    assert_eq!(states["CancelOrder"]["Output"]["status"], status, "no status is an error, and retried");
}
