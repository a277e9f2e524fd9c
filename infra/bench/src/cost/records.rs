//! The emulator's own records of an order: states entered, functions invoked, waiting messages.

use std::collections::{BTreeMap, BTreeSet};

use contracts::OrderId;
use local_stack::{LOCAL_STAGE, call::short, emulator::Emulator};
use serde_json::{Value, json};

use super::topology::Topology;
use super::units::item_bytes;
use crate::error::Result;

/// How Lambda's own lines about an invocation begin.
const PLATFORM_LINES: [&str; 4] =
    ["START RequestId: ", "END RequestId: ", "REPORT RequestId: ", "INIT_START "];
/// CloudWatch Logs adds 26 bytes to each line (user guide, "CloudWatch Logs quotas", PutLogEvents).
const LINE_OVERHEAD: u64 = 26;

/// The runs of one function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Runs {
    pub invocations: u64,
    /// The durations in its log, each rounded up to a millisecond.
    pub milliseconds: u64,
    /// Of the function's own lines, with CloudWatch's 26 bytes a line.
    pub log_bytes: u64,
    /// The same of Lambda's lines about invocations.
    pub platform_log_bytes: u64,
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
    execution(emulator, &arn).await
}

/// An execution so far; empty when it has not started.
///
/// # Errors
/// The emulator does not answer.
pub async fn execution(emulator: &Emulator, arn: &str) -> Result<Saga> {
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
    let lines = lines(emulator, since).await?;
    let runs = lines.into_iter().map(|(name, lines)| (name, Runs::read(lines.iter().map(String::as_str))));
    Ok(runs.filter(|(_, runs)| *runs != Runs::default()).collect())
}

/// The metrics that each function has recorded: namespace, dimensions and name.
///
/// # Errors
/// The emulator does not answer.
pub async fn metrics(emulator: &Emulator) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut all = BTreeMap::new();
    for (name, lines) in lines(emulator, 0).await? {
        let metrics: BTreeSet<String> = lines.iter().flat_map(|line| metrics_of(line)).collect();
        if !metrics.is_empty() {
            all.insert(name, metrics);
        }
    }
    Ok(all)
}

/// The metrics of a line in the embedded metric format; none of another line.
fn metrics_of(line: &str) -> Vec<String> {
    let Ok(record) = serde_json::from_str::<Value>(line) else { return Vec::new() };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut metrics = Vec::new();
    for directive in list(&record["_aws"]["CloudWatchMetrics"]) {
        for dimensions in list(&directive["Dimensions"]) {
            let values = list(&dimensions).into_iter().filter_map(|name| name.as_str().map(str::to_owned));
            let values: Vec<String> = values.map(|name| format!("{name}={}", record[&name])).collect();
            for metric in list(&directive["Metrics"]) {
                metrics.push(format!("{} {} {}", directive["Namespace"], values.join(","), metric["Name"]));
            }
        }
    }
    metrics
}

/// The lines of each function's log since a time, in milliseconds since 1970.
async fn lines(emulator: &Emulator, since: i64) -> Result<BTreeMap<String, Vec<String>>> {
    let prefix = format!("/aws/lambda/ordersaga-{LOCAL_STAGE}-");
    let input = json!({"logGroupNamePrefix": prefix});
    let groups = emulator.read("logs", "Logs_20140328.DescribeLogGroups", &input).await?;
    let mut all = BTreeMap::new();
    for group in groups["logGroups"].as_array().into_iter().flatten() {
        let name = group["logGroupName"].as_str().unwrap_or_default();
        // The emulator answers up to 10,000 lines at once; an order leaves some dozens.
        let input = json!({"logGroupName": name, "startTime": since});
        let answer = emulator.read("logs", "Logs_20140328.FilterLogEvents", &input).await?;
        let events = answer["events"].as_array().into_iter().flatten();
        let lines = events.filter_map(|event| event["message"].as_str().map(str::to_owned));
        all.insert(short(name.trim_start_matches("/aws/lambda/")).to_owned(), lines.collect());
    }
    Ok(all)
}

/// The bytes of all items that do not expire, with DynamoDB's 100 bytes of each.
///
/// # Errors
/// The emulator does not answer.
pub async fn kept_bytes(emulator: &Emulator) -> Result<u64> {
    const OVERHEAD: u64 = 100;
    let tables = emulator.read("dynamodb", "DynamoDB_20120810.ListTables", &json!({})).await?;
    let mut bytes = 0;
    for table in tables["TableNames"].as_array().into_iter().flatten() {
        let mut input = json!({"TableName": table});
        loop {
            let page = emulator.read("dynamodb", "DynamoDB_20120810.Scan", &input).await?;
            let items = page["Items"].as_array().into_iter().flatten();
            let kept = items.filter(|item| item.get("expires_at").is_none());
            bytes += kept.map(|item| item_bytes(item) + OVERHEAD).sum::<u64>();
            if page["LastEvaluatedKey"].is_null() {
                break;
            }
            input["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
        }
    }
    Ok(bytes)
}

impl Runs {
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut runs = Self::default();
        for line in lines {
            let bytes = line.len() as u64 + LINE_OVERHEAD;
            if PLATFORM_LINES.iter().any(|start| line.starts_with(start)) {
                runs.platform_log_bytes += bytes;
            } else {
                runs.log_bytes += bytes;
            }
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
        let bytes: u64 = lines.iter().map(|line| line.len() as u64 + LINE_OVERHEAD).sum();
        assert_eq!((runs.log_bytes, runs.platform_log_bytes), (0, bytes));
        assert_eq!(Runs::read(["{}"].into_iter()).log_bytes, 2 + LINE_OVERHEAD);
    }

    #[test]
    fn each_set_of_dimensions_makes_a_metric_of_each_name() {
        let line = json!({
            "_aws": {"CloudWatchMetrics": [{
                "Namespace": "N", "Dimensions": [["A"], ["A", "B"]], "Metrics": [{"Name": "x"}, {"Name": "y"}],
            }]},
            "A": "1", "B": "2",
        });
        let metrics = metrics_of(&line.to_string());
        assert_eq!(metrics.len(), 4);
        assert_eq!(metrics[3], r#""N" A="1",B="2" "y""#);
        assert!(metrics_of("START RequestId: 1").is_empty() && metrics_of("{}").is_empty());
    }
}
