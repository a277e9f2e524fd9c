//! The parts of the READMEs that are generated: the diagram, from the definition, the table of steps and undos, and the
//! calls in the picture of the whole system.

use std::collections::BTreeSet;

use contracts::saga::{COMPENSATION_FAILED, Call, Context, STEPS, Step, undos};
use serde_json::Value;

use crate::{
    definition::{ABORT_ORDER, CANCEL_ORDER, HAD_IT_COMPLETED, definition},
    json::Json,
};

/// A Mermaid state diagram of the definition.
pub fn diagram() -> String {
    let states = states();
    let mut lines =
        vec!["```mermaid".to_owned(), "stateDiagram-v2".to_owned(), "    direction TB".to_owned()];
    lines.extend(happy_path());
    lines.push(String::new());
    let steps: BTreeSet<&str> = STEPS.iter().map(|step| step.name).collect();
    let is_step = |name: &str| steps.contains(name.trim_end_matches("Again"));
    let edges = |name: &str, state: &Value| -> Vec<String> {
        ways(name, state).into_iter().map(|(to, label)| edge(name, &to, &label)).collect()
    };
    lines
        .extend(states.iter().filter(|(name, _)| is_step(name)).flat_map(|(name, state)| edges(name, state)));
    lines.extend(note());
    lines.push(String::new());
    lines.extend(
        states.iter().filter(|(name, _)| !is_step(name)).flat_map(|(name, state)| edges(name, state)),
    );
    lines.push("```".to_owned());
    lines.join("\n")
}

/// The table of each step with its undo.
pub fn table() -> String {
    let mut lines = vec![
        "| step | what it does | its undo | why any ending is safe |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    let rows = STEPS.iter().enumerate().map(|(position, step)| {
        let undo = match step.undo {
            Some(undo) => {
                let outcomes: Vec<String> = undo
                    .done
                    .iter()
                    .chain([&undo.nothing_done])
                    .map(|outcome| format!("`{}`", outcome.as_str()))
                    .collect();
                let (last, first) = outcomes.split_last().expect("nothing_done is one");
                format!("{}: {}; {} or {last}", undo.name, undo.does, first.join(", "))
            }
            None if position + 1 == STEPS.len() => {
                "AbortOrder: requests a cancel unless the order has completed, and answers which it is"
                    .to_owned()
            }
            None => "none: CancelOrder records the end".to_owned(),
        };
        format!("| {} | {} | {undo} | {} |", step.name, step.does, step.safe_because)
    });
    lines.extend(rows);
    lines.join("\n")
}

/// The saga's calls of each context, for the flowchart of the repository's README.md: steps by number, and undos.
pub fn calls() -> String {
    let contexts: BTreeSet<Context> = STEPS.iter().map(|step| step.context).collect();
    let lines = contexts.into_iter().map(|context| {
        let steps = STEPS.iter().enumerate().filter(|(_, step)| step.context == context);
        let steps: Vec<String> = steps
            .map(|(position, step)| {
                let by = if step.call == Call::Invoke { "" } else { " by queue" };
                format!("{} {}{by}", position + 1, step.name)
            })
            .collect();
        let undos = undos().filter(|undo| undo.context == context).map(|undo| undo.name);
        let ends = (context == Context::Orders).then_some(CANCEL_ORDER);
        let undos: Vec<&str> = undos.chain(ends).collect();
        let undos = if undos.is_empty() { String::new() } else { format!(" ⟲ {}", undos.join(", ")) };
        let function = context.function();
        let id = function.trim_end_matches("-commands");
        format!("saga -- \"{}{undos}\" --> {id}[{function}]", steps.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The states in the definition's order.
fn states() -> Vec<(String, Value)> {
    let Json::Object(members) = definition() else { return vec![] };
    let Some((_, Json::Object(states))) = members.into_iter().find(|(name, _)| name == "States") else {
        return vec![];
    };
    let read = |state: Json| serde_json::from_str(&state.to_string()).expect("it was written as JSON");
    states.into_iter().map(|(name, state)| (name, read(state))).collect()
}

fn happy_path() -> Vec<String> {
    let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
    let between = names.windows(2).map(|pair| edge(pair[0], pair[1], ""));
    let start = edge("[*]", names[0], "");
    let end = edge(names[names.len() - 1], "[*]", "completed");
    [start].into_iter().chain(between).chain([end]).collect()
}

fn edge(from: &str, to: &str, label: &str) -> String {
    let label = if label.is_empty() { String::new() } else { format!(": {label}") };
    format!("    {from} --> {to}{label}")
}

/// Every way out of a state, with its label, that is not on the happy path.
fn ways(name: &str, state: &Value) -> Vec<(String, String)> {
    let list = |field: &str| state[field].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let step = STEPS.iter().find(|step| step.name == name);
    let choice = |yes: &'static [&'static str], no: &str| -> Vec<(String, String)> {
        let ways = list("Choices");
        let ways = ways.iter().zip(yes).map(|(choice, label)| (text(&choice["Next"]), (*label).to_owned()));
        ways.chain([(text(&state["Default"]), no.to_owned())]).collect()
    };
    let caught = |other: &str| -> Vec<(String, String)> {
        let caught = list("Catch");
        let ways = caught.iter().map(|rule| {
            let errors: Vec<String> =
                rule["ErrorEquals"].as_array().into_iter().flatten().map(text).collect();
            let label = match errors[0].as_str() {
                "States.ALL" => other.to_owned(),
                COMPENSATION_FAILED => "an undo failed".to_owned(),
                _ => errors.join(", "),
            };
            (text(&rule["Next"]), label)
        });
        ways.collect()
    };
    match state["Type"].as_str() {
        Some("Succeed" | "Fail") => vec![("[*]".to_owned(), String::new())],
        Some("Choice") if name == HAD_IT_COMPLETED => choice(&["yes", "no"], "no answer"),
        Some("Choice") => choice(&["there is time"], "time is up"),
        _ if step.is_some() => caught("anything else"),
        _ if undos().any(|undo| undo.name == name) => {
            vec![(text(&state["Next"]), "undone or not".to_owned())]
        }
        _ if name == ABORT_ORDER => {
            [vec![(text(&state["Next"]), String::new())], caught("exhausted")].concat()
        }
        _ => [vec![("[*]".to_owned(), "cancelled".to_owned())], caught("exhausted")].concat(),
    }
}

/// Where a cancel takes effect.
fn note() -> Vec<String> {
    let names = |is: fn(&Step) -> bool| -> Vec<&str> {
        STEPS.iter().filter(|step| is(step)).map(|step| step.name).collect()
    };
    let waits = names(|step| step.call != Call::Invoke);
    let checks = names(|step| step.context == Context::Orders).join(" and ");
    let notes = waits.iter().flat_map(|name| {
        [
            format!("    note right of {name}"),
            "        A cancel takes effect here at once,".to_owned(),
            "        elsewhere at the next of".to_owned(),
            format!("        {checks}"),
            "    end note".to_owned(),
        ]
    });
    notes.collect()
}
