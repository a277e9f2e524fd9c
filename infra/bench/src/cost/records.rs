//! The emulator's own records of an order: states entered, functions invoked, waiting messages.

use std::collections::BTreeMap;

use contracts::OrderId;
use local_stack::{
    LOCAL_STAGE,
    emulator::{self, Emulator},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::topology::{Topology, short};
use crate::error::Result;

/// The runs of one function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Runs {
    pub invocations: u64,
    /// The durations in its log, each rounded up to a millisecond.
    pub milliseconds: u64,
    pub log_bytes: u64,
}

/// One execution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saga {
    pub has_ended: bool,
    pub entered: Vec<String>,
    /// Each is a transition as well.
    pub retries: u64,
    /// By state: how often it was tried.
    pub attempts: BTreeMap<String, u64>,
    /// Messages that it put into queues.
    pub messages: u64,
}

/// The order's execution so far; empty when it has not started.
///
/// # Errors
/// The emulator does not answer.
pub async fn saga(emulator: &Emulator, topology: &Topology, order: &OrderId) -> Result<Saga> {
    let arn = format!("{}:{order}", topology.state_machine.replace(":stateMachine:", ":execution:"));
    // An order has some dozens of events, and a page holds a thousand.
    let input = json!({"executionArn": arn, "maxResults": 1000, "includeExecutionData": false});
    match emulator.json("states", "AWSStepFunctions.GetExecutionHistory", &input).await {
        Ok(answer) => Ok(Saga::read(&answer["events"])),
        Err(local_stack::Error::Refused { reason, .. }) if reason.contains("ExecutionDoesNotExist") => {
            Ok(Saga::default())
        }
        Err(error) => Err(error.into()),
    }
}

impl Saga {
    pub fn transitions(&self) -> u64 {
        self.entered.len() as u64 + self.retries
    }

    fn read(events: &Value) -> Self {
        let mut saga = Self::default();
        let (mut tasks, mut attempts) = (0_u64, 0_u64);
        for event in events.as_array().into_iter().flatten() {
            let kind = event["type"].as_str().unwrap_or_default();
            if kind.ends_with("StateEntered") {
                let name = event["stateEnteredEventDetails"]["name"].as_str().unwrap_or_default();
                saga.entered.push(name.to_owned());
                tasks += u64::from(kind == "TaskStateEntered");
            } else if kind == "TaskScheduled" {
                attempts += 1;
                let state = saga.entered.last().cloned().unwrap_or_default();
                *saga.attempts.entry(state).or_default() += 1;
                let resource = event["taskScheduledEventDetails"]["resource"].as_str().unwrap_or_default();
                saga.messages += u64::from(resource.contains("sqs:sendMessage"));
            } else if ["ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"]
                .contains(&kind)
            {
                saga.has_ended = true;
            }
        }
        saga.retries = attempts.saturating_sub(tasks);
        saga
    }
}

/// The runs of each function since a time, in milliseconds since 1970.
///
/// # Errors
/// The emulator does not answer.
pub async fn runs(emulator: &Emulator, since: i64) -> Result<BTreeMap<String, Runs>> {
    let prefix = format!("/aws/lambda/ordersaga-{LOCAL_STAGE}-");
    let input = json!({"logGroupNamePrefix": prefix});
    let groups = emulator.json("logs", "Logs_20140328.DescribeLogGroups", &input).await?;
    let mut all = BTreeMap::new();
    for group in groups["logGroups"].as_array().into_iter().flatten() {
        let name = group["logGroupName"].as_str().unwrap_or_default();
        // The emulator answers up to 10,000 lines at once; an order leaves some dozens.
        let input = json!({"logGroupName": name, "startTime": since});
        let answer = emulator.json("logs", "Logs_20140328.FilterLogEvents", &input).await?;
        let events = answer["events"].as_array().into_iter().flatten();
        let runs = Runs::read(events.filter_map(|event| event["message"].as_str()));
        if runs != Runs::default() {
            all.insert(short(name.trim_start_matches("/aws/lambda/")).to_owned(), runs);
        }
    }
    Ok(all)
}

impl Runs {
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut runs = Self::default();
        for line in lines {
            runs.log_bytes += line.len() as u64;
            if let Some(report) = line.strip_prefix("REPORT RequestId: ") {
                runs.invocations += 1;
                let billed = report.split("Billed Duration: ").nth(1);
                let billed = billed.and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
                // Less than a millisecond is billed as one.
                runs.milliseconds += billed.unwrap_or_default().max(1);
            }
        }
        runs
    }
}

/// Whether all queues are empty, including messages in flight and delayed ones. Dead-letter queues are
/// ignored.
///
/// # Errors
/// The emulator does not answer.
pub async fn queues_are_empty(endpoint: &str) -> Result<bool> {
    #[derive(Deserialize)]
    struct Messages {
        /// By account, region and queue.
        messages: BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<Value>>>>,
    }
    let no_answer =
        |source| local_stack::Error::NoAnswer { operation: "reading the queues".to_owned(), source };
    let answer = emulator::client().get(format!("{endpoint}/_ministack/sqs/messages")).send().await;
    let held: Messages = answer.map_err(no_answer)?.json().await.map_err(no_answer)?;
    let mut queues = held.messages.into_values().flat_map(BTreeMap::into_values).flatten();
    Ok(queues.all(|(queue, messages)| queue.contains("-dlq") || messages.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_a_transition_and_a_callback_a_message() {
        let entered =
            |name: &str| json!({"type": "TaskStateEntered", "stateEnteredEventDetails": {"name": name}});
        let scheduled = |resource: &str| json!({"type": "TaskScheduled", "taskScheduledEventDetails": {"resource": resource}});
        let saga = Saga::read(&json!([
            {"type": "ExecutionStarted"},
            entered("A"),
            scheduled("arn:aws:states:::lambda:invoke"),
            scheduled("arn:aws:states:::lambda:invoke"),
            entered("B"),
            scheduled("arn:aws:states:::sqs:sendMessage.waitForTaskToken"),
            {"type": "ExecutionSucceeded"},
        ]));
        assert_eq!(
            (saga.entered.as_slice(), saga.transitions()),
            (["A", "B"].map(String::from).as_slice(), 3)
        );
        assert!(saga.has_ended && saga.messages == 1 && saga.retries == 1);
        assert_eq!(saga.attempts, BTreeMap::from([("A".to_owned(), 2), ("B".to_owned(), 1)]));
    }

    #[test]
    fn a_report_is_an_invocation_of_at_least_a_millisecond() {
        let lines = [
            "START RequestId: 1 Version: $LATEST",
            "REPORT RequestId: 1\tDuration: 12 ms\tBilled Duration: 12 ms\tMemory Size: 256 MB",
            "REPORT RequestId: 2\tDuration: 0 ms\tBilled Duration: 0 ms\tMemory Size: 256 MB",
        ];
        let runs = Runs::read(lines.into_iter());
        assert_eq!((runs.invocations, runs.milliseconds), (2, 13));
        assert_eq!(runs.log_bytes, lines.iter().map(|line| line.len() as u64).sum::<u64>());
    }
}
