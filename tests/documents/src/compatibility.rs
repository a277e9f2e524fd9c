//! Whether a schema may take the place of a published one of the same version.
//!
//! Both ways, because events and readers of both ages are in use at once: what was written before must be valid now
//! (stores, queues and archives keep it), and what is written now must be valid for readers that were built before.
//! That leaves one change: a field more that nobody must have. Anything else is a new version.

use jsoncompat::{CompatibilityError, Role, SchemaBuildError, SchemaDocument, check_compat};
use serde_json::Value;

/// A change that breaks a reader.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("what was written before is not valid any more")]
    OldEvents,
    #[error("what is written now is not valid for readers that were built before")]
    OldReaders,
    #[error("a schema cannot be read")]
    Schema(#[from] SchemaBuildError),
    #[error("it cannot be told whether the change is compatible")]
    Unknown(#[from] CompatibilityError),
}

/// Whether `new` may take the place of `old`.
///
/// # Errors
/// Who would break, or why it cannot be told.
pub fn check(old: &Value, new: &Value) -> Result<(), Broken> {
    let (old, new) = (SchemaDocument::from_json(old)?, SchemaDocument::from_json(new)?);
    // A writer writes the fields that its schema names and no others: the checker takes what was written so.
    if !check_compat(&old, &new, Role::Deserializer)? {
        return Err(Broken::OldEvents);
    }
    if !check_compat(&old, &new, Role::Serializer)? {
        return Err(Broken::OldReaders);
    }
    Ok(())
}
