//! Generated documents. A separate program writes them because it links every context, and starting a stack
//! should not wait for that build.

use std::path::Path;

use tokio::process::Command;

use crate::error::Result;

/// Writes the documents of one kind: `schemas`, `openapi`, `asyncapi`, `events`, `ledger`,
/// `templates` or `metrics`.
///
/// # Errors
/// They cannot be written, or a published one would change incompatibly; the program has reported which.
pub async fn write(root: &Path, kind: &str) -> Result<()> {
    let command = format!("cargo run --quiet --package documents -- {kind}");
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap_or("cargo"))
        .args(words)
        .current_dir(root)
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|source| local_stack::Error::Command { command: command.clone(), source })?;
    if status.success() {
        return Ok(());
    }
    Err(local_stack::Error::Build(format!("`{command}` said why.")).into())
}
