//! Compares the templates and the state machine with the limits in `lambda_kit::limits`.

use std::fs;

use contracts::saga::ORDER_WAIT_MINUTES;
use lambda_kit::limits;
use serde_json::Value;

use crate::{
    document::{CONTEXTS, Template, block, repository, sources, target},
    integrations::{self, Bulkhead, INTEGRATIONS},
};

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
    for integration in INTEGRATIONS {
        if let Some(Bulkhead::Queue { most, template, queue }) = integration.bulkhead {
            assert_eq!(concurrency_of(template, queue), u64::from(most), "{template} {queue}");
        }
    }
}

#[test]
fn notifications_know_which_try_of_an_event_is_the_last() {
    let template = template("notifications");
    for queue in ["EmailQueue", "SmsQueue", "CodesQueue"] {
        let receives = &template.properties(queue)["RedrivePolicy"]["maxReceiveCount"];
        assert_eq!(*receives, limits::NOTIFICATION_RECEIVES, "{queue}");
    }
}

/// A parameter may reserve concurrency for these functions; its default is none.
#[test]
fn reserved_concurrency_is_a_parameter_that_is_none_by_default() {
    for (function, _) in
        INTEGRATIONS.iter().filter_map(|it| it.bulkhead).flat_map(|bulkhead| match bulkhead {
            Bulkhead::Reserved(functions) => functions,
            Bulkhead::Queue { .. } => &[],
        })
    {
        let (context, _) = function.split_once('-').expect("a context and what it is");
        let template = template(context);
        let name = format!("ordersaga-${{Stage}}-{function}");
        let (_, resource) = template
            .functions()
            .find(|(_, properties)| properties["FunctionName"]["Fn::Sub"] == name.as_str())
            .expect("there is such a function");
        let reserved = &resource["ReservedConcurrentExecutions"]["Fn::If"];
        let parameter = reserved[1]["Ref"].as_str().unwrap_or_default();
        let (_, parameter) =
            template.section("Parameters").find(|(name, _)| *name == parameter).expect("a parameter");
        assert_eq!(parameter["Default"], "", "{function}");
    }
}

/// Undos are invoked directly: a queue that keeps all reserved instances busy would starve them.
#[test]
fn reserved_concurrency_leaves_room_for_undos_beside_the_queue() {
    let bulkheads = || INTEGRATIONS.iter().filter_map(|integration| integration.bulkhead);
    let reserved = bulkheads().find_map(|bulkhead| match bulkhead {
        Bulkhead::Reserved(functions) => {
            functions.iter().find(|(function, _)| *function == "payments-commands")
        }
        Bulkhead::Queue { .. } => None,
    });
    let (_, reserved) = reserved.expect("payments-commands has a bulkhead");
    let queue = concurrency_of("payments", "CommandsQueue");
    assert!(u64::from(*reserved) >= queue + u64::from(limits::UNDO_CONCURRENCY));
}

#[test]
fn every_breaker_that_the_table_names_guards_something() {
    let folders = CONTEXTS.map(|context| repository().join("functions").join(context).join("src"));
    let text: String = folders
        .iter()
        .flat_map(|folder| sources(folder))
        .map(|file| fs::read_to_string(file).expect("a source"))
        .collect();
    // The storefront makes its breakers from a list of contexts.
    let made = text.split("Breaker::new(").skip(1).filter_map(|call| {
        let (arguments, _) = call.split_once(')')?;
        arguments.split('"').nth(1)
    });
    let named: Vec<&str> = INTEGRATIONS
        .iter()
        .filter_map(|integration| integration.breaker)
        .flat_map(|names| names.split(", "))
        .collect();
    for name in made {
        assert!(named.contains(&name), "{name} is not in the table");
    }
    for name in named {
        assert!(text.contains(&format!("\"{name}\"")), "nothing is called {name}");
    }
}

#[test]
fn the_readme_has_the_table() {
    let table = integrations::table();
    assert!(block("README.md", "numbers") == table, "README.md: put this between the marks:\n{table}");
}

#[test]
fn the_readme_has_the_rate_limits() {
    let table = integrations::rate_limits();
    assert!(block("README.md", "rate-limits") == table, "README.md: put this between the marks:\n{table}");
}

#[test]
fn functions_that_call_a_provider_outlast_its_call() {
    let expected = [
        ("payments", "PaymentsCommands", limits::GATEWAY_CALL),
        ("notifications", "NotificationsConsumer", limits::SEND.budget),
    ];
    for (template, function, call) in expected {
        assert!(timeout_of(template, function) > call.as_secs(), "{function}");
    }
    // Two calls of the gateway in one invocation: to make an intent, and to confirm it.
    assert!(timeout_of("payments", "PaymentsCommands") > 2 * limits::GATEWAY_CALL.as_secs());
}

#[test]
fn the_payments_deadline_is_before_the_state_machines() {
    let template = template("payments");
    let (_, deadline) = template
        .section("Parameters")
        .find(|(name, _)| *name == "PaymentDeadlineSeconds")
        .expect("a deadline");
    assert_eq!(deadline["Default"], limits::PAYMENT_DEADLINE.as_secs());
    assert!(deadline["MaxValue"].as_u64().expect("a most") < limits::SAGA_PAYMENT.as_secs());
}

#[test]
fn an_order_waits_for_a_service_as_long_as_the_contract_says() {
    let template = template("orders");
    let (_, wait) =
        template.section("Parameters").find(|(name, _)| *name == "OrderWaitMinutes").expect("a parameter");
    assert_eq!(wait["Default"], ORDER_WAIT_MINUTES);
    assert!(wait["MinValue"].as_u64() >= Some(10), "ten minutes cancel no order, whatever a stage sets");
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
    let steps = states.values().filter_map(|state| state["Retry"].as_array()?.last());
    let most = steps.map(|retrier| retrier["MaxAttempts"].as_u64().expect("a number of tries"));
    assert!(most.clone().count() > 5);
    assert_eq!(
        most.min(),
        Some(u64::from(limits::SAGA_ATTEMPTS) - 1),
        "of the steps; undos are tried more often"
    );
    for (name, seconds) in waits {
        let expected = if name == "TakePayment" { limits::SAGA_PAYMENT } else { limits::SAGA_TASK };
        assert_eq!(seconds, expected.as_secs(), "{name}");
    }
}
