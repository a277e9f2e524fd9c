use local_stack::{Emulator, StateDir, deploy};
use serde_json::Value;

use crate::error::Result;

/// Describes the running stack for a person.
///
/// # Errors
/// Nothing runs, or the emulator does not answer.
pub async fn describe(state: &StateDir) -> Result<String> {
    let running = state.running().ok_or(local_stack::Error::NotRunning)?;
    let emulator = Emulator::new(&running.endpoint());
    let stacks = deploy::stacks(&running).await?;
    let functions = functions(&emulator).await?;
    let mut text = format!(
        "running since {} (process {})\n\nAWS      {}\nStripe   {}\n",
        running.started_at,
        running.supervisor,
        running.endpoint(),
        running.stripe_url()
    );
    match state.outputs() {
        Ok(outputs) => {
            text.push_str(&format!(
                "API      {}\nshop     {}\nlive     {}\n",
                outputs.api_url, outputs.storefront_url, outputs.websocket_url
            ));
        }
        Err(_) => text.push_str("\nIt is still being set up.\n"),
    }
    text.push_str(&format!("state    {}\nlogs     {}\n", state.path().display(), state.logs().display()));
    text.push_str(&format!("\n{} stacks\n", stacks.len()));
    for (name, status) in stacks {
        text.push_str(&format!("  {name:<34} {status}\n"));
    }
    text.push_str(&format!("\n{} functions\n", functions.len()));
    for name in functions {
        text.push_str(&format!("  {name}\n"));
    }
    Ok(text)
}

async fn functions(emulator: &Emulator) -> Result<Vec<String>> {
    // One page holds all: Lambda answers 50, and there are 23.
    let path = "/2015-03-31/functions/";
    let answer = emulator.get("lambda", "ListFunctions", path).await?;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let mut names: Vec<String> = answer["Functions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|function| function["FunctionName"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}
