//! Finds the dead-letter queues by their names, which the templates' tests enforce.

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};

use crate::aws::{Aws, Service};
use crate::error::{Error, Result};

/// Questions on their way at the same time: on AWS each is a process of its own.
const AT_ONCE: usize = 4;

/// One dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetters {
    /// Without the stage: `payments-commands-dlq`.
    pub name: String,
    pub url: String,
    /// As many as SQS counts, which takes up to a minute to be exact.
    pub visible: usize,
    /// Received by a consumer and not deleted yet.
    pub in_flight: usize,
    /// The queues whose dead letters are here.
    pub sources: Vec<Source>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    pub name: String,
    pub url: String,
    pub arn: String,
    /// Receives until a message is given up.
    pub tries: u64,
    /// Between two of them, at most.
    pub visibility_seconds: u64,
}

impl DeadLetters {
    pub fn is_empty(&self) -> bool {
        self.visible + self.in_flight == 0
    }

    /// The names of the queues that it serves.
    pub fn served(&self) -> String {
        let names: Vec<&str> = self.sources.iter().map(|source| source.name.as_str()).collect();
        if names.is_empty() { "no queue".to_owned() } else { names.join(", ") }
    }

    /// Until a message that was moved and fails again is back, in the slowest of the queues.
    pub fn minutes_to_fail(&self) -> Option<u64> {
        self.sources.iter().map(|source| (source.tries * source.visibility_seconds).div_ceil(60)).max()
    }
}

/// All of a stage, by name.
///
/// # Errors
/// SQS refuses, or there is none.
pub async fn all(aws: &Aws) -> Result<Vec<DeadLetters>> {
    let prefix = aws.name("");
    // Without MaxResults the answer holds up to 1,000 queues, all that a stage can have.
    let answer = aws.call(Service::Sqs, "ListQueues", json!({"QueueNamePrefix": prefix})).await?;
    let urls = answer["QueueUrls"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let urls: Vec<String> = urls.map(str::to_owned).collect();
    let queues: Vec<(String, Value)> = stream::iter(urls)
        .map(async |url| {
            let input = json!({"QueueUrl": url, "AttributeNames": ["All"]});
            match aws.call(Service::Sqs, "GetQueueAttributes", input).await {
                Ok(mut answer) => Ok(Some((url, answer["Attributes"].take()))),
                // Deleted since they were listed.
                Err(error) if error.to_string().contains("QueueDoesNotExist") => Ok(None),
                Err(error) => Err(error),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_filter_map(async |queue| Ok::<_, Error>(queue))
        .try_collect()
        .await?;
    let found = pair(&prefix, &queues);
    if found.is_empty() {
        let where_to = if aws.option().is_empty() { "`cargo ops up`" } else { "`cargo ops deploy`" };
        return Err(Error::Dlq(format!(
            "no dead-letter queue is named {prefix}…: nothing is deployed there. {where_to} does it."
        )));
    }
    Ok(found)
}

/// The one that is called so, with or without the stage.
pub fn find(all: Vec<DeadLetters>, name: &str, prefix: &str) -> Result<DeadLetters> {
    let short = name.strip_prefix(prefix).unwrap_or(name);
    let names: Vec<String> = all.iter().map(|queue| queue.name.clone()).collect();
    all.into_iter().find(|queue| queue.name == short).ok_or_else(|| {
        Error::Dlq(format!("there is no dead-letter queue {name}. There are: {}.", names.join(", ")))
    })
}

/// Dead-letter queues with their source queues, from the attributes of all queues.
fn pair(prefix: &str, queues: &[(String, Value)]) -> Vec<DeadLetters> {
    let mut found: Vec<DeadLetters> = queues
        .iter()
        .filter_map(|(url, attributes)| {
            let name = name(prefix, url);
            let is_one = name.ends_with("-dlq") || name.ends_with("-dlq.fifo");
            is_one.then(|| DeadLetters {
                name,
                url: url.clone(),
                visible: count(attributes, "ApproximateNumberOfMessages"),
                in_flight: count(attributes, "ApproximateNumberOfMessagesNotVisible"),
                sources: sources(prefix, queues, attributes["QueueArn"].as_str().unwrap_or_default()),
            })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Taken from the attributes instead of ListDeadLetterSourceQueues, because they are here already and
/// MiniStack does not support that operation.
fn sources(prefix: &str, queues: &[(String, Value)], dead_letters: &str) -> Vec<Source> {
    queues
        .iter()
        .filter_map(|(url, attributes)| {
            let policy: Value = serde_json::from_str(attributes["RedrivePolicy"].as_str()?).ok()?;
            (policy["deadLetterTargetArn"].as_str()? == dead_letters).then(|| Source {
                name: name(prefix, url),
                url: url.clone(),
                arn: attributes["QueueArn"].as_str().unwrap_or_default().to_owned(),
                tries: number(&policy["maxReceiveCount"]),
                visibility_seconds: number(&attributes["VisibilityTimeout"]),
            })
        })
        .collect()
}

/// A queue's URL ends in its name.
fn name(prefix: &str, url: &str) -> String {
    let full = url.rsplit('/').next().unwrap_or(url);
    full.strip_prefix(prefix).unwrap_or(full).to_owned()
}

/// SQS writes numbers as text, but in policies either way.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

fn count(attributes: &Value, name: &str) -> usize {
    usize::try_from(number(&attributes[name])).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "ordersaga-dev-";

    fn queue(name: &str, more: Value) -> (String, Value) {
        let mut attributes = json!({"QueueArn": format!("arn:{name}"), "VisibilityTimeout": "180"});
        attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (format!("https://sqs/1/{PREFIX}{name}"), attributes)
    }

    fn served_by(name: &str, dead_letters: &str) -> (String, Value) {
        let policy = json!({"deadLetterTargetArn": format!("arn:{dead_letters}"), "maxReceiveCount": 5});
        queue(name, json!({"RedrivePolicy": policy.to_string()}))
    }

    #[test]
    fn dead_letter_queues_are_known_by_their_names_and_paired_by_redrive_policies() {
        let found = pair(
            PREFIX,
            &[
                queue("realtime-dlq.fifo", json!({})),
                served_by("orders-events", "orders-events-dlq"),
                queue(
                    "orders-events-dlq",
                    json!({"ApproximateNumberOfMessages": "3", "ApproximateNumberOfMessagesNotVisible": "1"}),
                ),
            ],
        );
        let names: Vec<&str> = found.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(names, ["orders-events-dlq", "realtime-dlq.fifo"]);
        let orders = &found[0];
        assert_eq!((orders.visible, orders.in_flight, orders.served().as_str()), (3, 1, "orders-events"));
        assert_eq!(orders.minutes_to_fail(), Some(15));
        assert!(found[1].is_empty() && found[1].sources.is_empty());
    }

    #[test]
    fn a_queue_is_found_by_its_short_and_its_full_name_and_by_no_other() {
        let found = || pair(PREFIX, &[queue("a-dlq", json!({})), queue("b-dlq", json!({}))]);
        assert_eq!(find(found(), "b-dlq", PREFIX).unwrap().name, "b-dlq");
        assert_eq!(find(found(), "ordersaga-dev-b-dlq", PREFIX).unwrap().name, "b-dlq");
        let error = find(found(), "b", PREFIX).unwrap_err().to_string();
        assert!(error.contains("There are: a-dlq, b-dlq."), "{error}");
    }
}
