//! Events that were stored against events that were published.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The events that an item's last write brought, from an item in the form of DynamoDB's API. What is no event is left out.
pub fn events_of(item: &Value) -> Vec<Value> {
    let outbox = item["outbox"]["L"].as_array().into_iter().flatten();
    outbox.filter_map(|event| serde_json::from_str(event["S"].as_str()?).ok()).collect()
}

/// What is wrong with what a topic took: events of a subject out of their order, and stored events that are missing.
/// `published` in the order in which the topic took them, `stored` in any.
// A repeat is no error. A number may be left out: that of a change without an event.
pub fn unpublished<'a>(
    published: impl IntoIterator<Item = &'a Value>,
    stored: impl IntoIterator<Item = Value>,
) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    let mut last: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for event in published {
        let sequence = event["sequence"].as_i64().unwrap_or_default();
        let (source, subject) = (text(&event["source"]), text(&event["subject"]));
        let before = last.entry((source.clone(), subject.clone())).or_default();
        if ids.insert(text(&event["event_id"])) && sequence < *before {
            found.push(format!("{source} {subject} published {sequence} after {before}"));
        }
        *before = sequence.max(*before);
    }
    for event in stored {
        if !ids.contains(event["event_id"].as_str().unwrap_or_default()) {
            let (source, subject) = (text(&event["source"]), text(&event["subject"]));
            found.push(format!("{source} did not publish {} of {subject}", event["event_type"]));
        }
    }
    found
}
