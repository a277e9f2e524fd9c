//! The log lines of all functions about one order, by one query of CloudWatch Logs Insights.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use contracts::{CorrelationId, OrderId};
use jiff::{SignedDuration, Timestamp};
use order_view::{LogLine, read_time};
use serde_json::{Value, json};

use crate::aws::{Aws, Service};
use crate::error::{Error, Result};

/// Log groups of one query (StartQuery, CloudWatch Logs API reference).
const GROUPS: usize = 50;
/// Most lines of an order: one that is retried for hours has some hundreds.
const LINES: usize = 2_000;
/// A query of an hour's logs takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);

/// Fields that explain nothing, or that are shown elsewhere. `name` is that of the span.
const KNOWN: [&str; 14] = [
    "timestamp",
    "level",
    "service",
    "function",
    "message",
    "trace_id",
    "correlation_id",
    "request_id",
    "order_id",
    "user_id",
    "event_id",
    "name",
    "subject",
    "target",
];

/// The lines that name the order or its correlation id, and whether there are more than could be read.
pub async fn about(
    aws: &Aws,
    order_id: &OrderId,
    correlation_id: Option<&CorrelationId>,
    from: Timestamp,
    to: Timestamp,
) -> Result<(Vec<LogLine>, bool)> {
    let correlation = correlation_id.map(field);
    let words: Vec<&str> = [Some(order_id.as_str()), correlation.as_deref()].into_iter().flatten().collect();
    let (rows, more) = query(aws, &words, from, to).await?;
    let mut lines: Vec<LogLine> = rows.iter().flat_map(|row| row.lines(&words)).collect();
    lines.sort_by_key(|line| line.at);
    Ok((lines, more))
}

/// The order that was placed by the request with this correlation id.
///
/// # Errors
/// No line of the logs names one, or several do.
pub async fn order_of(aws: &Aws, id: &CorrelationId, since: SignedDuration) -> Result<OrderId> {
    let now = Timestamp::now();
    let from = now.checked_sub(since.abs()).unwrap_or(Timestamp::UNIX_EPOCH);
    let (rows, _) = query(aws, &[&field(id)], from, now).await?;
    let lines = rows.iter().flat_map(|row| row.message.lines());
    let orders: BTreeSet<OrderId> = lines
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| OrderId::try_from(line["order_id"].as_str()?).ok())
        .collect();
    let names: Vec<&str> = orders.iter().map(OrderId::as_str).collect();
    match names.as_slice() {
        [] => Err(Error::Order(format!(
            "no log line since {from:.0} names an order with the correlation id {id}. Search further back with --since, or \
             give the order's id: the response that placed it has it."
        ))),
        [_] => orders.into_iter().next().ok_or_else(|| Error::Order(String::new())),
        names => Err(Error::Order(format!(
            "requests with the correlation id {id} concern several orders. Choose one: {}.",
            names.join(", ")
        ))),
    }
}

/// The correlation id as a log line has it. A customer may choose a short one, which other texts contain.
fn field(id: &CorrelationId) -> String {
    format!("\"correlation_id\":\"{id}\"")
}

/// An event of a log. On the emulator it may have several lines.
struct Row {
    at: Timestamp,
    function: String,
    message: String,
}

async fn query(aws: &Aws, words: &[&str], from: Timestamp, to: Timestamp) -> Result<(Vec<Row>, bool)> {
    let prefix = format!("/aws/lambda/{}", aws.name(""));
    let groups = groups(aws, &prefix).await?;
    // Ids consist of letters, digits, `_` and `-`: nothing in them means something else to a regular expression.
    let query = format!(
        "fields @timestamp, @message, @log | filter @message like /{}/ | sort @timestamp asc | limit {LINES}",
        words.join("|")
    );
    let mut rows = Vec::new();
    let mut more = false;
    for groups in groups.chunks(GROUPS) {
        let input = json!({
            "logGroupNames": groups, "queryString": query,
            // Whole seconds: the last one begins before now.
            "startTime": from.as_second(), "endTime": to.as_second() + 1,
        });
        let results = results(aws, input).await?;
        more |= results.len() >= LINES;
        rows.extend(results.iter().filter_map(|row| read(row, &prefix)));
    }
    Ok((rows, more))
}

async fn groups(aws: &Aws, prefix: &str) -> Result<Vec<String>> {
    let input = json!({"logGroupNamePrefix": prefix});
    let answer = aws.find(Service::Logs, "DescribeLogGroups", input).await?.unwrap_or_default();
    let groups = answer["logGroups"].as_array().into_iter().flatten();
    Ok(groups.filter_map(|group| group["logGroupName"].as_str().map(str::to_owned)).collect())
}

async fn results(aws: &Aws, input: Value) -> Result<Vec<Value>> {
    let started = aws.find(Service::Logs, "StartQuery", input).await?.unwrap_or_default();
    let started_at = Instant::now();
    loop {
        let input = json!({"queryId": started["queryId"]});
        let mut answer = aws.find(Service::Logs, "GetQueryResults", input).await?.unwrap_or_default();
        match answer["status"].as_str().unwrap_or_default() {
            "Complete" => {
                return Ok(answer["results"].as_array_mut().map(std::mem::take).unwrap_or_default());
            }
            "Scheduled" | "Running" | "Unknown" if started_at.elapsed() < PATIENCE => {
                tokio::time::sleep(POLL).await;
            }
            status => return Err(Error::Order(format!("the query of the logs has not ended: {status}"))),
        }
    }
}

/// A row of the results: a list of fields with their values.
fn read(row: &Value, prefix: &str) -> Option<Row> {
    let fields = row.as_array()?;
    let value = |name: &str| fields.iter().find(|field| field["field"] == name)?["value"].as_str();
    // The group's name follows the account's id on AWS.
    let group = value("@log")?.rsplit(':').next()?;
    Some(Row {
        at: read_time(&json!(value("@timestamp")?)).or_else(|| as_utc(value("@timestamp")?))?,
        function: group.strip_prefix(prefix)?.to_owned(),
        message: value("@message")?.to_owned(),
    })
}

/// `2026-11-29 20:44:01.123`, as Insights writes times.
fn as_utc(text: &str) -> Option<Timestamp> {
    format!("{text}Z").parse().ok()
}

impl Row {
    /// The lines that contain one of the words, without metrics.
    fn lines(&self, words: &[&str]) -> Vec<LogLine> {
        let lines = self.message.lines().filter(|line| words.iter().any(|word| line.contains(word)));
        lines.filter_map(|line| self.line(line)).collect()
    }

    fn line(&self, text: &str) -> Option<LogLine> {
        let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
            return Some(LogLine {
                at: self.at,
                function: self.function.clone(),
                level: String::new(),
                message: text.to_owned(),
                detail: None,
                request_id: None,
                trace_id: None,
            });
        };
        if fields.contains_key("_aws") {
            return None;
        }
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let others = fields.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str()));
        let others: Vec<String> = others
            .map(|(name, value)| {
                format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            })
            .collect();
        Some(LogLine {
            // The line's own time is exact to the microsecond.
            at: text("timestamp").and_then(|time| time.parse().ok()).unwrap_or(self.at),
            function: self.function.clone(),
            level: text("level").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
            detail: (!others.is_empty()).then(|| others.join(", ")),
            request_id: text("request_id"),
            trace_id: text("trace_id").map(|trace| root(&trace)),
        })
    }
}

/// The id of a trace, from X-Ray's header (`Root=…;Parent=…;Sampled=…`) or alone.
fn root(trace: &str) -> String {
    let root = trace.split(';').find_map(|part| part.trim().strip_prefix("Root="));
    root.unwrap_or(trace).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(message: &str) -> Row {
        let row = json!([
            {"field": "@timestamp", "value": "2026-11-29 20:44:01.123"},
            {"field": "@message", "value": message},
            {"field": "@log", "value": "123456789012:/aws/lambda/ordersaga-dev-orders-relay"},
        ]);
        read(&row, "/aws/lambda/ordersaga-dev-").unwrap()
    }

    #[test]
    fn a_line_says_who_wrote_it_and_what_explains_it() {
        let line = r#"{"timestamp":"2026-11-29T20:44:01.123456Z","level":"ERROR","message":"failed","order_id":"ord_1","error":"no answer","trace_id":"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"}"#;
        let lines =
            row(&format!("{line}\n{{\"_aws\":{{}},\"order_id\":\"ord_1\"}}\nother")).lines(&["ord_1"]);
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(
            (line.function.as_str(), line.level.as_str(), line.message.as_str()),
            ("orders-relay", "ERROR", "failed")
        );
        assert_eq!(line.detail.as_deref(), Some("error=no answer"));
        assert_eq!(line.trace_id.as_deref(), Some("1-5759e988-bd862e3fe1be46a994272793"));
        assert_eq!(line.at, "2026-11-29T20:44:01.123456Z".parse().unwrap());
    }

    #[test]
    fn a_line_that_is_not_json_is_shown_as_it_is() {
        let lines = row("thread panicked at ord_1").lines(&["ord_1"]);
        assert_eq!(
            (lines[0].message.as_str(), lines[0].at),
            ("thread panicked at ord_1", "2026-11-29T20:44:01.123Z".parse().unwrap())
        );
    }
}
