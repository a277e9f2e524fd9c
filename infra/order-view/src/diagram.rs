//! The saga's picture with the way of one order: steps go down on the left, undos go up on the right.

use std::collections::BTreeMap;

use contracts::saga::steps;
use serde_json::Value;

use crate::page::escaped;
use crate::saga::{Execution, Saga};

/// In pixels.
const COLUMN: usize = 230;
const ROW: usize = 78;
const WIDTH: usize = 176;
const HEIGHT: usize = 36;
const MARGIN: usize = 20;

/// Column and row of a state.
type Place = (usize, usize);

/// The picture as SVG.
pub fn svg(saga: Option<&Saga>) -> String {
    let definition: Value = serde_json::from_str(statemachine::ORDER_SAGA).unwrap_or_default();
    let states = definition["States"].as_object().cloned().unwrap_or_default();
    let places = places(states.keys());
    let execution = match saga {
        Some(Saga::Started(execution)) => Some(execution),
        _ => None,
    };
    let way: Vec<&str> = execution
        .into_iter()
        .flat_map(|execution| &execution.visits)
        .map(|visit| visit.state.as_str())
        .collect();
    let rows = places.values().map(|(_, row)| row + 1).max().unwrap_or_default();
    let columns = places.values().map(|(column, _)| column + 1).max().unwrap_or_default();
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"The saga and the way of this order\">\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto-start-reverse\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>",
        columns * COLUMN + MARGIN,
        rows * ROW + MARGIN
    );
    for (from, state) in &states {
        for to in targets(state) {
            let taken = way.windows(2).any(|pair| pair == [from.as_str(), to.as_str()]);
            if let (Some(from), Some(to)) = (places.get(from.as_str()), places.get(to.as_str())) {
                svg.push_str(&arrow(*from, *to, taken));
            }
        }
    }
    for (name, place) in &places {
        svg.push_str(&state_box(name, *place, execution));
    }
    svg.push_str("</svg>");
    svg
}

/// Where each state is drawn. A state that has no place of its own goes to the right.
fn places<'a>(states: impl Iterator<Item = &'a String>) -> BTreeMap<String, Place> {
    let mut places = BTreeMap::new();
    for (row, step) in steps::STEPS.iter().enumerate() {
        places.insert(step.name.to_owned(), (1, row));
        places.insert(format!("{}Again", step.name), (0, row));
        if let Some(undo) = step.undo {
            places.insert(undo.name.to_owned(), (2, row));
        }
    }
    let last = steps::STEPS.len();
    for (name, place) in [
        ("AbortOrder", (2, last - 1)),
        ("HadItCompleted", (2, last)),
        ("Completed", (1, last)),
        ("CancelOrder", (3, 0)),
        ("CompensationFailed", (3, 1)),
        ("SagaUnresolved", (3, last)),
    ] {
        places.insert(name.to_owned(), place);
    }
    let mut known = BTreeMap::new();
    let mut spare = 2;
    for state in states {
        let place = places.get(state).copied().unwrap_or_else(|| {
            spare += 1;
            (3, spare - 1)
        });
        known.insert(state.clone(), place);
    }
    known
}

/// The states that may follow (Amazon States Language: `Next`, `Default`, and those of `Choices` and `Catch`).
fn targets(state: &Value) -> Vec<String> {
    let inner =
        ["Choices", "Catch"].into_iter().flat_map(|name| state[name].as_array().into_iter().flatten());
    let next = inner.map(|rule| &rule["Next"]).chain([&state["Next"], &state["Default"]]);
    let mut targets: Vec<String> = next.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    targets.sort();
    targets.dedup();
    targets
}

fn arrow(from: Place, to: Place, taken: bool) -> String {
    let (left, top) = corner(from);
    let (to_left, to_top) = corner(to);
    let (start, end) = match (from.0.cmp(&to.0), from.1.cmp(&to.1)) {
        (std::cmp::Ordering::Less, _) => ((left + WIDTH, top + HEIGHT / 2), (to_left, to_top + HEIGHT / 2)),
        (std::cmp::Ordering::Greater, _) => {
            ((left, top + HEIGHT / 2), (to_left + WIDTH, to_top + HEIGHT / 2))
        }
        (_, std::cmp::Ordering::Greater) => ((left + WIDTH / 2, top), (to_left + WIDTH / 2, to_top + HEIGHT)),
        _ => ((left + WIDTH / 2, top + HEIGHT), (to_left + WIDTH / 2, to_top)),
    };
    let class = if taken { "edge taken" } else { "edge" };
    format!(
        "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" marker-end=\"url(#arrow)\"/>",
        start.0, start.1, end.0, end.1
    )
}

fn corner((column, row): Place) -> (usize, usize) {
    (column * COLUMN + MARGIN, row * ROW + MARGIN)
}

fn state_box(name: &str, place: Place, execution: Option<&Execution>) -> String {
    let visits =
        || execution.into_iter().flat_map(|execution| &execution.visits).filter(|visit| visit.state == name);
    let failures: usize = visits().map(|visit| visit.failures.len()).sum();
    let is_current = execution.and_then(Execution::current).is_some_and(|visit| visit.state == name);
    let is_bad_end = ["CompensationFailed", "SagaUnresolved"].contains(&name);
    let class = match visits().next_back() {
        None => "never",
        Some(_) if is_bad_end => "failed",
        Some(_) if is_current => "running",
        Some(visit)
            if visit.tries > 0
                && visit.failures.len() >= usize::try_from(visit.tries).unwrap_or(usize::MAX) =>
        {
            "failed"
        }
        Some(visit) if !visit.failures.is_empty() => "warned",
        Some(_) => "done",
    };
    let (left, top) = corner(place);
    let note = match (failures, is_current) {
        (0, false) => String::new(),
        (0, true) => "is here".to_owned(),
        (failures, true) => format!("is here, {failures} tries failed"),
        (1, false) => "1 try failed".to_owned(),
        (failures, false) => format!("{failures} tries failed"),
    };
    format!(
        "<g class=\"state {class}\"><title>{name}{}{note}</title>\
         <rect x=\"{left}\" y=\"{top}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\
         <text x=\"{}\" y=\"{}\">{name}</text><text class=\"note\" x=\"{}\" y=\"{}\">{note}</text></g>",
        if note.is_empty() { "" } else { ": " },
        left + WIDTH / 2,
        top + HEIGHT / 2 + 5,
        left + WIDTH / 2,
        top + HEIGHT + 14,
        name = escaped(name),
    )
}
