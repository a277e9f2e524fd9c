//! The documents that are generated from the code: a program of its own writes them, because it links every context, and
//! nobody who starts a stack should wait for that.

use std::path::Path;

use tokio::process::Command;

use crate::error::{Error, Result};

/// Writes the documents of one kind: `schemas`, `openapi`, `asyncapi` or `events`.
///
/// # Errors
/// They cannot be written, or a published one would change in a way that breaks readers: the program has said so.
pub async fn write(root: &Path, kind: &str) -> Result<()> {
    let command = format!("cargo run --quiet --package documents -- {kind}");
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap_or("cargo"))
        .args(words)
        .current_dir(root)
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|source| Error::Command { command: command.clone(), source })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Build(format!("`{command}` said why.")))
}
