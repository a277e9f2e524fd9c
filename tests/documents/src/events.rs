//! `schemas/<type>.v<N>.json` and `schemas/<type>.v<N>.example.json`.

use contracts::schema::event_versions;
use serde_json::json;

use crate::Document;

/// Schema and example of every event type in every version.
pub fn schemas() -> Vec<Document> {
    event_versions()
        .into_iter()
        .flat_map(|event| {
            let name = format!("shared/contracts/schemas/{}.v{}", event.event_type, event.version);
            [
                Document { path: format!("{name}.json"), content: event.schema },
                Document { path: format!("{name}.example.json"), content: json!(event.example) },
            ]
        })
        .collect()
}
