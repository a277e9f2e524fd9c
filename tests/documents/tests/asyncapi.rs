//! `asyncapi.json` matches the code and is valid, and so are its frames.

use std::fs;

use documents::{asyncapi, folder};
use serde_json::{Value, json};

#[test]
fn the_file_is_what_the_code_says() {
    let document = asyncapi();
    let file = fs::read_to_string(document.file()).unwrap_or_default();
    assert!(file == document.text(), "asyncapi.json differs: run `cargo ops asyncapi`");
}

#[test]
fn the_description_is_asyncapi() {
    let schema: Value = serde_json::from_str(include_str!("asyncapi-3.0.schema.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a JSON Schema");
    let errors: Vec<String> = validator
        .iter_errors(&asyncapi().content)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(!validator.is_valid(&json!({"asyncapi": "3.0.0"})));
}

#[test]
fn every_frame_and_every_event_is_valid() {
    let document = asyncapi().content;
    let messages = document["components"]["messages"].as_object().expect("messages");
    for (name, message) in messages {
        let mut schema = message["payload"].clone();
        if let Some(file) = schema["$ref"].as_str().and_then(|file| file.strip_prefix("./")) {
            let text = fs::read_to_string(folder().join(file)).expect("the schema it names");
            schema = serde_json::from_str(&text).expect("JSON");
        }
        schema
            .as_object_mut()
            .expect("a schema")
            .insert("components".to_owned(), document["components"].clone());
        let validator = jsonschema::validator_for(&schema).expect("a JSON Schema");
        for example in message["examples"].as_array().expect("examples") {
            let errors: Vec<String> =
                validator.iter_errors(&example["payload"]).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}");
        }
    }
}
