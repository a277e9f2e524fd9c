//! The part of the shop's page that follows from the ledger: the list of an order's progress, and why an order
//! was cancelled.

use std::fmt::Write;

use contracts::saga::{ProgressLine, STEPS, reasons, steps::PROGRESS};

pub fn script() -> String {
    let mut script = "
// --- The saga, as the customer sees it. Generated from its ledger (shared/contracts/src/saga/steps.rs) by `cargo ops ledger`.

const STEPS = [
"
    .to_owned();
    for progress in PROGRESS {
        let _ = writeln!(script, "  {},", line(progress));
    }
    script.push_str("];\n\nconst REASONS = {\n");
    let explanations = reasons().filter_map(|reason| Some((reason.name, reason.explanation.as_ref()?)));
    for (name, explanation) in explanations {
        let _ = writeln!(script, "  {name}: {},", text(explanation.page));
    }
    script.push_str("};\n");
    script
}

/// One line of the list, with the steps of the saga that belong to it.
fn line(progress: &ProgressLine) -> String {
    let steps: Vec<&str> =
        STEPS.iter().filter(|step| step.progress == progress).map(|step| step.name).collect();
    let failed = progress.failed.map_or_else(String::new, |failed| format!(" instead: {},", text(failed)));
    format!(
        "{{ name: {}, doing: {}, done: {}, failed: {},{failed} undone: {}, saga: {} }}",
        text(progress.name),
        text(progress.running),
        list(progress.done_events),
        list(progress.failed_events),
        list(progress.undone_events),
        list(&steps),
    )
}

fn list(items: &[&str]) -> String {
    format!("[{}]", items.iter().map(|item| text(item)).collect::<Vec<_>>().join(", "))
}

/// A string of JavaScript.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
