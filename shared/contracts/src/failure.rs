//! Why an order's saga could not complete it.

use serde::{Deserialize, Serialize};

/// The step that failed, with the name of its error and what it said (shortened).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failure {
    /// The name of the state that failed.
    pub step: String,
    /// One of the saga's error names, or `Transient`, `States.Timeout`, … for an error without a name of its own.
    pub error: String,
    /// The error's message, cut after 500 characters. Not for customers.
    pub cause: String,
}
