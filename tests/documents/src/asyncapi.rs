//! `asyncapi.json`: the events on the topic, and the frames on the WebSocket.

use std::collections::BTreeMap;

use contracts::schema::event_versions;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::Document;

/// The description of the events and the WebSocket's frames.
pub fn asyncapi() -> Document {
    let events: BTreeMap<String, Value> = event_versions()
        .into_iter()
        .map(|event| {
            let name = format!("{}.v{}", event.event_type, event.version);
            let message = json!({
                "name": event.event_type,
                "title": format!("{} version {}", event.event_type, event.version),
                "contentType": "application/json",
                "payload": {"$ref": format!("./schemas/{name}.json")},
                "examples": [{"payload": event.example}],
            });
            (name, message)
        })
        .collect();

    let frames = realtime::frames();
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.contract = Contract::Serialize;
    let mut generator = settings.into_generator();
    let server = (frames.server)(&mut generator).to_value();
    let content = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ordersaga",
            "version": "1",
            "description": "What Ordersaga tells: events to other systems, and live order status to its customers.",
            "license": {"name": "MIT"}
        },
        "defaultContentType": "application/json",
        "servers": {
            "events": {
                "host": "sns.{region}.amazonaws.com", "protocol": "sns",
                "description": "Subscribe a queue to the topic: raw delivery, filtered by the attributes `event_type` and `source`.",
                "variables": {"region": {"default": "us-east-1"}}
            },
            "live": {
                "host": "{host}", "protocol": "wss",
                "description": "`POST /v1/realtime/tickets` gives the address, and the ticket that opens it: `?ticket=…`.",
                "variables": {"host": {"default": "example.execute-api.us-east-1.amazonaws.com"}}
            }
        },
        "channels": {
            "events": {
                "address": "ordersaga-{stage}-events.fifo",
                "description": "In order by subject; at least once.",
                "servers": [{"$ref": "#/servers/events"}],
                "parameters": {"stage": {"default": "prod", "enum": ["dev", "prod"]}},
                "messages": references(events.keys())
            },
            "live": {
                "address": "/live",
                "description": "An order's frames come in the order of its versions, some twice, and never with a hole that no `gap` announces.",
                "servers": [{"$ref": "#/servers/live"}],
                "messages": references(["client", "server"])
            }
        },
        "operations": {
            "tell": {
                "action": "send", "channel": {"$ref": "#/channels/events"},
                "summary": "Every fact, once its context has stored it."
            },
            "listen": {
                "action": "receive", "channel": {"$ref": "#/channels/live"},
                "messages": [{"$ref": "#/channels/live/messages/client"}],
                "summary": "What a client asks for."
            },
            "push": {
                "action": "send", "channel": {"$ref": "#/channels/live"},
                "messages": [{"$ref": "#/channels/live/messages/server"}],
                "summary": "What a client gets."
            }
        },
        "components": {
            "messages": messages(events, &frames, server),
            "schemas": generator.take_definitions(true)
        }
    });
    Document { path: "shared/contracts/asyncapi.json".to_owned(), content }
}

fn references(names: impl IntoIterator<Item = impl AsRef<str>>) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/components/messages/{name}")});
    names.into_iter().map(|name| (name.as_ref().to_owned(), reference(name.as_ref()))).collect()
}

fn messages(events: BTreeMap<String, Value>, frames: &realtime::Frames, server: Value) -> Value {
    let examples = |frames: &[Value]| frames.iter().map(|frame| json!({"payload": frame})).collect::<Value>();
    let mut messages: Map<String, Value> = events.into_iter().collect();
    let client = json!({
        "title": "What a client sends", "payload": frames.client, "examples": examples(&frames.client_examples)
    });
    let server = json!({
        "title": "What the server sends", "payload": server, "examples": examples(&frames.server_examples)
    });
    messages.extend([("client".to_owned(), client), ("server".to_owned(), server)]);
    Value::Object(messages)
}
