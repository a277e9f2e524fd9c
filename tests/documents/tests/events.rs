//! The event schemas and their golden examples in shared/contracts/schemas.

use std::{collections::BTreeSet, fs};

use contracts::{Envelope, schema::event_versions};
use documents::{Broken, check, folder, schemas};
use serde_json::{Value, json};

fn files() -> BTreeSet<String> {
    let folder = fs::read_dir(folder().join("schemas")).expect("the schemas are checked in");
    folder
        .map(|file| format!("shared/contracts/schemas/{}", file.unwrap().file_name().to_string_lossy()))
        .collect()
}

fn read(path: &str) -> Value {
    let text = fs::read_to_string(folder().join(path)).expect("it can be read");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn the_files_are_what_the_code_says() {
    for document in schemas() {
        let file = fs::read_to_string(document.file()).unwrap_or_default();
        assert!(file == document.text(), "{} differs: run `cargo ops schemas`", document.path);
    }
    let expected: BTreeSet<String> = schemas().into_iter().map(|document| document.path).collect();
    let gone: Vec<_> = files().difference(&expected).cloned().collect();
    assert!(gone.is_empty(), "published, and not in the code any more: {gone:?}");
}

#[test]
fn every_golden_example_is_valid_and_is_read() {
    for event in event_versions() {
        let name = format!("schemas/{}.v{}", event.event_type, event.version);
        let example = read(&format!("{name}.example.json"));
        let schema = jsonschema::validator_for(&read(&format!("{name}.json"))).expect("a JSON Schema");
        assert!(schema.is_valid(&example), "{name}: {:?}", schema.iter_errors(&example).collect::<Vec<_>>());
        let envelope: Envelope = serde_json::from_value(example).expect("an envelope");
        assert!((event.reads)(&envelope), "{name} is not read");
        assert!(!schema.is_valid(&json!({})));
    }
}

fn schema(change: fn(&mut Value)) -> Value {
    let all = event_versions();
    let mut schema =
        all.iter().find(|event| event.event_type == "inventory.reserved").unwrap().schema.clone();
    change(&mut schema);
    schema
}

fn payload(schema: &mut Value) -> &mut Value {
    &mut schema["$defs"]["InventoryReserved"]
}

#[test]
fn a_field_more_that_nobody_must_have_is_compatible() {
    let old = schema(|_| {});
    check(&old, &old).unwrap();
    let more = schema(|schema| payload(schema)["properties"]["warehouse"] = json!({"type": "string"}));
    check(&old, &more).unwrap();
}

#[test]
fn a_change_that_breaks_a_reader_is_refused() {
    let old = schema(|_| {});
    let required = schema(|schema| {
        payload(schema)["properties"]["warehouse"] = json!({"type": "string"});
        payload(schema)["required"].as_array_mut().unwrap().push(json!("warehouse"));
    });
    assert!(matches!(check(&old, &required), Err(Broken::OldEvents(_))));
    let removed = schema(|schema| {
        payload(schema)["properties"].as_object_mut().unwrap().remove("items");
        payload(schema)["required"] = json!(["order_id"]);
    });
    assert!(check(&old, &removed).is_err());
    let forgotten = schema(|schema| {
        schema["properties"].as_object_mut().unwrap().remove("traceparent");
    });
    assert!(matches!(check(&old, &forgotten), Err(Broken::Changed(_))));
    let optional = schema(|schema| payload(schema)["required"] = json!(["order_id"]));
    assert!(matches!(check(&old, &optional), Err(Broken::OldReaders(_))));
    let other_type =
        schema(|schema| schema["$defs"]["OrderLine"]["properties"]["quantity"] = json!({"type": "string"}));
    assert!(matches!(check(&old, &other_type), Err(Broken::Changed(_))));
    let renamed_type =
        schema(|schema| schema["properties"]["event_type"] = json!({"const": "inventory.held"}));
    assert!(matches!(check(&old, &renamed_type), Err(Broken::Changed(_))));
    let closed = schema(|schema| payload(schema)["additionalProperties"] = json!(false));
    assert!(matches!(check(&old, &closed), Err(Broken::Changed(_))));
    let mut more = closed.clone();
    payload(&mut more)["properties"]["warehouse"] = json!({"type": "string"});
    assert!(matches!(check(&closed, &more), Err(Broken::OldReaders(_))));
    let nowhere = schema(|schema| schema["properties"]["data"] = json!({"$ref": "#/$defs/Nothing"}));
    assert!(matches!(check(&old, &nowhere), Err(Broken::Reference(_))));
}

#[test]
fn what_a_schema_says_about_itself_and_how_its_definitions_are_named_may_change() {
    let old = schema(|_| {});
    let renamed = schema(|schema| {
        let definition = payload(schema).take();
        schema["$defs"]["Reserved"] = definition;
        schema["properties"]["data"]["$ref"] = json!("#/$defs/Reserved");
        schema["description"] = json!("In other words.");
    });
    check(&old, &renamed).unwrap();
    let inline = schema(|schema| schema["properties"]["data"] = payload(schema).clone());
    check(&old, &inline).unwrap();
}
