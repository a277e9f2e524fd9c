//! Runs the saga's commands, and answers queries of other contexts: one JSON request in, one JSON answer or a
//! named error out.

use std::{sync::Arc, time::Instant};

use contracts::{
    query::ContextQuery,
    saga::{SagaCommand, TRANSIENT},
};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::Span;

use crate::{
    MainResult,
    error::error_chain,
    health::Check,
    invoke,
    telemetry::{self, Outcome},
    trace,
};

/// The error of a command, returned to the state machine under one of the contract's names.
pub trait CommandError: std::error::Error {
    /// One of `contracts::saga::error_names()`, or `TRANSIENT` for an error that may pass by itself.
    fn name(&self) -> &'static str;
}

/// Serves commands of type `C` until the process ends.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run<C, R, E, F, Fut>(checks: Vec<Check>, handler: F) -> MainResult
where
    C: DeserializeOwned + SagaCommand + Send,
    R: Serialize,
    E: CommandError,
    F: Fn(C) -> Fut,
    Fut: Future<Output = Result<R, E>>,
{
    let handler = Arc::new(handler);
    invoke::run(checks, move |payload, _| {
        let handler = Arc::clone(&handler);
        async move { execute(parse::<C>(payload.get())?, |command| handler(command)).await }
    })
    .await
}

/// Serves commands of type `C` as `run` does, and also answers queries of type `Q`.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run_with_queries<C, R, E, F, Fut, Q, A, X, G, Answer>(
    checks: Vec<Check>,
    handler: F,
    answerer: G,
) -> MainResult
where
    C: DeserializeOwned + SagaCommand + Send,
    R: Serialize,
    E: CommandError,
    F: Fn(C) -> Fut,
    Fut: Future<Output = Result<R, E>>,
    Q: DeserializeOwned + ContextQuery,
    A: Serialize,
    X: std::error::Error,
    G: Fn(Q) -> Answer,
    Answer: Future<Output = Result<A, X>>,
{
    let handlers = Arc::new((handler, answerer));
    invoke::run(checks, move |payload, _| {
        let handlers = Arc::clone(&handlers);
        async move {
            let (handler, answerer) = &*handlers;
            if is_query::<Q>(payload.get()) {
                run_query(parse::<Q>(payload.get())?, answerer).await.map(Either::Answer)
            } else {
                execute(parse::<C>(payload.get())?, handler).await.map(Either::Done)
            }
        }
    })
    .await
}

/// The answer of either handler.
#[derive(Serialize)]
#[serde(untagged)]
enum Either<R, A> {
    Done(R),
    Answer(A),
}

/// Whether the payload's `action` is a query.
pub fn is_query<Q: ContextQuery>(payload: &str) -> bool {
    #[derive(Deserialize)]
    struct Action {
        action: String,
    }
    serde_json::from_str::<Action>(payload).is_ok_and(|named| Q::ACTIONS.contains(&named.action.as_str()))
}

/// Answers one query: records the metric, and logs a failure once.
///
/// # Errors
/// The handler's error, as a transient one.
pub async fn run_query<Q, A, X, Fut>(query: Q, answerer: impl FnOnce(Q) -> Fut) -> Result<A, Diagnostic>
where
    Q: ContextQuery,
    X: std::error::Error,
    Fut: Future<Output = Result<A, X>>,
{
    let action = query.action();
    let started = Instant::now();
    let result = trace::in_span(action, trace::Span::join(None), answerer(query), Result::is_err).await;
    let outcome = match &result {
        Ok(_) => {
            tracing::info!(action, "query answered");
            Outcome::Ok
        }
        Err(error) => {
            tracing::error!(action, error = error_chain(error), "query failed");
            Outcome::Error
        }
    };
    telemetry::record(action, outcome, started.elapsed());
    result
        .map_err(|error| Diagnostic { error_type: TRANSIENT.to_owned(), error_message: error_chain(&error) })
}

/// Parses a command or a query.
///
/// # Errors
/// A `Diagnostic` named `MalformedCommand` when the payload is not a `C`.
pub fn parse<C: DeserializeOwned>(payload: &str) -> Result<C, Diagnostic> {
    serde_json::from_str(payload).map_err(|error| {
        tracing::error!(%error, "the payload is not a command of this function");
        Diagnostic { error_type: "MalformedCommand".to_owned(), error_message: error.to_string() }
    })
}

/// Runs one command: fills in the span, records the metric, logs a failure once, names the error.
///
/// # Errors
/// The handler's error as a `Diagnostic` with its stable name.
pub async fn execute<C, R, E, Fut>(command: C, handler: impl FnOnce(C) -> Fut) -> Result<R, Diagnostic>
where
    C: SagaCommand,
    E: CommandError,
    Fut: Future<Output = Result<R, E>>,
{
    let action = command.action();
    let span = Span::current();
    span.record("correlation_id", command.context().correlation_id.as_str());
    span.record("order_id", command.context().order_id.as_str());
    let traced = trace::Span::join(command.context().traceparent.as_deref());
    trace::log(traced);
    let started = Instant::now();
    let is_fault = |result: &Result<R, E>| result.as_ref().is_err_and(|error| error.name() == TRANSIENT);
    let result = trace::in_span(action, traced, Box::pin(handler(command)), is_fault).await;
    let outcome = match &result {
        Ok(_) => {
            tracing::info!(action, "command done");
            Outcome::Ok
        }
        Err(error) if error.name() == TRANSIENT => {
            tracing::error!(action, error = error_chain(error), "command failed");
            Outcome::Error
        }
        Err(error) => {
            // This is no error in the log: the context works, and its rules refuse the command.
            tracing::info!(action, refusal = error.name(), "command refused");
            Outcome::Refused
        }
    };
    telemetry::record(action, outcome, started.elapsed());
    result.map_err(|error| Diagnostic {
        error_type: error.name().to_owned(),
        error_message: error_chain(&error),
    })
}

#[cfg(test)]
mod tests {
    use contracts::query::OrderQuery;

    use super::*;

    #[test]
    fn a_question_is_told_from_a_command_by_its_action() {
        assert!(is_query::<OrderQuery>(r#"{"action":"OrderStatuses","order_ids":["no order id"]}"#));
        assert!(!is_query::<OrderQuery>(r#"{"action":"RecordReservation","order_id":"x"}"#));
        assert!(!is_query::<OrderQuery>("{}"));
    }
}
