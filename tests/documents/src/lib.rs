//! The documents that are generated from the code (in shared/contracts, and the functions' sample events in
//! infra/events), the check that a change to them breaks no reader, and the blocks of the templates.
//!
//! A separate crate, because it enables the `openapi` feature of every context, which no function should
//! link.

mod asyncapi;
mod dashboards;
mod events;
mod invocations;
mod metrics;
mod openapi;
mod templates;

use std::path::{Path, PathBuf};

use serde_json::Value;

pub use asyncapi::asyncapi;
pub use contracts::compatibility::{Broken, check};
pub use events::schemas;
pub use invocations::invocations;
pub use metrics::{CONTEXTS, metrics_document, operations_of};
pub use openapi::{openapi, operations};
pub use templates::{Template, TemplateError, templates};

/// A generated file: its path below the repository, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub path: String,
    pub content: Value,
}

impl Document {
    /// As it is in the file: indented, and with a newline at the end.
    pub fn text(&self) -> String {
        format!("{:#}\n", sorted(&self.content))
    }

    pub fn file(&self) -> PathBuf {
        repository().join(&self.path)
    }
}

/// With members by name: the order in which serde_json keeps them depends on what else is built with it.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            members.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect()
        }
        Value::Array(values) => values.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of the documents for readers in other languages.
pub fn folder() -> PathBuf {
    repository().join("shared/contracts")
}
