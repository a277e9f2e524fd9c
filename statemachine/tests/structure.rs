//! Rules for the definition itself, independent of what the commands answer.

use std::collections::{BTreeMap, BTreeSet};

use contracts::saga::{
    COMPENSATION_FAILED, Call, FieldSource, INVENTORY_NOT_AVAILABLE, LONGEST_WAY_FORWARD_SECONDS,
    ORDER_CANCEL_REQUESTED, ORDER_WAIT_MINUTES, PAYMENT_DECLINED, SERVICE_UNAVAILABLE, SHIPMENT_REJECTED,
    STEPS, Step, error_names, is_before_payment, steps::TAKE_PAYMENT, undos,
};
use serde_json::{Value, json};
use statemachine::ORDER_SAGA;

/// A command function's timeout in the templates: the task must outlast it, or a late success is taken for a failure.
const COMMAND_TIMEOUT_SECONDS: u64 = 30;
/// The payments context's own deadline; the task's timeout is the backstop behind it.
const PAYMENT_DEADLINE_SECONDS: u64 = 15 * 60;

/// The step of the ledger that a state is.
fn step_of(state: &str) -> Option<&'static Step> {
    STEPS.into_iter().find(|step| step.name == state)
}

/// The undos of these steps, in the order in which they run.
fn undos_of(steps: &[&Step]) -> Vec<&'static str> {
    steps.iter().rev().filter_map(|step| step.undo).map(|undo| undo.name).collect()
}

/// The undos from a state on, until the order is cancelled.
fn undos_from<'a>(states: &'a BTreeMap<String, Value>, mut state: &'a str) -> Vec<&'a str> {
    let mut path = vec![];
    while state != "CancelOrder" {
        path.push(state);
        state = states[state]["Next"].as_str().unwrap_or_else(|| panic!("{path:?} does not end"));
    }
    path
}

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
fn the_happy_path_enters_one_state_for_each_step_and_no_others() {
    let states = states();
    let mut path = vec![definition()["StartAt"].as_str().expect("StartAt").to_owned()];
    while let Some(next) = states[path.last().expect("never empty")]["Next"].as_str() {
        path.push(next.to_owned());
        assert!(path.len() <= states.len(), "the happy path goes in a circle: {path:?}");
    }
    assert_eq!(path, STEPS.map(|step| step.name));
    assert_eq!(states[&path[STEPS.len() - 1]]["End"], true);
}

#[test]
fn every_task_has_a_timeout_retries_and_catches_everything() {
    for (name, task) in tasks() {
        let timeout =
            task["TimeoutSeconds"].as_u64().unwrap_or_else(|| panic!("{name} has no TimeoutSeconds"));
        let is_queued = step_of(&name).is_some_and(|step| step.call != Call::Invoke);
        let floor = if is_queued { PAYMENT_DEADLINE_SECONDS } else { COMMAND_TIMEOUT_SECONDS };
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
    for (position, step) in STEPS.iter().enumerate().filter(|(_, step)| step.call == Call::Invoke) {
        let is_last = position + 1 == STEPS.len();
        let undos = undos_of(&STEPS[..=position]);
        let next = if is_last { "AbortOrder" } else { undos.first().copied().unwrap_or("CancelOrder") };
        let started = "$toMillis($states.context.Execution.StartTime)";
        let (step, since) = (step.name, if is_before_payment(step.name) { started } else { "$paid_at" });
        let expected = json!({
            "Type": "Choice",
            "Choices": [{
                "Condition": format!("{{% $millis() - {since} < ${{OrderWaitMinutes}} * 60000 %}}"),
                "Next": step,
            }],
            "Default": next,
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
        let step = step_of(&name);
        // Until a payment answers, another message could charge a second time: its timeout is not retried.
        let is_queued = step.is_some_and(|step| step.call != Call::Invoke);
        let errors = if is_queued { "States.TaskFailed" } else { "States.ALL" };
        let (longest, attempts) = if step.is_some() { (30, 14) } else { (300, 100) };
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
        let expected: Vec<&str> = match (step_of(&name), undos().find(|undo| undo.name == name)) {
            (Some(step), _) => {
                let refusals = step.refusals.iter().map(|refusal| refusal.reason.name);
                refusals.chain([ORDER_CANCEL_REQUESTED]).collect()
            }
            (None, Some(undo)) => undo.refusals.to_vec(),
            // The result is recorded, and a retry would return the same.
            (None, None) if name == "CancelOrder" => vec![COMPENSATION_FAILED],
            (None, None) => vec![],
        };
        assert_eq!(final_names, expected, "{name}");
    }
}

#[test]
fn every_error_name_is_in_the_contract() {
    for (name, state) in states() {
        let rules = list(&state, "Retry").iter().chain(list(&state, "Catch"));
        let own = state["Error"].as_str();
        for error in rules.flat_map(names).chain(own).filter(|error| !error.starts_with("States.")) {
            assert!(error_names().contains(error), "{name} names {error}, which contracts::saga does not");
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
    assert_eq!(used, error_names());
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
    let after = undos().skip(1).map(|undo| undo.name).chain(["CancelOrder"]);
    for (undo, next) in undos().map(|undo| undo.name).zip(after) {
        assert_eq!(successors(&states[undo]), BTreeSet::from([next]), "{undo}");
    }
}

#[test]
fn an_exhausted_or_silent_undo_is_recorded_as_failed() {
    let states = states();
    for (undo, part) in undos().map(|undo| (undo.name, undo.part)) {
        let state = &states[undo];
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
    for Step { name: step, call, .. } in STEPS {
        for catch in list(&states[*step], "Catch") {
            let failure = &catch["Assign"]["failure"];
            assert_eq!(failure["step"], *step);
            let everything = names(catch) == ["States.ALL"];
            // A timeout has no cause, and a cause may be as long as a stack trace.
            let cause = "{% $exists($states.errorOutput.Cause) ? $substring($states.errorOutput.Cause, 0, 500) : '' %}";
            let error = "$states.errorOutput.Error";
            let (error, cause) = match call {
                // The backstop behind the payment's own deadline means the same.
                Call::Queue { timeout_error, .. } if everything => {
                    (format!("{{% {error} = 'States.Timeout' ? '{timeout_error}' : {error} %}}"), cause)
                }
                // To the customer every error that was waited out is the same; which it was comes first in the cause.
                Call::Invoke if everything => (
                    SERVICE_UNAVAILABLE.to_owned(),
                    "{% $substring($states.errorOutput.Error & ': ' & $states.errorOutput.Cause, 0, 500) %}",
                ),
                _ => (format!("{{% {error} %}}"), cause),
            };
            assert_eq!((&failure["error"], &failure["cause"]), (&json!(error), &json!(cause)), "{step}");
            let nothing: Value = undos().map(|undo| (undo.part.to_owned(), json!("not_needed"))).collect();
            assert_eq!(catch["Assign"]["undone"], nothing, "{step}: CancelOrder reads each");
        }
    }
}

#[test]
fn each_error_undoes_what_may_have_happened() {
    let states = states();
    for (position, step) in STEPS.iter().enumerate() {
        let (before, from_here) = (undos_of(&STEPS[..position]), undos_of(&STEPS[..=position]));
        for catch in list(&states[step.name], "Catch") {
            let next = catch["Next"].as_str().expect("a state");
            for error in names(catch) {
                let refusal = step.refusals.iter().find(|refusal| refusal.reason.name == error);
                let needs_no_undo = refusal.is_some_and(|refusal| refusal.needs_no_undo.is_some());
                match (error, step.call) {
                    // What follows the wait has a test of its own above.
                    ("States.ALL", Call::Invoke) => assert_eq!(next, format!("{}Again", step.name)),
                    _ if needs_no_undo => {
                        assert_eq!(undos_from(&states, next), before, "{}: {error}", step.name)
                    }
                    _ => assert_eq!(undos_from(&states, next), from_here, "{}: {error}", step.name),
                }
            }
        }
    }
}

/// By these names the contexts promise that they did nothing (README.md, steps and undos).
#[test]
fn three_refusals_need_no_undo_of_their_step() {
    let refusals = STEPS.iter().flat_map(|step| step.refusals);
    let without_undo: Vec<&str> = refusals
        .filter(|refusal| refusal.needs_no_undo.is_some())
        .map(|refusal| refusal.reason.name)
        .collect();
    for name in [INVENTORY_NOT_AVAILABLE, PAYMENT_DECLINED, SHIPMENT_REJECTED] {
        assert!(without_undo.contains(&name), "{name}");
    }
    let timeout = TAKE_PAYMENT.refusals.iter().find(|refusal| refusal.needs_no_undo.is_none());
    assert_eq!(timeout.map(|refusal| refusal.reason.name), Some("PaymentTimeout"), "money may have moved");
}

/// A state hands on one value only: the answer that a later step takes.
#[test]
fn one_answer_at_a_time_is_handed_on() {
    let answers = STEPS.iter().enumerate().flat_map(|(taken, step)| {
        step.fields.iter().filter_map(move |field| match field.source {
            FieldSource::Answer(name) => Some((name, taken)),
            _ => None,
        })
    });
    let mut free_from = 0;
    for (name, taken) in answers {
        let given = STEPS.iter().position(|step| step.name == name).expect("a step of the ledger");
        assert!(free_from <= given && given < taken, "{name}");
        free_from = taken;
    }
}

#[test]
fn an_answer_that_says_nothing_is_not_taken_for_success() {
    let states = states();
    assert_eq!(states["HadItCompleted"]["Default"], "SagaUnresolved");
    let status = "{% $states.result.Payload.status %}";
    assert_eq!(states["CancelOrder"]["Output"]["status"], status, "no status is an error, and retried");
}
