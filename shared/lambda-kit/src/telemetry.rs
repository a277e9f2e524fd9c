//! JSON logs and one metric record per operation.
//!
//! A log line has `timestamp, level, service, function, message`, and from its span `trace_id,
//! correlation_id, request_id, order_id, user_id, event_id` where they are known. Never logged: tokens,
//! passwords, addresses, e-mail addresses, card data, whole events.

use std::{
    io::Write,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use serde_json::Value;
use tracing::{Span, level_filters::LevelFilter};
use tracing_subscriber::{Registry, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config;

/// CloudWatch namespace of all metrics.
const NAMESPACE: &str = "Ordersaga";

/// The source of the metrics. Set when metrics are recorded.
static SOURCE: OnceLock<Source> = OnceLock::new();

struct Source {
    service: String,
    function: String,
}

/// A log line that CloudWatch makes metrics of (embedded metric format, CloudWatch user guide, "Specification").
#[derive(Serialize)]
struct MetricRecord<'a, F> {
    #[serde(rename = "_aws")]
    metadata: Metadata,
    #[serde(rename = "Service")]
    service: &'a str,
    #[serde(rename = "Operation")]
    operation: &'a str,
    #[serde(flatten)]
    fields: F,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    cloud_watch_metrics: [Directive; 1],
    /// Milliseconds since 1970.
    timestamp: u64,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: &'static [&'static [&'static str]],
    metrics: &'static [MetricDefinition],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricDefinition {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
}

const OPERATION: Directive = Directive {
    namespace: NAMESPACE,
    dimensions: &[&["Service", "Operation"], &["Service", "Operation", "Outcome"]],
    metrics: &[
        MetricDefinition { name: "Count", unit: None },
        MetricDefinition { name: "Duration", unit: Some("Milliseconds") },
    ],
};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OperationFields<'a> {
    function: &'a str,
    outcome: &'static str,
    count: u64,
    /// Milliseconds.
    duration: f64,
}

const FOUND: Directive = Directive {
    namespace: NAMESPACE,
    dimensions: &[&["Service", "Operation", "Kind"]],
    metrics: &[MetricDefinition { name: "Found", unit: None }],
};

/// Counts security events over all contexts, for alarms, and by context.
const SECURITY: Directive = Directive {
    namespace: NAMESPACE,
    dimensions: &[&["Operation", "Kind"], &["Service", "Operation", "Kind"]],
    metrics: FOUND.metrics,
};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FoundFields {
    kind: &'static str,
    found: u64,
}

/// The outcome of an operation, for its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, now or by an earlier try.
    Ok,
    /// Refused by a business rule or because of the caller. Not counted as a failure.
    Refused,
    /// It failed, and the failure is ours.
    Error,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }
}

/// Starts logging and metrics. To be called once, first thing in `main`; later calls change nothing.
pub fn init() {
    let service = config::optional("SERVICE").unwrap_or_else(|| "unknown".to_owned());
    let function = config::optional("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| "unknown".to_owned());
    let level = config::optional("LOG_LEVEL").and_then(|level| level.parse().ok());
    let filter = targets(level.unwrap_or(LevelFilter::INFO), &service);

    let mut layer = json_subscriber::JsonLayer::stdout();
    layer.with_timer("timestamp", tracing_subscriber::fmt::time::SystemTime);
    layer.with_level("level");
    layer.add_static_field("service", Value::String(service.clone()));
    layer.add_static_field("function", Value::String(function.clone()));
    layer.with_flattened_event();
    layer.with_top_level_flattened_span_list();
    if Registry::default().with(filter).with(layer).try_init().is_err() {
        return;
    }

    let _ = SOURCE.set(Source { service, function });
}

/// The level applies to our own code only.
// At `debug` the SDK would log requests with their content. The runtime's own line for a handler's error is
// left out, because the kit has already logged it at its own level, and the panic hook logs panics.
fn targets(level: LevelFilter, service: &str) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("lambda_kit", level)
        .with_target(service, level)
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF)
}

/// Records that `operation` ended with `outcome` after `duration`.
pub fn record(operation: &str, outcome: Outcome, duration: Duration) {
    let Some(source) = SOURCE.get() else { return };
    write(&source.operation(operation, outcome, duration, SystemTime::now()));
}

/// Records how many things of a kind `operation` found.
// Zero is recorded, too, so that an alarm can see that it ran.
pub fn found(operation: &str, kind: &'static str, found: u64) {
    let Some(source) = SOURCE.get() else { return };
    write(&source.found(FOUND, operation, kind, found, SystemTime::now()));
}

/// What someone does with an account that its owner, or the shop's staff, may want to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the metric, and say it")]
pub enum SecurityEvent {
    LoginFailed,
    LoginLockedOut,
    TokenRefused,
    RefreshTokenReused,
    PasswordChanged,
    PasswordResetRequested,
    PasswordReset,
    EmailChanged,
    SessionsEnded,
    RoleGranted,
    RoleRevoked,
    AccountSuspended,
    AccountRestored,
}

impl SecurityEvent {
    /// Its `Kind` in the metric, and `security_event` in the log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoginFailed => "login_failed",
            Self::LoginLockedOut => "login_locked_out",
            Self::TokenRefused => "token_refused",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::PasswordChanged => "password_changed",
            Self::PasswordResetRequested => "password_reset_requested",
            Self::PasswordReset => "password_reset",
            Self::EmailChanged => "email_changed",
            Self::SessionsEnded => "sessions_ended",
            Self::RoleGranted => "role_granted",
            Self::RoleRevoked => "role_revoked",
            Self::AccountSuspended => "account_suspended",
            Self::AccountRestored => "account_restored",
        }
    }
}

/// Logs a security event, and counts it by its kind (metric `Found`, operation `security`). `source` is a digest of
/// who did it or tried to, such as of a network. The span has the user, where there is one.
pub fn security(event: SecurityEvent, source: Option<&str>) {
    tracing::warn!(security_event = event.as_str(), source, "security event");
    let Some(metrics) = SOURCE.get() else { return };
    write(&metrics.found(SECURITY, "security", event.as_str(), 1, SystemTime::now()));
}

impl Source {
    fn operation<'a>(
        &'a self,
        operation: &'a str,
        outcome: Outcome,
        duration: Duration,
        now: SystemTime,
    ) -> MetricRecord<'a, OperationFields<'a>> {
        let outcome = outcome.as_str();
        let duration = milliseconds(duration);
        let fields = OperationFields { function: &self.function, outcome, count: 1, duration };
        MetricRecord { metadata: metadata(OPERATION, now), service: &self.service, operation, fields }
    }

    fn found<'a>(
        &'a self,
        directive: Directive,
        operation: &'a str,
        kind: &'static str,
        found: u64,
        now: SystemTime,
    ) -> MetricRecord<'a, FoundFields> {
        let fields = FoundFields { kind, found };
        MetricRecord { metadata: metadata(directive, now), service: &self.service, operation, fields }
    }
}

fn metadata(directive: Directive, now: SystemTime) -> Metadata {
    let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Metadata { cloud_watch_metrics: [directive], timestamp: u64::try_from(timestamp).unwrap_or(u64::MAX) }
}

#[expect(clippy::float_arithmetic, reason = "a time, and no money")]
fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Writes the record as one line. A metric that cannot be written fails no invocation.
// The write is synchronous: a background thread would not run, since Lambda freezes the process after the
// response.
fn write<F: Serialize>(record: &MetricRecord<'_, F>) {
    let Ok(mut line) = serde_json::to_vec(record) else { return };
    line.push(b'\n');
    let _ = std::io::stdout().lock().write_all(&line);
}

/// The span of one invocation. Handlers fill in the empty fields with `Span::record` when they are known.
pub fn invocation_span(request_id: &str) -> Span {
    let trace_id = std::env::var("_X_AMZN_TRACE_ID").ok();
    tracing::info_span!(
        "invocation",
        request_id,
        trace_id,
        correlation_id = tracing::field::Empty,
        order_id = tracing::field::Empty,
        user_id = tracing::field::Empty,
        event_id = tracing::field::Empty,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracing::Level;

    use super::*;

    fn source() -> Source {
        Source { service: "orders".to_owned(), function: "ordersaga-dev-orders-api".to_owned() }
    }

    #[test]
    fn the_level_is_for_our_own_code_and_not_for_the_sdk() {
        let targets = targets(LevelFilter::DEBUG, "orders");
        assert!(targets.would_enable("orders::api", &Level::DEBUG));
        assert!(targets.would_enable("lambda_kit::relay", &Level::DEBUG));
        assert!(targets.would_enable("aws_smithy_runtime", &Level::WARN));
        assert!(!targets.would_enable("aws_smithy_runtime", &Level::INFO));
        assert!(!targets.would_enable("lambda_runtime::layers::panic", &Level::ERROR));
    }

    #[test]
    fn an_operation_is_counted_and_timed_with_and_without_its_outcome() {
        let source = source();
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let record = source.operation("GET /v1/orders", Outcome::Refused, Duration::from_micros(1_250), now);
        let expected = json!({
            "_aws": {
                "CloudWatchMetrics": [{
                    "Namespace": "Ordersaga",
                    "Dimensions": [["Service", "Operation"], ["Service", "Operation", "Outcome"]],
                    "Metrics": [{"Name": "Count"}, {"Name": "Duration", "Unit": "Milliseconds"}],
                }],
                "Timestamp": 1_700_000_000_123_u64,
            },
            "Service": "orders",
            "Function": "ordersaga-dev-orders-api",
            "Operation": "GET /v1/orders",
            "Outcome": "refused",
            "Count": 1,
            "Duration": 1.25,
        });
        assert_eq!(serde_json::to_value(record).unwrap(), expected);
    }

    #[test]
    fn what_was_found_is_counted_by_its_kind() {
        let source = source();
        let record = source.found(FOUND, "CancelOrder", "needs_attention", 0, UNIX_EPOCH);
        let expected = json!({
            "_aws": {
                "CloudWatchMetrics": [{
                    "Namespace": "Ordersaga",
                    "Dimensions": [["Service", "Operation", "Kind"]],
                    "Metrics": [{"Name": "Found"}],
                }],
                "Timestamp": 0,
            },
            "Service": "orders",
            "Operation": "CancelOrder",
            "Kind": "needs_attention",
            "Found": 0,
        });
        assert_eq!(serde_json::to_value(record).unwrap(), expected);
    }

    #[test]
    fn a_security_event_is_counted_over_all_contexts_too() {
        let source = source();
        let record = source.found(SECURITY, "security", SecurityEvent::LoginFailed.as_str(), 1, UNIX_EPOCH);
        let record = serde_json::to_value(record).unwrap();
        assert_eq!(
            record["_aws"]["CloudWatchMetrics"][0]["Dimensions"],
            json!([["Operation", "Kind"], ["Service", "Operation", "Kind"]])
        );
        assert_eq!((&record["Kind"], &record["Found"]), (&json!("login_failed"), &json!(1)));
    }
}
