//! Metrics as log lines that CloudWatch makes metrics of (embedded metric format, CloudWatch user guide,
//! "Specification: Embedded metric format").

use std::{
    io::Write,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use contracts::metrics::{self, Metric};
use serde_json::{Map, Value, json};

use super::Outcome;

/// A process reports its memory at most once in this time.
// A value for each operation would be a longer line for each operation, and it is the peak, which seldom grows later.
const MEMORY_PERIOD_SECONDS: u64 = 15 * 60;

/// The source of the metrics. Set when metrics are recorded.
static SOURCE: OnceLock<Source> = OnceLock::new();

/// The function that emits metrics.
pub struct Source {
    service: String,
    function: String,
    namespace: String,
    /// When the memory was reported last, in Unix seconds.
    memory_reported_at: AtomicU64,
}

/// Begins to emit metrics.
pub fn start(service: String, function: String) {
    let _ = SOURCE.set(Source::new(service, function));
}

/// Records that `operation`, on an event of this type if it is one's, ended with `outcome` after `duration`.
pub fn record(operation: &str, event_type: Option<&str>, outcome: Outcome, duration: Duration) {
    let Some(source) = SOURCE.get() else { return };
    let now = SystemTime::now();
    let memory = source.memory_is_due(now).then(peak_memory).flatten();
    let mut record = source.operation(operation, outcome, duration, memory, now);
    if let Some(event_type) = event_type {
        record["Event"] = json!(event_type);
    }
    write(&record);
}

/// Records a value of a metric that has no dimension besides the service.
pub fn emit(metric: &Metric, value: u64) {
    let Some(source) = SOURCE.get() else { return };
    write(&source.value(metric, None, value, SystemTime::now()));
}

/// Records a value of a metric for one value of its dimension. A value that the metric does not list is recorded as `other`.
pub fn emit_by(metric: &Metric, dimension: &str, value: u64) {
    let Some(source) = SOURCE.get() else { return };
    write(&source.value(metric, Some(dimension), value, SystemTime::now()));
}

impl Source {
    fn new(service: String, function: String) -> Self {
        let namespace = format!("Ordersaga/{}", stage(&function, &service));
        Self { service, function, namespace, memory_reported_at: AtomicU64::new(0) }
    }

    fn operation(
        &self,
        operation: &str,
        outcome: Outcome,
        duration: Duration,
        memory: Option<u64>,
        now: SystemTime,
    ) -> Value {
        let is_error = outcome == Outcome::Error;
        let measured: Vec<_> =
            [(metrics::is_timed(operation), &metrics::DURATION), (is_error, &metrics::ERRORS)]
                .into_iter()
                .filter(|(is_measured, _)| *is_measured)
                .map(|(_, metric)| definition(metric))
                .collect();
        let mut directives = Vec::new();
        if !measured.is_empty() {
            directives.push(self.directive(&["Service", "Operation"], measured));
        }
        if memory.is_some() {
            let memory = &metrics::MEMORY_USED;
            directives.push(self.directive(&memory.dimensions(), vec![definition(memory)]));
        }
        let mut record = json!({
            "Service": self.service,
            "Operation": operation,
            "Outcome": outcome.as_str(),
            (metrics::DURATION.name): milliseconds(duration),
        });
        if is_error {
            record[metrics::ERRORS.name] = json!(1);
        }
        if let Some(memory) = memory {
            // Elsewhere the log group names it.
            record["Function"] = json!(self.function);
            record[metrics::MEMORY_USED.name] = json!(memory);
        }
        if directives.is_empty() { record } else { with_metadata(record, directives, now) }
    }

    fn value(&self, metric: &Metric, dimension: Option<&str>, value: u64, now: SystemTime) -> Value {
        let mut fields = Map::new();
        let dimensions = metric.dimensions();
        if dimensions.contains(&"Service") {
            fields.insert("Service".to_owned(), json!(self.service));
        }
        if let (Some(name), Some(value)) = (metric.dimension, dimension) {
            fields.insert(name.to_owned(), json!(metric.listed(value)));
        }
        fields.insert(metric.name.to_owned(), json!(value));
        let directive = self.directive(&dimensions, vec![definition(metric)]);
        with_metadata(Value::Object(fields), vec![directive], now)
    }

    fn directive(&self, dimensions: &[&str], metrics: Vec<Value>) -> Value {
        json!({"Namespace": self.namespace, "Dimensions": [dimensions], "Metrics": metrics})
    }

    /// Whether it is time to report the memory. It then counts as reported.
    fn memory_is_due(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let last = self.memory_reported_at.load(Ordering::Relaxed);
        let is_due = now >= last + MEMORY_PERIOD_SECONDS;
        if is_due {
            self.memory_reported_at.store(now, Ordering::Relaxed);
        }
        is_due
    }
}

/// The stage in a function's name, `ordersaga-<stage>-<service>-<rest>`.
fn stage<'a>(function: &'a str, service: &str) -> &'a str {
    let stage =
        function.strip_prefix("ordersaga-").and_then(|name| name.rsplit_once(&format!("-{service}-")));
    stage.map_or("unknown", |(stage, _)| stage)
}

fn definition(metric: &Metric) -> Value {
    json!({"Name": metric.name, "Unit": metric.unit.as_str()})
}

fn with_metadata(mut record: Value, directives: Vec<Value>, now: SystemTime) -> Value {
    let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let timestamp = u64::try_from(timestamp).unwrap_or(u64::MAX);
    record["_aws"] = json!({"Timestamp": timestamp, "CloudWatchMetrics": directives});
    record
}

/// To a hundredth, because each digit is paid for in every line.
#[expect(clippy::float_arithmetic, reason = "a time, and no money")]
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

/// The most memory that this process has used, in megabytes.
// The kernel measures it. Lambda writes it to its REPORT line only, which no metric is made of.
fn peak_memory() -> Option<u64> {
    megabytes(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The peak in the text of `/proc/<pid>/status` (proc_pid_status(5), `VmHWM`), rounded up.
fn megabytes(status: &str) -> Option<u64> {
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.parse::<u64>().ok()?.div_ceil(1024))
}

/// Writes the record as one line. A metric that cannot be written fails no invocation.
// The write is synchronous: a background thread would not run, since Lambda freezes the process after the
// response.
fn write(record: &Value) {
    let _ = writeln!(std::io::stdout().lock(), "{record}");
}

#[cfg(test)]
mod tests {
    use contracts::metrics::{ORDERS_PLACED, PAYMENTS, SECURITY_EVENTS};

    use super::*;

    fn source() -> Source {
        Source::new("orders".to_owned(), "ordersaga-dev-orders-api".to_owned())
    }

    #[test]
    fn an_operation_has_one_record_with_one_set_of_dimensions() {
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let record =
            source().operation("GET /v1/orders", Outcome::Refused, Duration::from_micros(1_254), None, now);
        let expected = json!({
            "_aws": {
                "Timestamp": 1_700_000_000_123_u64,
                "CloudWatchMetrics": [{
                    "Namespace": "Ordersaga/dev",
                    "Dimensions": [["Service", "Operation"]],
                    "Metrics": [{"Name": "Duration", "Unit": "Milliseconds"}],
                }],
            },
            "Service": "orders",
            "Operation": "GET /v1/orders",
            "Outcome": "refused",
            "Duration": 1.25,
        });
        assert_eq!(record, expected);
    }

    #[test]
    fn what_lambda_measures_is_a_log_line_and_its_errors_are_a_metric() {
        let relayed =
            |outcome| source().operation("relay", outcome, Duration::from_millis(2), None, UNIX_EPOCH);
        let line = json!({"Service": "orders", "Operation": "relay", "Outcome": "ok", "Duration": 2.0});
        assert_eq!(relayed(Outcome::Ok), line);
        let failed = relayed(Outcome::Error);
        let errors = json!([{"Name": "Errors", "Unit": "Count"}]);
        assert_eq!(failed["_aws"]["CloudWatchMetrics"][0]["Metrics"], errors);
    }

    #[test]
    fn an_error_and_the_memory_are_in_the_record_of_the_operation() {
        let record = source().operation("CancelOrder", Outcome::Error, Duration::ZERO, Some(9), UNIX_EPOCH);
        let directives = &record["_aws"]["CloudWatchMetrics"];
        assert_eq!(directives[0]["Metrics"][1], json!({"Name": "Errors", "Unit": "Count"}));
        assert_eq!(directives[1]["Dimensions"], json!([[]]), "one series over all functions");
        assert_eq!(directives[1]["Metrics"], json!([{"Name": "MemoryUsed", "Unit": "Megabytes"}]));
        assert_eq!((&record["Errors"], &record["MemoryUsed"]), (&json!(1), &json!(9)));
        assert_eq!(record["Function"], "ordersaga-dev-orders-api");
    }

    #[test]
    fn a_value_has_the_dimensions_of_its_metric() {
        let directive = |record: &Value| record["_aws"]["CloudWatchMetrics"][0]["Dimensions"].clone();
        let placed = source().value(&ORDERS_PLACED, None, 1, UNIX_EPOCH);
        assert_eq!(directive(&placed), json!([["Service"]]));
        assert_eq!((&placed["Service"], &placed["OrdersPlaced"]), (&json!("orders"), &json!(1)));

        let paid = source().value(&PAYMENTS, Some("declined"), 1, UNIX_EPOCH);
        assert_eq!(directive(&paid), json!([["Service", "Result"]]));
        assert_eq!(paid["Result"], "declined");
        assert_eq!(source().value(&PAYMENTS, Some("unheard of"), 1, UNIX_EPOCH)["Result"], "other");

        let refused = source().value(&SECURITY_EVENTS, Some("token_refused"), 1, UNIX_EPOCH);
        assert_eq!(directive(&refused), json!([["Event"]]), "one series over all contexts");
        assert_eq!(refused["Service"], Value::Null);
    }

    #[test]
    fn the_namespace_has_the_stage_so_that_stages_do_not_share_alarms() {
        assert_eq!(stage("ordersaga-pr-17-orders-api", "orders"), "pr-17");
        assert_eq!(stage("ordersaga-my-orders-orders-api", "orders"), "my-orders");
        assert_eq!(stage("another", "orders"), "unknown");
    }

    #[test]
    fn the_memory_is_the_peak_rounded_up_and_reported_every_fifteen_minutes() {
        assert_eq!(megabytes("Name:\torders-api\nVmHWM:\t    9217 kB\nVmRSS:\t    8192 kB\n"), Some(10));
        assert!(peak_memory().is_some_and(|megabytes| megabytes > 0));
        let source = source();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(source.memory_is_due(at(1_000)));
        assert!(!source.memory_is_due(at(1_899)));
        assert!(source.memory_is_due(at(1_900)));
    }
}
