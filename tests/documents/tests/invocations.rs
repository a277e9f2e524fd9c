//! `infra/events`: the files match the code, each function has one, and each can be parsed. A test of
//! tests/e2e sends them to the deployed functions.

use std::{collections::BTreeSet, fs};

use contracts::{
    Envelope,
    query::OrderQuery,
    saga::{FulfillmentCommand, InventoryCommand, PaymentCommand},
    schema::event_versions,
};
use documents::{invocations, operations, repository};
use lambda_kit::{sqs::parse_batch, stream::StreamEvent};
use serde_json::{Value, from_value};

fn event(function: &str) -> Value {
    let path = format!("infra/events/{function}.json");
    invocations()
        .into_iter()
        .find(|document| document.path == path)
        .expect("the function has an event")
        .content
}

/// The functions of which the name ends so, each with its event.
fn events(suffix: &str) -> Vec<(String, Value)> {
    let named = binaries().into_iter().filter(|function| function.ends_with(suffix));
    named.map(|function| (function.clone(), event(&function))).collect()
}

fn binaries() -> BTreeSet<String> {
    let contexts = fs::read_dir(repository().join("functions")).expect("the contexts");
    let folders = contexts.filter_map(|context| fs::read_dir(context.ok()?.path().join("src/bin")).ok());
    let files = folders.flatten().map(|file| file.expect("an entry").path());
    files.map(|file| file.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

#[test]
fn the_files_are_what_the_code_says() {
    for document in invocations() {
        let file = fs::read_to_string(document.file()).unwrap_or_default();
        assert!(file == document.text(), "{} differs: run `cargo ops events`", document.path);
    }
}

#[test]
fn every_function_has_an_event_and_every_event_a_function() {
    let described: BTreeSet<String> =
        invocations().into_iter().map(|document| document.path.replace("infra/events/", "")).collect();
    let expected: BTreeSet<String> = binaries().iter().map(|function| format!("{function}.json")).collect();
    assert_eq!(described, expected);
    let folder = fs::read_dir(repository().join("infra/events")).expect("the events are checked in");
    let files: BTreeSet<String> =
        folder.map(|file| file.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(files, expected);
}

#[test]
fn every_request_is_one_that_the_api_describes() {
    let operations = operations();
    let requests = events("-api");
    assert_eq!(requests.len(), 8);
    for (function, request) in requests {
        let http = &request["requestContext"]["http"];
        let (method, path) =
            (http["method"].as_str().unwrap().to_lowercase(), http["path"].as_str().unwrap());
        assert_eq!(request["rawPath"], path, "{function}");
        let fits = |template: &str| {
            let (given, wanted): (Vec<_>, Vec<_>) =
                (path.split('/').collect(), template.split('/').collect());
            given.len() == wanted.len()
                && given.iter().zip(&wanted).all(|(given, wanted)| given == wanted || wanted.starts_with('{'))
        };
        let described = operations.iter().any(|operation| operation.method == method && fits(operation.path));
        assert!(described, "{function}: no operation is {method} {path}");
    }
}

#[test]
fn every_message_holds_an_event_that_can_be_read() {
    let batches = events("-consumer");
    assert_eq!(batches.len(), 7);
    for (function, batch) in batches {
        let batch = parse_batch(&batch.to_string()).expect("a batch of a queue");
        for message in batch.records {
            let body = message.body.expect("a body");
            assert!(is_read(&serde_json::from_str(&body).expect("an envelope")), "{function}: {body}");
        }
    }
}

#[test]
fn every_change_of_a_table_brings_events_that_can_be_read() {
    let batches = [events("-relay"), events("-views")].concat();
    assert_eq!(batches.len(), 8);
    for (function, batch) in batches {
        let batch: StreamEvent = from_value(batch).expect("a batch of a stream");
        let new: Vec<Envelope> = batch
            .records
            .iter()
            .flat_map(|record| record.new_events().expect("an outbox"))
            .map(|outgoing| outgoing.event)
            .collect();
        assert!(!new.is_empty() && new.iter().all(is_read), "{function}: {new:?}");
        // It would start the saga of an order that does not exist.
        assert!(new.iter().all(|event| event.event_type != "order.created"), "{function}");
    }
}

fn is_read(event: &Envelope) -> bool {
    event_versions().iter().any(|known| known.event_type == event.event_type && (known.reads)(event))
}

#[test]
fn every_command_can_be_read() {
    from_value::<InventoryCommand>(event("inventory-commands")).expect("a command of inventory");
    from_value::<FulfillmentCommand>(event("fulfillment-commands")).expect("a command of fulfillment");
    from_value::<PaymentCommand>(event("payments-commands")).expect("a command of payments");
    from_value::<OrderQuery>(event("orders-commands")).expect("a question of orders");
}
