//! The saga's execution, from the history that Step Functions keeps.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::mask::masked;
use crate::time::read_time;

/// The saga of an order.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Saga {
    /// Step Functions knows no execution of this name.
    NotStarted,
    /// It was started.
    Started(Execution),
}

/// One execution of the state machine.
#[derive(Debug, Clone, Serialize)]
pub struct Execution {
    /// `RUNNING`, `SUCCEEDED`, `FAILED`, `TIMED_OUT` or `ABORTED`.
    pub status: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The error that it ended with.
    pub error: Option<String>,
    /// The states that it entered, in their order. A state that was entered twice is there twice.
    pub visits: Vec<Visit>,
}

/// A stay in one state.
#[derive(Debug, Clone, Serialize)]
pub struct Visit {
    /// The state's name.
    pub state: String,
    /// When it was entered.
    pub entered_at: Timestamp,
    /// When it was left.
    pub exited_at: Option<Timestamp>,
    /// The number of tries that were begun.
    pub tries: u32,
    /// The tries that failed.
    pub failures: Vec<Attempt>,
}

/// A try that failed.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// When it failed.
    pub at: Timestamp,
    /// The error's name.
    pub error: String,
    /// What the error says, in one line.
    pub cause: String,
}

impl Execution {
    /// Reads the answers of DescribeExecution and GetExecutionHistory. `None` when the first has no start.
    pub fn read(described: &Value, history: &[Value]) -> Option<Self> {
        let text = |name: &str| described[name].as_str().map(str::to_owned);
        let mut execution = Self {
            status: text("status").unwrap_or_default(),
            started_at: read_time(&described["startDate"])?,
            ended_at: read_time(&described["stopDate"]),
            error: text("error"),
            visits: Vec::new(),
        };
        for event in history {
            execution.add(event);
        }
        Some(execution)
    }

    /// One event of the history (HistoryEvent, Step Functions API reference).
    fn add(&mut self, event: &Value) {
        let Some(at) = read_time(&event["timestamp"]) else { return };
        let kind = event["type"].as_str().unwrap_or_default();
        if kind.ends_with("StateEntered") {
            let state = event["stateEnteredEventDetails"]["name"].as_str().unwrap_or_default().to_owned();
            self.visits.push(Visit {
                state,
                entered_at: at,
                exited_at: None,
                tries: 0,
                failures: Vec::new(),
            });
            return;
        }
        if kind == "ExecutionFailed" && self.error.is_none() {
            self.error = event["executionFailedEventDetails"]["error"].as_str().map(str::to_owned);
        }
        let Some(visit) = self.visits.last_mut() else { return };
        match kind {
            "TaskScheduled" => visit.tries += 1,
            "TaskFailed" => visit.failures.push(Attempt::read(at, &event["taskFailedEventDetails"], "")),
            "TaskTimedOut" => {
                visit.failures.push(Attempt::read(at, &event["taskTimedOutEventDetails"], "States.Timeout"));
            }
            "TaskStartFailed" | "TaskSubmitFailed" => {
                let details = ["taskStartFailedEventDetails", "taskSubmitFailedEventDetails"];
                let details = details.into_iter().map(|name| &event[name]).find(|value| !value.is_null());
                visit.failures.push(Attempt::read(at, details.unwrap_or(&Value::Null), "States.TaskFailed"));
            }
            _ if kind.ends_with("StateExited") => visit.exited_at = Some(at),
            _ if kind.starts_with("Execution") => visit.exited_at = visit.exited_at.or(Some(at)),
            _ => {}
        }
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.status == "RUNNING"
    }

    /// The state that it is in.
    pub fn current(&self) -> Option<&Visit> {
        self.visits.last().filter(|_| self.is_running())
    }

    /// The last failure in this state.
    pub(crate) fn last_failure(&self, state: &str) -> Option<&Attempt> {
        self.visits.iter().filter(|visit| visit.state == state).flat_map(|visit| &visit.failures).next_back()
    }
}

impl Attempt {
    fn read(at: Timestamp, details: &Value, default: &str) -> Self {
        let text = |name: &str| details[name].as_str().unwrap_or_default();
        let error = if text("error").is_empty() { default } else { text("error") };
        Self { at, error: error.to_owned(), cause: cause(text("cause")) }
    }

    /// The error and what it says.
    pub(crate) fn said(&self) -> String {
        if self.cause.is_empty() { self.error.clone() } else { format!("{}: {}", self.error, self.cause) }
    }
}

/// The text of a cause. Step Functions gives a function's error as JSON with the fields of the Runtime API.
fn cause(text: &str) -> String {
    const LONGEST: usize = 300;
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let said = json["errorMessage"].as_str().unwrap_or(text);
    let line: Vec<&str> = said.split_whitespace().collect();
    let line: String = line.join(" ").chars().take(LONGEST).collect();
    masked(&line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_execution_is_read_from_its_history() {
        let entered = |id: u32, name: &str| {
            json!({"timestamp": format!("2026-11-29T20:00:0{id}Z"), "type": "TaskStateEntered",
                   "stateEnteredEventDetails": {"name": name}})
        };
        let event = |id: u32, kind: &str, details: Value| {
            let mut event = json!({"timestamp": format!("2026-11-29T20:00:0{id}Z"), "type": kind});
            event.as_object_mut().unwrap().extend(details.as_object().unwrap().clone());
            event
        };
        let failed = json!({"taskFailedEventDetails": {
            "error": "Transient", "cause": "{\"errorMessage\":\"no answer for anna@example.com\\n at x\"}"}});
        let history = [
            json!({"timestamp": "2026-11-29T20:00:00Z", "type": "ExecutionStarted"}),
            entered(1, "ReserveInventory"),
            event(1, "TaskScheduled", json!({})),
            event(2, "TaskFailed", failed),
            event(3, "TaskScheduled", json!({})),
            event(4, "TaskTimedOut", json!({"taskTimedOutEventDetails": {"error": "States.Timeout"}})),
            event(5, "TaskStateExited", json!({})),
            entered(5, "ReleaseInventory"),
        ];
        let described = json!({"status": "RUNNING", "startDate": "2026-11-29T20:00:00Z"});
        let execution = Execution::read(&described, &history).unwrap();
        let [first, second] = execution.visits.as_slice() else { panic!("{execution:?}") };
        assert_eq!((first.tries, first.failures.len()), (2, 2));
        assert_eq!(first.failures[0].said(), "Transient: no answer for a…@… at x");
        assert_eq!(first.failures[1].said(), "States.Timeout");
        assert_eq!(first.exited_at, Some(second.entered_at));
        assert_eq!(execution.current().map(|visit| visit.state.as_str()), Some("ReleaseInventory"));
    }

    #[test]
    fn an_execution_that_failed_has_its_error_and_is_in_no_state() {
        let described = json!({"status": "FAILED", "startDate": 1, "stopDate": 9});
        let history = [
            json!({"timestamp": 1, "type": "FailStateEntered", "stateEnteredEventDetails": {"name": "CompensationFailed"}}),
            json!({"timestamp": 2, "type": "ExecutionFailed", "executionFailedEventDetails": {"error": "CompensationFailed"}}),
        ];
        let execution = Execution::read(&described, &history).unwrap();
        assert_eq!(execution.error.as_deref(), Some("CompensationFailed"));
        assert!(execution.current().is_none() && execution.visits[0].exited_at.is_some());
        assert!(Execution::read(&json!({}), &[]).is_none());
    }
}
