//! What templates and state machine say beside the table of numbers in lambda-kit (DESIGN.md section 10).

use std::fs;

use lambda_kit::numbers;
use serde_json::Value;

use crate::document::{Template, repository, target};

fn template(name: &str) -> Template {
    Template::all().into_iter().find(|template| template.name == name).expect("there is such a template")
}

fn timeout_of(template: &str, function: &str) -> u64 {
    let template = self::template(template);
    let found = template.functions().find(|(id, _)| *id == function);
    found.expect("there is such a function").1["Timeout"].as_u64().expect("it has a timeout")
}

/// The most instances of a function that a queue keeps busy.
fn concurrency_of(template: &str, queue: &str) -> u64 {
    let template = self::template(template);
    let most = template
        .sources()
        .find(|source| source.kind == "SQS" && target(&source.properties["Queue"]) == Some(queue))
        .map(|source| source.properties["ScalingConfig"]["MaximumConcurrency"].clone());
    most.expect("there is such a queue").as_u64().expect("the queue has a bulkhead")
}

#[test]
fn queues_have_their_bulkheads() {
    let expected = [
        ("payments", "CommandsQueue", numbers::PAYMENTS_CONCURRENCY),
        ("notifications", "EmailQueue", numbers::EMAIL_CONCURRENCY),
        ("notifications", "SmsQueue", numbers::SMS_CONCURRENCY),
        ("realtime", "LineQueue", numbers::REALTIME_CONCURRENCY),
    ];
    for (template, queue, most) in expected {
        assert_eq!(concurrency_of(template, queue), u64::from(most), "{template} {queue}");
    }
}

#[test]
fn notifications_know_which_try_of_an_event_is_the_last() {
    let template = template("notifications");
    for queue in ["EmailQueue", "SmsQueue"] {
        let receives = &template.properties(queue)["RedrivePolicy"]["maxReceiveCount"];
        assert_eq!(*receives, numbers::NOTIFICATION_RECEIVES, "{queue}");
    }
}

#[test]
fn functions_that_call_a_provider_outlast_its_call() {
    let expected = [
        ("payments", "PaymentsCommands", numbers::GATEWAY_CALL),
        ("notifications", "NotificationsConsumer", numbers::SEND.budget),
    ];
    for (template, function, call) in expected {
        assert!(timeout_of(template, function) > call.as_secs(), "{function}");
    }
    // Two calls of the gateway in one invocation: to make an intent, and to confirm it.
    assert!(timeout_of("payments", "PaymentsCommands") > 2 * numbers::GATEWAY_CALL.as_secs());
}

#[test]
fn the_payments_deadline_is_before_the_state_machines() {
    let template = template("payments");
    let (_, deadline) = template
        .section("Parameters")
        .find(|(name, _)| *name == "PaymentDeadlineSeconds")
        .expect("a deadline");
    assert_eq!(deadline["Default"], numbers::PAYMENT_DEADLINE.as_secs());
    assert!(deadline["MaxValue"].as_u64().expect("a most") < numbers::SAGA_PAYMENT.as_secs());
}

#[test]
fn the_state_machine_waits_longer_for_each_step_than_its_function_may_run() {
    let file = repository().join("statemachine/order_saga.asl.json");
    let machine: Value =
        serde_json::from_str(&fs::read_to_string(file).expect("the state machine can be read"))
            .expect("JSON");
    let states = machine["States"].as_object().expect("states");
    let waits: Vec<(&String, u64)> = states
        .iter()
        .filter(|(_, state)| state["Type"] == "Task")
        .map(|(name, state)| (name, state["TimeoutSeconds"].as_u64().unwrap_or_default()))
        .collect();
    assert!(waits.len() > 5);
    for (name, seconds) in waits {
        let expected = if name == "TakePayment" { numbers::SAGA_PAYMENT } else { numbers::SAGA_TASK };
        assert_eq!(seconds, expected.as_secs(), "{name}");
    }
}
