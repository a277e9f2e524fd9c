//! The loop under every runner: one invocation in, one answer out, `health` answered on the way.

use std::sync::Arc;

use futures::FutureExt;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::Instrument;

use crate::{
    MainResult,
    health::{self, Check},
    telemetry, trace,
};

/// A health request is no longer than this. Longer payloads are not parsed for it.
const HEALTH_PAYLOAD_MAX: usize = 256;

#[derive(Deserialize)]
struct HealthRequest {
    action: HealthAction,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum HealthAction {
    Health,
}

fn asks_for_health(payload: &RawValue) -> bool {
    payload.get().len() <= HEALTH_PAYLOAD_MAX
        && serde_json::from_str::<HealthRequest>(payload.get())
            .is_ok_and(|r| matches!(r.action, HealthAction::Health))
}

/// Polls the Runtime API and hands each payload, unparsed, to `handler` inside the invocation's span.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run<F, Fut, R>(checks: Vec<Check>, handler: F) -> MainResult
where
    F: Fn(Box<RawValue>, Context) -> Fut,
    Fut: Future<Output = Result<R, Diagnostic>>,
    R: Serialize,
{
    let shared = Arc::new((checks, handler));
    let function = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let shared = Arc::clone(&shared);
        let span = telemetry::invocation_span(&event.context.request_id);
        async move {
            let (checks, handler) = &*shared;
            let LambdaEvent { payload, context } = event;
            if asks_for_health(&payload) {
                return to_raw(&health::check(checks).await);
            }
            let header = context.xray_trace_id.clone();
            to_raw(&trace::in_invocation(header.as_deref(), handler(payload, context)).await?)
        }
        .instrument(span)
        // A nest of futures as deep as ours is slow to compile and large on the stack without a box here.
        .boxed_local()
    });
    #[cfg(feature = "simulation")]
    if let Some(instance) = crate::simulation::instance() {
        return crate::simulation::serve(instance, function).await;
    }
    lambda_runtime::run(function).await
}

/// Serves a function that does nothing but say how its context is.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run_health(checks: Vec<Check>) -> MainResult {
    run(checks, |_, _| async { Err::<(), _>(unknown_action()) }).await
}

fn unknown_action() -> Diagnostic {
    Diagnostic {
        error_type: "UnknownAction".to_owned(),
        error_message: "This function answers {\"action\": \"health\"} only.".to_owned(),
    }
}

fn to_raw<R: Serialize>(answer: &R) -> Result<Box<RawValue>, Diagnostic> {
    serde_json::value::to_raw_value(answer)
        .map_err(|e| Diagnostic { error_type: "Serialization".to_owned(), error_message: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_health_action_asks_for_health() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        assert!(asks_for_health(&raw(r#"{"action":"health"}"#)));
        assert!(!asks_for_health(&raw(r#"{"action":"ReserveInventory"}"#)));
        assert!(!asks_for_health(&raw(r#"{"Records":[]}"#)));
    }
}
