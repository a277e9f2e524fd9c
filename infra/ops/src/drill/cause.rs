//! What makes an alarm of this machine's stack ring. A real cause where that takes seconds, else a value of the metric.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use local_stack::{ALARM_MINUTE, Emulator};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Alarm, Metric, MetricStat, short};
use crate::aws::{Aws, Service};
use crate::error::{Error, Result};

/// Between two acts of a cause that lasts: several fall into each period of the alarm.
const PAUSE: Duration = Duration::from_secs(2);
/// Requests at a time, of which an attacker makes many.
const BURST: usize = 20;
/// The function that is switched off. Only `/health/ready` notices.
const SWITCHED_OFF: &str = "notifications-health";
/// A period of an alarm on this machine has at most this many of its minutes (infra/local/cloudwatch.py).
const LONGEST_PERIOD_MINUTES: u64 = 6;
/// Of a percentile, which a few values are no basis for.
const SAMPLES: f64 = 100.0;

/// A cause, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A message in a dead-letter queue.
    DeadLetter { queue: String },
    /// Many requests with a token that no key of the stage has signed.
    ForgedTokens,
    /// Invocations with an event that the function cannot read.
    Failing { function: String },
    /// A function without concurrency, and invocations of it.
    Throttled,
    /// A stream that no mapping reads.
    Unread { table: String },
    /// A value of the metric.
    Value,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadLetter { queue } => write!(f, "real: sends a message to {queue}"),
            Self::ForgedTokens => write!(f, "real: calls the API with forged tokens"),
            Self::Failing { function } => {
                write!(f, "real: invokes {function} with an event that it cannot read")
            }
            Self::Throttled => write!(f, "real: takes all concurrency from {SWITCHED_OFF}, and invokes it"),
            Self::Unread { table } => {
                write!(f, "real: disables the mappings that read the stream of {table}")
            }
            Self::Value => {
                write!(f, "puts values of the metric, because its real cause takes minutes or a provider")
            }
        }
    }
}

impl Cause {
    /// The quickest way to make the alarm ring.
    pub fn of(alarm: &Alarm, aws: &Aws) -> Self {
        let short = short(alarm, aws);
        let function = alarm.metrics.iter().rev().find_map(|part| {
            let Metric { metric_name, dimensions, .. } = &part.metric_stat.as_ref()?.metric;
            let function = dimensions.iter().find(|dimension| dimension.name == "FunctionName")?;
            (metric_name == "Errors").then(|| function.value.clone())
        });
        match (alarm.metric_name.as_str(), short, function) {
            ("ApproximateNumberOfMessagesVisible", ..) => {
                Self::DeadLetter { queue: alarm.dimension("QueueName").unwrap_or_default().to_owned() }
            }
            ("ReturnedBytes", ..) => {
                Self::Unread { table: alarm.dimension("TableName").unwrap_or_default().to_owned() }
            }
            (_, "security-tokens", _) => Self::ForgedTokens,
            (_, "throttles", _) => Self::Throttled,
            (_, _, Some(function)) => Self::Failing { function },
            _ => Self::Value,
        }
    }

    /// The state that the alarm publishes when it calls a person.
    pub const fn rings_as(&self) -> &'static str {
        match self {
            // A stream without a reader has no metric.
            Self::Unread { .. } => "INSUFFICIENT_DATA",
            _ => "ALARM",
        }
    }

    /// What made the alarm quiet.
    pub fn remedy(&self, aws: &Aws) -> String {
        match self {
            Self::DeadLetter { queue } => {
                let queue = queue.strip_prefix(&aws.name("")).unwrap_or(queue);
                format!("cargo ops dlq purge {queue} --yes")
            }
            Self::ForgedTokens => "itself, when the attack had ended".to_owned(),
            Self::Failing { .. } => "itself, when the function was left alone".to_owned(),
            Self::Throttled => {
                format!("aws lambda delete-function-concurrency --function-name {}", aws.name(SWITCHED_OFF))
            }
            Self::Unread { .. } => "aws lambda update-event-source-mapping --uuid … --enabled".to_owned(),
            Self::Value => "itself, when the metric had no such value any more".to_owned(),
        }
    }

    /// Does what makes the alarm ring. A cause that lasts acts until it is dropped.
    ///
    /// # Errors
    /// The stack refuses, or is not in the state that the cause needs.
    pub async fn act(&self, aws: &Aws, api: &str, alarm: &Alarm) -> Result<()> {
        match self {
            Self::DeadLetter { queue } => send(aws, queue).await,
            Self::ForgedTokens => loop {
                let requests = (0..BURST).map(|_| forged(api));
                futures::future::try_join_all(requests).await?;
            },
            Self::Failing { function } => loop {
                let input = json!({"this is": "a fire drill"});
                aws.invoke(function, &input, PAUSE * 5).await?;
                tokio::time::sleep(PAUSE).await;
            },
            Self::Throttled => {
                let path = concurrency(aws);
                let none = json!({"ReservedConcurrentExecutions": 0}).to_string();
                lambda(emulator(aws)?, Method::PUT, &path, none).await?;
                loop {
                    // It is refused: that is the cause.
                    let _ = aws.invoke(&aws.name(SWITCHED_OFF), &json!({}), PAUSE * 5).await;
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Self::Unread { table } => enable(aws, table, false).await,
            Self::Value => put(aws, alarm).await,
        }
    }

    /// Ends the cause, as the runbook says.
    ///
    /// # Errors
    /// The stack refuses.
    pub async fn end(&self, aws: &Aws, _: &Alarm) -> Result<()> {
        match self {
            Self::DeadLetter { queue } => {
                let queue = url(aws, queue).await?;
                aws.call(Service::Sqs, "PurgeQueue", json!({"QueueUrl": queue})).await.map(drop)
            }
            Self::Throttled => {
                lambda(emulator(aws)?, Method::DELETE, &concurrency(aws), String::new()).await.map(drop)
            }
            Self::Unread { table } => enable(aws, table, true).await,
            Self::ForgedTokens | Self::Failing { .. } | Self::Value => Ok(()),
        }
    }

    /// What happens while the alarm goes quiet.
    ///
    /// # Errors
    /// CloudWatch refuses.
    pub async fn recover(&self, aws: &Aws, alarm: &Alarm) -> Result<()> {
        // Such an alarm keeps its state until there is a healthy value.
        if *self != Self::Value || alarm.treat_missing_data.as_deref() != Some("ignore") {
            return Ok(());
        }
        loop {
            let (metric, _) = measured(alarm)?;
            put_value(aws, &metric, 0.0, 1.0, Timestamp::now()).await?;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn emulator(aws: &Aws) -> Result<&Emulator> {
    aws.emulator().ok_or_else(|| Error::Drill("this cause is for the stack on this machine".to_owned()))
}

async fn lambda(emulator: &Emulator, method: Method, path: &str, body: String) -> Result<String> {
    Ok(emulator.send("lambda", path, method, path, &[], body.into_bytes()).await?)
}

fn concurrency(aws: &Aws) -> String {
    format!("/2017-10-31/functions/{}/concurrency", aws.name(SWITCHED_OFF))
}

/// Enables or disables the mappings that read a table's stream.
async fn enable(aws: &Aws, table: &str, enabled: bool) -> Result<()> {
    let emulator = emulator(aws)?;
    let mappings = "/2015-03-31/event-source-mappings/";
    let answer = lambda(emulator, Method::GET, mappings, String::new()).await?;
    let answer: Value = serde_json::from_str(&answer).map_err(|error| Error::Drill(error.to_string()))?;
    let stream = format!(":table/{table}/stream/");
    let all = answer["EventSourceMappings"].as_array().into_iter().flatten();
    for mapping in
        all.filter(|mapping| mapping["EventSourceArn"].as_str().is_some_and(|arn| arn.contains(&stream)))
    {
        let path = format!("{mappings}{}", mapping["UUID"].as_str().unwrap_or_default());
        lambda(emulator, Method::PUT, &path, json!({"Enabled": enabled}).to_string()).await?;
    }
    Ok(())
}

async fn url(aws: &Aws, queue: &str) -> Result<Value> {
    Ok(aws.call(Service::Sqs, "GetQueueUrl", json!({"QueueName": queue})).await?["QueueUrl"].take())
}

/// Sends a message to an empty dead-letter queue. It is purged afterwards, so nothing else may be in it.
async fn send(aws: &Aws, queue: &str) -> Result<()> {
    let address = url(aws, queue).await?;
    let asked = json!({"QueueUrl": address, "AttributeNames": ["ApproximateNumberOfMessages"]});
    let waiting = aws.call(Service::Sqs, "GetQueueAttributes", asked).await?;
    if waiting["Attributes"]["ApproximateNumberOfMessages"] != "0" {
        return Err(Error::Drill(format!(
            "{queue} is not empty, and a drill would purge it. See `cargo ops dlq show`."
        )));
    }
    let mut message =
        json!({"QueueUrl": address, "MessageBody": json!({"this is": "a fire drill"}).to_string()});
    if queue.ends_with(".fifo") {
        message["MessageGroupId"] = json!("drill");
        message["MessageDeduplicationId"] = json!(Uuid::new_v4().to_string());
    }
    aws.call(Service::Sqs, "SendMessage", message).await.map(drop)
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PAUSE * 5).build().unwrap_or_default()
}

/// A request with a token that no key of the stage has signed.
async fn forged(api: &str) -> Result<()> {
    let url = format!("{api}/v1/users/me");
    let answer = client().get(&url).bearer_auth("not.a.token").send().await;
    answer.map(drop).map_err(|error| Error::Drill(format!("{url} does not answer: {error}")))
}

/// The metric that makes the alarm ring, with its statistic.
fn measured(alarm: &Alarm) -> Result<(Metric, MetricStat)> {
    let stat = alarm.metrics.iter().find_map(|part| part.metric_stat.clone()).unwrap_or_else(|| MetricStat {
        metric: Metric {
            namespace: alarm.namespace.clone(),
            metric_name: alarm.metric_name.clone(),
            dimensions: alarm.dimensions.clone(),
        },
        stat: alarm.statistic.clone().unwrap_or_default(),
        period: json!(alarm.period),
    });
    if stat.metric.metric_name.is_empty() {
        return Err(Error::Drill(format!("{} has no metric of its own", alarm.alarm_name)));
    }
    Ok((stat.metric.clone(), stat))
}

/// Puts a value into each period that the alarm looks at.
async fn put(aws: &Aws, alarm: &Alarm) -> Result<()> {
    let (metric, MetricStat { stat, period, .. }) = measured(alarm)?;
    let period = period.as_u64().or_else(|| period.as_str()?.parse().ok()).unwrap_or(60);
    let minutes = (period / 60).clamp(1, LONGEST_PERIOD_MINUTES);
    let seconds = minutes * ALARM_MINUTE.as_secs();
    let (value, samples) = beyond(alarm.threshold, &stat);
    // The latest last: until then the alarm has too few periods.
    for n in (0..alarm.evaluation_periods).rev() {
        let age = SignedDuration::from_secs(i64::try_from(n * seconds).unwrap_or_default());
        put_value(aws, &metric, value, samples, Timestamp::now() - age).await?;
    }
    Ok(())
}

/// A value beyond the threshold, and how many of it.
#[expect(clippy::float_arithmetic, reason = "a value of a metric, and no money")]
fn beyond(threshold: f64, statistic: &str) -> (f64, f64) {
    match statistic {
        "SampleCount" => (1.0, threshold + 1.0),
        percentile if percentile.starts_with('p') => (threshold + 1.0, SAMPLES),
        _ => (threshold + 1.0, 1.0),
    }
}

async fn put_value(aws: &Aws, metric: &Metric, value: f64, samples: f64, at: Timestamp) -> Result<()> {
    let dimensions = metric.dimensions.iter().map(|each| json!({"Name": each.name, "Value": each.value}));
    let datum = json!({
        "MetricName": metric.metric_name, "Dimensions": dimensions.collect::<Vec<_>>(), "Timestamp": at.as_second(),
        "Values": [value], "Counts": [samples],
    });
    let input = json!({"Namespace": metric.namespace, "MetricData": [datum]});
    aws.call(Service::CloudWatch, "PutMetricData", input).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_beyond_the_threshold_of_its_statistic() {
        assert_eq!(beyond(0.0, "Sum"), (1.0, 1.0));
        assert_eq!(beyond(500.0, "SampleCount"), (1.0, 501.0));
        assert_eq!(beyond(2000.0, "p99"), (2001.0, 100.0));
    }
}
