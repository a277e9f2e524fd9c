//! Step Functions, as far as the definition uses it: tasks with retries and catches, choices, ends, variables.

use std::{collections::BTreeMap, time::Duration};

use contracts::saga::ORDER_WAIT_MINUTES;
use serde_json::{Map, Value, json};
use statemachine::ORDER_SAGA;

use crate::{
    expression::{Scope, Template},
    services::{Services, TIMEOUT},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Succeeded,
    Failed(String),
}

/// The default of `${OrderWaitMinutes}` in infra/orders.yaml.
pub const ORDER_WAIT: Duration = Duration::from_mins(ORDER_WAIT_MINUTES as u64);

pub struct Machine {
    start: String,
    jitter: Jitter,
    states: BTreeMap<String, State>,
}

/// The part of each retry pause that is waited: with full jitter, anything from none to all of it.
#[derive(Debug, Clone, Copy)]
pub enum Jitter {
    None,
    Half,
    All,
}

struct State {
    kind: String,
    arguments: Template,
    assign: Option<Template>,
    output: Option<Template>,
    next: Option<String>,
    error: Option<String>,
    retriers: Vec<Retrier>,
    catchers: Vec<Catcher>,
    choices: Vec<Choice>,
}

struct Retrier {
    errors: Vec<String>,
    most: u64,
    interval: u64,
    factor: u64,
    longest: u64,
}

struct Catcher {
    errors: Vec<String>,
    assign: Option<Template>,
    output: Option<Template>,
    next: String,
}

struct Choice {
    condition: Template,
    output: Option<Template>,
    next: String,
}

impl Machine {
    pub fn of_the_repository() -> Self {
        Self::with(|_| {})
    }

    /// The repository's definition with a change.
    pub fn with(change: impl FnOnce(&mut Value)) -> Self {
        let definition = ORDER_SAGA.replace("${OrderWaitMinutes}", &ORDER_WAIT_MINUTES.to_string());
        let mut definition: Value = serde_json::from_str(&definition).expect("the definition is JSON");
        change(&mut definition["States"]);
        let states = definition["States"].as_object().expect("States is an object");
        let states = states.iter().map(|(name, state)| (name.clone(), State::read(state))).collect();
        Self { start: text(&definition, "StartAt").expect("StartAt"), jitter: Jitter::Half, states }
    }

    pub fn with_jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// Runs one order.
    pub fn run(&self, services: &mut Services) -> Ended {
        // The definition reads the execution's input from the context object.
        let (input, clock) = (Value::Null, Duration::ZERO);
        let mut scope = Scope { input, variables: Map::new(), states: json!({}), clock };
        let mut name = self.start.clone();
        loop {
            let state = self.states.get(&name).unwrap_or_else(|| panic!("there is no state {name}"));
            (scope.states, scope.clock) = (json!({}), services.clock);
            let next = match state.kind.as_str() {
                "Task" => state.work(&name, &mut scope, services, self.jitter),
                "Choice" => Some(state.choose(&mut scope)),
                "Succeed" => None,
                "Fail" => return Ended::Failed(state.error.clone().expect("a Fail has an Error")),
                other => panic!("{name} is a {other}"),
            };
            match next {
                Some(next) => name = next,
                None => return Ended::Succeeded,
            }
        }
    }
}

impl State {
    fn read(state: &Value) -> Self {
        let list = |field: &str| state[field].as_array().cloned().unwrap_or_default();
        let template = |value: &Value| (!value.is_null()).then(|| Template::read(value));
        Self {
            kind: text(state, "Type").expect("Type"),
            arguments: Template::read(&state["Arguments"]),
            assign: template(&state["Assign"]),
            output: template(&state["Output"]),
            next: text(state, "Next").or(text(state, "Default")),
            error: text(state, "Error"),
            retriers: list("Retry").iter().map(Retrier::read).collect(),
            catchers: list("Catch")
                .iter()
                .map(|rule| Catcher {
                    errors: errors(rule),
                    assign: template(&rule["Assign"]),
                    output: template(&rule["Output"]),
                    next: text(rule, "Next").expect("Next"),
                })
                .collect(),
            choices: list("Choices")
                .iter()
                .map(|rule| Choice {
                    condition: Template::read(&rule["Condition"]),
                    output: template(&rule["Output"]),
                    next: text(rule, "Next").expect("Next"),
                })
                .collect(),
        }
    }

    fn work(&self, name: &str, scope: &mut Scope, services: &mut Services, jitter: Jitter) -> Option<String> {
        let arguments = self.arguments.fill(scope);
        let mut tries = vec![0; self.retriers.len()];
        loop {
            let error = match services.call(name, &arguments) {
                Ok(payload) => {
                    scope.clock = services.clock;
                    scope.states = json!({"result": {"Payload": payload}});
                    scope.leave(self.assign.as_ref(), self.output.as_ref());
                    if self.output.is_none() {
                        scope.input = scope.states["result"].clone();
                    }
                    return self.next.clone();
                }
                Err(error) => error,
            };
            // The first rule that names the error counts, whether it has tries left or not.
            let rule = self.retriers.iter().position(|rule| matches(&rule.errors, error));
            if let Some(rule) = rule.filter(|rule| tries[*rule] < self.retriers[*rule].most) {
                services.clock += jitter.of(self.retriers[rule].pause(tries[rule]));
                tries[rule] += 1;
                continue;
            }
            let caught = self.catchers.iter().find(|catcher| matches(&catcher.errors, error));
            let caught = caught.unwrap_or_else(|| panic!("{name} lets {error} through"));
            scope.states = json!({"errorOutput": {"Error": error, "Cause": "why"}});
            scope.leave(caught.assign.as_ref(), caught.output.as_ref());
            if caught.output.is_none() {
                scope.input = scope.states["errorOutput"].clone();
            }
            return Some(caught.next.clone());
        }
    }

    fn choose(&self, scope: &mut Scope) -> String {
        for choice in &self.choices {
            if choice.condition.fill(scope) == json!(true) {
                scope.leave(None, choice.output.as_ref());
                return choice.next.clone();
            }
        }
        self.next.clone().expect("a Choice has a Default")
    }
}

impl Jitter {
    fn of(self, pause: Duration) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Half => pause / 2,
            Self::All => pause,
        }
    }
}

impl Retrier {
    fn read(rule: &Value) -> Self {
        let number = |field: &str| rule[field].as_u64();
        Self {
            errors: errors(rule),
            most: number("MaxAttempts").expect("MaxAttempts"),
            // A final error has no pauses.
            interval: number("IntervalSeconds").unwrap_or_default(),
            factor: number("BackoffRate").unwrap_or_default(),
            longest: number("MaxDelaySeconds").unwrap_or_default(),
        }
    }

    /// The longest pause after this many retries.
    fn pause(&self, tries: u64) -> Duration {
        let factor = self.factor.saturating_pow(u32::try_from(tries).unwrap_or(u32::MAX));
        Duration::from_secs(self.interval.saturating_mul(factor).min(self.longest))
    }
}

/// Amazon States Language, "Error representation": `States.ALL` is every error, `States.TaskFailed` every one but a
/// timeout.
fn matches(errors: &[String], error: &str) -> bool {
    errors.iter().any(|name| {
        name == error || name == "States.ALL" || (name == "States.TaskFailed" && error != TIMEOUT)
    })
}

fn errors(rule: &Value) -> Vec<String> {
    let names = rule["ErrorEquals"].as_array().expect("ErrorEquals");
    names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

fn text(value: &Value, field: &str) -> Option<String> {
    value[field].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_by_their_factor_up_to_the_longest() {
        let rule = json!({
            "ErrorEquals": ["States.ALL"], "MaxAttempts": 5, "IntervalSeconds": 2, "BackoffRate": 3, "MaxDelaySeconds": 30,
        });
        let retrier = Retrier::read(&rule);
        let pauses: Vec<u64> = (0..4).map(|tried| retrier.pause(tried).as_secs()).collect();
        assert_eq!((pauses, retrier.most), (vec![2, 6, 18, 30], 5));
    }

    #[test]
    fn a_rule_names_one_error_or_all_or_all_but_a_timeout() {
        let names = |rule: &str, error: &str| matches(&[rule.to_owned()], error);
        assert!(names("Transient", "Transient") && !names("Transient", TIMEOUT));
        assert!(names("States.ALL", "Transient") && names("States.ALL", TIMEOUT));
        assert!(names("States.TaskFailed", "Transient") && !names("States.TaskFailed", TIMEOUT));
    }

    #[test]
    fn the_part_of_a_pause_that_is_waited_is_the_machines_jitter() {
        let waited = [Jitter::None, Jitter::Half, Jitter::All].map(|jitter| {
            let machine = Machine::of_the_repository().with_jitter(jitter);
            machine.jitter.of(Duration::from_secs(10)).as_secs()
        });
        assert_eq!(waited, [0, 5, 10]);
    }
}
