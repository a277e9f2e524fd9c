//! Following what the functions log.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use local_stack::{Emulator, LOCAL_STAGE};

/// Fresh enough to watch, and two dozen small requests a round.
const EVERY: Duration = Duration::from_secs(2);
/// The emulator's lines about each invocation, as Lambda writes them.
const NOISE: [&str; 4] = ["START RequestId", "END RequestId", "REPORT RequestId", "INIT_START"];

/// Prints each new line of every function until it is dropped.
pub async fn follow(endpoint: &str) {
    let emulator = Emulator::new(endpoint);
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let since = jiff::Timestamp::now().as_millisecond();
    loop {
        for name in names(&emulator).await {
            groups.entry(name).or_insert_with(|| Group { since, seen: HashSet::new() });
        }
        let mut lines = Vec::new();
        for (name, group) in &mut groups {
            lines.extend(group.news(&emulator, name).await);
        }
        lines.sort_by_key(|(time, _)| *time);
        for (_, line) in lines {
            println!("{line}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn names(emulator: &Emulator) -> Vec<String> {
    let input = json!({"logGroupNamePrefix": prefix()});
    // A round that gets no answer is made up for by the next.
    let answer = emulator.json("logs", "Logs_20140328.DescribeLogGroups", &input).await.unwrap_or_default();
    answer["logGroups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group["logGroupName"].as_str().map(str::to_owned))
        .collect()
}

fn prefix() -> String {
    format!("/aws/lambda/ordersaga-{LOCAL_STAGE}-")
}

/// The position up to which one function's log was read.
struct Group {
    since: i64,
    /// Events at that very millisecond, which the next round answers again.
    seen: HashSet<String>,
}

impl Group {
    async fn news(&mut self, emulator: &Emulator, name: &str) -> Vec<(i64, String)> {
        let input = json!({"logGroupName": name, "startTime": self.since});
        let answer = emulator.json("logs", "Logs_20140328.FilterLogEvents", &input).await.unwrap_or_default();
        let function = name.trim_start_matches(&prefix());
        let mut lines = Vec::new();
        for event in answer["events"].as_array().into_iter().flatten() {
            let time = event["timestamp"].as_i64().unwrap_or(self.since);
            let message = event["message"].as_str().unwrap_or_default().trim_end();
            let id = format!("{time} {} {message}", event["eventId"].as_str().unwrap_or_default());
            if self.seen.contains(&id) {
                continue;
            }
            if time > self.since {
                self.since = time;
                self.seen.clear();
            }
            self.seen.insert(id);
            lines.extend(message.lines().filter_map(|line| Some((time, pretty(function, line)?))));
        }
        lines
    }
}

/// Formats a line for a person; `None` for noise.
fn pretty(function: &str, line: &str) -> Option<String> {
    if line.is_empty() || NOISE.iter().any(|noise| line.starts_with(noise)) {
        return None;
    }
    let Ok(entry) = serde_json::from_str::<Value>(line) else {
        return Some(format!("{function:<22} {line}"));
    };
    // Metric records are for CloudWatch.
    if entry.get("_aws").is_some() {
        return None;
    }
    let text = |key: &str| entry[key].as_str().or_else(|| entry["fields"][key].as_str());
    let about = text("order_id").or(text("correlation_id")).unwrap_or_default();
    let message = text("message").unwrap_or(line);
    Some(
        format!("{function:<22} {:<5} {message} {about}", text("level").unwrap_or_default())
            .trim_end()
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_is_shortened_and_a_metric_record_left_out() {
        let line = r#"{"level":"INFO","message":"order placed","order_id":"ord_1"}"#;
        assert_eq!(pretty("orders-api", line).unwrap(), "orders-api             INFO  order placed ord_1");
        assert_eq!(pretty("orders-api", r#"{"_aws":{}}"#), None);
        assert_eq!(pretty("orders-api", "END RequestId: 1"), None);
        assert_eq!(
            pretty("orders-api", "thread panicked").unwrap(),
            "orders-api             thread panicked"
        );
    }
}
