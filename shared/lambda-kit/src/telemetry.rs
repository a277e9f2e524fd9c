//! JSON logs and one metric record per operation.
//!
//! A log line has `timestamp, level, service, function, message` and what its span knows of `trace_id,
//! correlation_id, request_id, order_id, user_id, event_id`. Never logged: tokens, passwords, addresses, e-mail
//! addresses, card data, whole events.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use metrique::{
    emf::Emf,
    unit::Millisecond,
    unit_of_work::metrics,
    writer::{BoxEntrySink, FormatExt, sink::FlushImmediately},
};
use serde_json::Value;
use tracing::Span;
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config;

/// CloudWatch namespace of all metrics.
const NAMESPACE: &str = "Ordersaga";

struct Sink {
    service: String,
    function: String,
    sink: BoxEntrySink,
}

static SINK: OnceLock<Sink> = OnceLock::new();

#[metrics(rename_all = "PascalCase", emf::dimension_sets = [["Service", "Operation"], ["Service", "Operation", "Outcome"]])]
struct OperationRecord {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    service: String,
    function: String,
    operation: String,
    outcome: &'static str,
    count: u64,
    #[metrics(unit = Millisecond)]
    duration: Duration,
}

#[metrics(rename_all = "PascalCase", emf::dimension_sets = [["Service", "Operation", "Kind"]])]
struct FoundRecord {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    service: String,
    operation: String,
    kind: &'static str,
    found: u64,
}

/// How an operation ended, as its metric says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// Refused for a reason of the business or the caller: no failure of ours.
    Refused,
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
    let level = config::optional("LOG_LEVEL").unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::new(directives(&level, &service));

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

    // Written at once and not by a background thread: the process is frozen as soon as it has answered.
    let stream =
        Emf::no_validations(NAMESPACE.to_owned(), vec![vec![]]).output_to_makewriter(std::io::stdout);
    let sink = FlushImmediately::new_boxed(stream);
    let _ = SINK.set(Sink { service, function, sink });
}

/// The level is for our own code: at `debug` the SDK would log requests, with what is in them. The runtime's
/// own line for each error that a handler returns is left out: the kit has told it, at its own level, and the
/// panic hook tells panics.
fn directives(level: &str, service: &str) -> String {
    format!("warn,lambda_kit={level},{service}={level},lambda_runtime::layers::panic=off")
}

/// Records that `operation` ended with `outcome` after `duration`.
pub fn record(operation: &str, outcome: Outcome, duration: Duration) {
    let Some(sink) = SINK.get() else { return };
    drop(
        OperationRecord {
            timestamp: SystemTime::now(),
            service: sink.service.clone(),
            function: sink.function.clone(),
            operation: operation.to_owned(),
            outcome: outcome.as_str(),
            count: 1,
            duration,
        }
        .append_on_drop(sink.sink.clone()),
    );
}

/// Records how many things of a kind `operation` found: also none, so that an alarm sees that it looked.
pub fn found(operation: &str, kind: &'static str, found: u64) {
    let Some(sink) = SINK.get() else { return };
    drop(
        FoundRecord {
            timestamp: SystemTime::now(),
            service: sink.service.clone(),
            operation: operation.to_owned(),
            kind,
            found,
        }
        .append_on_drop(sink.sink.clone()),
    );
}

/// The span of one invocation. Handlers fill the empty fields in with `Span::record` as they learn them.
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
    use super::*;

    #[test]
    fn the_level_is_for_our_own_code_and_not_for_the_sdk() {
        let filter = EnvFilter::try_new(directives("debug", "orders")).unwrap().to_string();
        assert!(filter.contains("orders=debug") && filter.contains("lambda_kit=debug"));
        assert!(filter.split(',').any(|directive| directive == "warn"));
    }
}
