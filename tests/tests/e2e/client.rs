//! A client in another language, which knows the documents in shared/contracts only (tests/client).

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::fixture::{Fixture, WITHIN};
use crate::harness::Outcome;
use crate::programs;

crate::tests![a_generated_client_places_an_order_and_watches_it];

/// Some 280 packages through a slow line.
const INSTALLATION: Duration = Duration::from_secs(300);

async fn a_generated_client_places_an_order_and_watches_it(fixture: Fixture) -> Outcome {
    let sku = fixture.product(1).await?;
    if !is_installed() {
        npm(&["ci"], INSTALLATION).await?;
    }
    npm(&["run", "build"], WITHIN).await?;
    let said = npm(&["run", "order", "--", &fixture.outputs.api_url, sku.as_str()], WITHIN).await?;
    // Each event, from both sources.
    for event_type in ["order.created", "order.inventory_reserved", "order.completed"] {
        for source in ["REST", "WebSocket"] {
            let seen = said.lines().any(|line| line.starts_with(source) && line.ends_with(event_type));
            assert!(seen, "no {event_type} by {source}:\n{said}");
        }
    }
    assert!(said.contains("ended as OrderCompleted, OrderCompleted"), "{said}");
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("client")
}

/// npm writes a lock file of what it has installed, which is as old as the installation.
fn is_installed() -> bool {
    let changed = |file: &str| folder().join(file).metadata().and_then(|data| data.modified()).ok();
    changed("node_modules/.package-lock.json") >= changed("package-lock.json")
}

/// Returns what npm prints.
async fn npm(arguments: &[&str], within: Duration) -> Outcome<String> {
    let mut command = Command::new(programs::npm().await?);
    command.args(arguments).current_dir(folder()).kill_on_drop(true);
    let run = tokio::time::timeout(within, command.output()).await??;
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    if run.status.success() { Ok(said) } else { Err(format!("npm {}: {said}", arguments.join(" ")).into()) }
}
