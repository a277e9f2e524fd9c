//! Runs a definition: Amazon States Language with JSONata, as far as the saga's definition uses it. For tests and the
//! simulation; it makes no calls and waits for nothing itself.

mod expression;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use self::expression::{Scope, Template};

/// The name of the error of a task that takes longer than its `TimeoutSeconds`.
pub const TIMEOUT: &str = "States.Timeout";

/// The states of a definition.
///
/// # Panics
/// Reading and running a definition panics on what the interpreter does not know.
pub struct Definition {
    start: String,
    states: BTreeMap<String, State>,
}

/// One run of a definition.
pub struct Execution<'a> {
    definition: &'a Definition,
    scope: Scope,
    state: String,
    entered_at: Timestamp,
    /// Of the current state, by its retriers.
    tries: Vec<u64>,
}

/// What an execution does next.
#[derive(Debug)]
pub enum Step {
    /// It calls a service. [`Execution::answer`] takes the answer.
    Call(Call),
    /// It has ended well, with this output.
    Succeeded(Value),
    /// It has ended with this error.
    Failed(String),
}

/// One try of a task.
#[derive(Debug)]
pub struct Call {
    /// The state's name.
    pub state: String,
    /// The service integration.
    pub resource: String,
    pub arguments: Value,
    /// After this time the task has failed with [`TIMEOUT`].
    pub timeout: Option<Duration>,
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    pub error: String,
    pub cause: String,
}

struct State {
    kind: String,
    resource: String,
    arguments: Template,
    timeout: Option<Duration>,
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

impl Definition {
    /// Reads a definition in which all substitutions are made.
    pub fn read(definition: &Value) -> Self {
        let states = definition["States"].as_object().expect("States is an object");
        let states = states.iter().map(|(name, state)| (name.clone(), State::read(state))).collect();
        Self { start: text(definition, "StartAt").expect("StartAt"), states }
    }

    /// An execution that begins now.
    pub fn start(&self, now: Timestamp) -> Execution<'_> {
        Execution {
            definition: self,
            // The definition reads the execution's input from the context object.
            scope: Scope::default(),
            state: self.start.clone(),
            entered_at: now,
            tries: Vec::new(),
        }
    }
}

impl Execution<'_> {
    /// When the current state was entered: `State.EnteredTime` of the context object. A retry does not change it.
    pub const fn entered_at(&self) -> Timestamp {
        self.entered_at
    }

    /// Goes on until the next call, or to the end. `context` is the context object of a task that is called now.
    pub fn next(&mut self, now: Timestamp, context: Value) -> Step {
        self.scope.now = now;
        self.scope.context = context;
        loop {
            let name = &self.state;
            let state =
                self.definition.states.get(name).unwrap_or_else(|| panic!("there is no state {name}"));
            match state.kind.as_str() {
                "Task" => {
                    self.scope.states = json!({});
                    return Step::Call(Call {
                        state: name.clone(),
                        resource: state.resource.clone(),
                        arguments: state.arguments.fill(&self.scope),
                        timeout: state.timeout,
                    });
                }
                "Choice" => {
                    self.scope.states = json!({});
                    let next = state.choose(&mut self.scope);
                    self.enter(next, now);
                }
                "Succeed" => return Step::Succeeded(std::mem::take(&mut self.scope.input)),
                "Fail" => return Step::Failed(state.error.clone().expect("a Fail has an Error")),
                other => panic!("{name} is a {other}"),
            }
        }
    }

    /// Takes the answer of a call. Returns the longest pause before the next try, of which full jitter waits any part;
    /// or whether the execution has ended.
    pub fn answer(&mut self, now: Timestamp, answer: Result<Value, TaskError>) -> After {
        self.scope.now = now;
        let state = &self.definition.states[&self.state];
        let next = match answer {
            Ok(result) => {
                self.scope.states = json!({ "result": result });
                self.scope.leave(state.assign.as_ref(), state.output.as_ref());
                if state.output.is_none() {
                    self.scope.input = self.scope.states["result"].clone();
                }
                state.next.clone()
            }
            Err(TaskError { error, cause }) => {
                self.tries.resize(state.retriers.len(), 0);
                // The first rule that names the error counts, whether it has tries left or not.
                let rule = state.retriers.iter().position(|rule| matches(&rule.errors, &error));
                if let Some(rule) = rule.filter(|rule| self.tries[*rule] < state.retriers[*rule].most) {
                    let pause = state.retriers[rule].pause(self.tries[rule]);
                    self.tries[rule] += 1;
                    return After::Retry(pause);
                }
                let caught = state.catchers.iter().find(|catcher| matches(&catcher.errors, &error));
                let caught = caught.unwrap_or_else(|| panic!("{} lets {error} through", self.state));
                self.scope.states = json!({"errorOutput": {"Error": error, "Cause": cause}});
                self.scope.leave(caught.assign.as_ref(), caught.output.as_ref());
                if caught.output.is_none() {
                    self.scope.input = self.scope.states["errorOutput"].clone();
                }
                Some(caught.next.clone())
            }
        };
        match next {
            Some(next) => {
                self.enter(next, now);
                After::Next
            }
            None => After::Ended(std::mem::take(&mut self.scope.input)),
        }
    }

    fn enter(&mut self, state: String, now: Timestamp) {
        self.state = state;
        self.entered_at = now;
        self.tries.clear();
    }
}

/// What follows an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum After {
    /// Another try, after at most this pause.
    Retry(Duration),
    /// Another state.
    Next,
    /// The task was the last state, and this is the execution's output.
    Ended(Value),
}

impl State {
    fn read(state: &Value) -> Self {
        let list = |field: &str| state[field].as_array().cloned().unwrap_or_default();
        let template = |value: &Value| (!value.is_null()).then(|| Template::read(value));
        Self {
            kind: text(state, "Type").expect("Type"),
            resource: text(state, "Resource").unwrap_or_default(),
            arguments: Template::read(&state["Arguments"]),
            timeout: state["TimeoutSeconds"].as_u64().map(Duration::from_secs),
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
    fn a_state_is_entered_once_however_often_it_is_tried() {
        let retry = json!([{"ErrorEquals": ["States.ALL"], "MaxAttempts": 1}]);
        let definition = Definition::read(&json!({"StartAt": "First", "States": {
            "First": {"Type": "Task", "Arguments": {}, "Retry": retry, "Next": "Second"},
            "Second": {"Type": "Task", "Arguments": {}},
        }}));
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut execution = definition.start(at(1));
        let mut entered = |second, answer| {
            assert!(matches!(execution.next(at(second), json!({})), Step::Call(_)));
            let entered_at = execution.entered_at();
            execution.answer(at(second + 1), answer);
            entered_at.as_second()
        };
        let error = TaskError { error: "Transient".to_owned(), cause: "why".to_owned() };
        assert_eq!([entered(1, Err(error)), entered(3, Ok(json!({}))), entered(5, Ok(json!({})))], [1, 1, 4]);
    }

    #[test]
    fn a_rule_names_one_error_or_all_or_all_but_a_timeout() {
        let names = |rule: &str, error: &str| matches(&[rule.to_owned()], error);
        assert!(names("Transient", "Transient") && !names("Transient", TIMEOUT));
        assert!(names("States.ALL", "Transient") && names("States.ALL", TIMEOUT));
        assert!(names("States.TaskFailed", "Transient") && !names("States.TaskFailed", TIMEOUT));
    }
}
