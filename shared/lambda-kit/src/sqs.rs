//! Runs a queue's batches: each message is handled on its own, and failures are reported for each.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use contracts::{DecodeError, Envelope, metrics};
use futures::{StreamExt, stream};
use lambda_runtime::Diagnostic;
use tracing::{Instrument, Span};

use crate::{
    MainResult,
    error::error_chain,
    health::Check,
    invoke,
    telemetry::{self, Outcome},
    trace,
};

/// Messages of one batch that are handled concurrently; the SDK's connection pool has as many connections.
const CONCURRENCY: usize = 10;

/// The event types that a consumer handles, as in its subscription's filter policy. An entry that ends with a
/// dot matches all types with that prefix.
pub type EventTypes = &'static [&'static str];

/// Concatenates two lists in a constant.
///
/// # Panics
/// When the lists do not have `N` types together.
pub const fn joined<const N: usize>(one: EventTypes, other: EventTypes) -> [&'static str; N] {
    assert!(one.len() + other.len() == N, "N is the length of both lists together");
    let mut types = [""; N];
    let mut n = 0;
    while n < N {
        types[n] = if n < one.len() { one[n] } else { other[n - one.len()] };
        n += 1;
    }
    types
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a message failed and will be retried.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The body cannot be parsed.
    #[error("the message is not an event envelope")]
    Envelope(#[source] serde_json::Error),
    /// The payload is of another type or of a newer version.
    #[error("the event cannot be read")]
    Decode(#[from] DecodeError),
    /// The handler's own error.
    #[error("the event cannot be handled")]
    Handler(#[source] BoxError),
}

impl MessageError {
    /// The handler's error as a reason for a retry.
    pub fn handler(error: impl Into<BoxError>) -> Self {
        Self::Handler(error.into())
    }
}

/// Serves events of these types from a standard queue until the process ends: in any order, several at a time.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run_events<F, Fut>(types: EventTypes, checks: Vec<Check>, handler: F) -> MainResult
where
    F: Fn(Envelope) -> Fut,
    Fut: Future<Output = Result<(), MessageError>>,
{
    let handler = Arc::new(handler);
    invoke::run(checks, move |payload, _| {
        let handler = Arc::clone(&handler);
        async move {
            let batch = parse_batch(payload.get())?;
            Ok(each_message(batch.records, |message| {
                let handler = Arc::clone(&handler);
                async move { one_event(types, &message, &*handler).await }
            })
            .await)
        }
    })
    .await
}

/// Reads a batch.
///
/// # Errors
/// A `Diagnostic` named `MalformedBatch`.
pub fn parse_batch(payload: &str) -> Result<SqsEvent, Diagnostic> {
    serde_json::from_str(payload).map_err(|error| Diagnostic {
        error_type: "MalformedBatch".to_owned(),
        error_message: error.to_string(),
    })
}

/// Passes each message to `handler`, several concurrently, and reports those that failed.
pub async fn each_message<F, Fut>(messages: Vec<SqsMessage>, handler: F) -> SqsBatchResponse
where
    F: Fn(SqsMessage) -> Fut,
    Fut: Future<Output = Result<(), MessageError>>,
{
    let results: Vec<(Option<String>, Result<(), MessageError>)> = stream::iter(messages)
        .map(|message| {
            let id = message.message_id.clone();
            let span = tracing::info_span!(parent: Span::current(), "message", message_id = id.as_deref());
            // With a deeper nest of futures, rustc cannot compute the layout of an optimised build.
            let handled = Box::pin(handler(message));
            async move { (id, handled.await) }.instrument(span)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    respond(results)
}

/// A group of a FIFO queue of which only the first messages were handled.
#[derive(Debug)]
pub struct Interrupted {
    /// The number of messages that need no retry.
    pub done: usize,
    /// Why the next one failed.
    pub error: MessageError,
}

/// Passes the messages of a FIFO queue to `handler` group by group, several groups concurrently. After a group's
/// first failure the rest of the group is reported as failed, too, to keep its order.
pub async fn each_group<F, Fut>(messages: Vec<SqsMessage>, handler: F) -> SqsBatchResponse
where
    F: Fn(Vec<SqsMessage>) -> Fut,
    Fut: Future<Output = Result<(), Interrupted>>,
{
    let mut groups: BTreeMap<String, Vec<SqsMessage>> = BTreeMap::new();
    for message in messages {
        let group = message.attributes.get("MessageGroupId").cloned().unwrap_or_default();
        groups.entry(group).or_default().push(message);
    }
    let handler = &handler;
    let failed: Vec<Vec<String>> = stream::iter(groups.into_values())
        .map(|group| async move {
            let ids: Vec<Option<String>> = group.iter().map(|message| message.message_id.clone()).collect();
            let Err(Interrupted { done, error }) = Box::pin(handler(group)).await else { return Vec::new() };
            let retried = ids.into_iter().skip(done);
            log_failure(retried.clone().next().flatten().as_deref(), &error);
            retried.map(Option::unwrap_or_default).collect()
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let mut response = SqsBatchResponse::default();
    for id in failed.into_iter().flatten() {
        response.add_failure(id);
    }
    response
}

fn log_failure(message_id: Option<&str>, error: &MessageError) {
    tracing::error!(message_id, error = error_chain(error), "message failed, will be retried");
}

fn respond(results: Vec<(Option<String>, Result<(), MessageError>)>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for (id, result) in results {
        if let Err(error) = result {
            log_failure(id.as_deref(), &error);
            // Without an id the whole batch must be retried. An empty identifier means that (Lambda, SQS
            // guide).
            response.add_failure(id.unwrap_or_default());
        }
    }
    response
}

/// The span of a message's handling, if its trace was sampled: below the sender's span, else below the one that the message's
/// content names.
pub fn span_of(message: &SqsMessage, content: Option<&str>) -> Option<trace::Span> {
    let sender = message.message_attributes.get(trace::TRACEPARENT);
    let sender = sender.and_then(|attribute| attribute.string_value.as_deref());
    // SQS stores X-Ray's header of the request that sent the message (SQS Developer Guide, "Message system attributes").
    let request = message.attributes.get("AWSTraceHeader").and_then(|header| trace::Span::of_xray(header));
    trace::Span::join(sender.or(content)).or_else(|| request.map(trace::Span::segment))
}

/// Parses a message's body as an event and passes it to the handler, with its log fields and its metric.
///
/// An event whose type is not in `types` is acknowledged, logged and counted, but not handled: a filter
/// policy takes up to 15 minutes to become effective (SNS Developer Guide, "Message filtering"), and the
/// queue receives other types until then. The count shows whether the filter is wrong or only new.
///
/// # Errors
/// When the body is not an envelope, or the handler fails.
pub async fn one_event<F, Fut>(
    types: EventTypes,
    message: &SqsMessage,
    handler: F,
) -> Result<(), MessageError>
where
    F: FnOnce(Envelope) -> Fut,
    Fut: Future<Output = Result<(), MessageError>>,
{
    let event: Envelope =
        serde_json::from_str(message.body.as_deref().unwrap_or_default()).map_err(MessageError::Envelope)?;
    if !is_handled(types, &event.event_type) {
        tracing::warn!(
            event_id = event.event_id.as_str(),
            event_type = event.event_type,
            correlation_id = event.correlation_id.as_str(),
            "unexpected event type, acknowledged: check the subscription's filter policy"
        );
        telemetry::emit(&metrics::UNEXPECTED_EVENTS, 1);
        return Ok(());
    }
    let traced = span_of(message, event.traceparent.as_deref());
    let span = tracing::info_span!(
        "event",
        trace_id = traced.map(|span| span.trace_id()),
        event_id = event.event_id.as_str(),
        event_type = event.event_type,
        correlation_id = event.correlation_id.as_str(),
        subject = event.subject,
        // For handlers to fill in.
        order_id = tracing::field::Empty,
        user_id = tracing::field::Empty,
    );
    let event_type = event.event_type.clone();
    let started = Instant::now();
    let result = trace::in_span(&event_type, traced, handler(event).instrument(span), Result::is_err).await;
    let outcome = if result.is_ok() { Outcome::Ok } else { Outcome::Error };
    telemetry::record_event(&event_type, outcome, started.elapsed());
    result
}

fn is_handled(types: EventTypes, event_type: &str) -> bool {
    types.iter().any(|each| *each == event_type || (each.ends_with('.') && event_type.starts_with(each)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn message(id: &str, group: &str) -> SqsMessage {
        serde_json::from_value(serde_json::json!({
            "messageId": id, "body": id, "attributes": {"MessageGroupId": group}
        }))
        .unwrap()
    }

    #[test]
    fn a_message_is_handled_in_the_trace_that_its_sender_or_its_content_names() {
        let named = |trace: &str| format!("00-{}-53995c3f42cd8ad8-01", trace.repeat(32));
        let xray = format!("Root=1-{}-{};Parent=53995c3f42cd8ad8;Sampled=1", "c".repeat(8), "c".repeat(24));
        let trace_of = |message: &SqsMessage, content: Option<&str>| {
            span_of(message, content).map(|span| span.traceparent()[3..4].to_owned()).unwrap_or_default()
        };
        let mut message = message("a", "1");
        assert_eq!(trace_of(&message, None), "");
        message.attributes.insert("AWSTraceHeader".to_owned(), xray);
        assert_eq!(trace_of(&message, None), "c");
        assert_eq!(trace_of(&message, Some(&named("b"))), "b");
        let attribute = serde_json::json!({"stringValue": named("a"), "dataType": "String"});
        let attribute = serde_json::from_value(attribute).unwrap();
        message.message_attributes.insert("traceparent".to_owned(), attribute);
        assert_eq!(trace_of(&message, Some(&named("b"))), "a");
    }

    async fn fail_b(message: SqsMessage) -> Result<(), MessageError> {
        if message.body.as_deref() == Some("b") { Err(MessageError::handler("no")) } else { Ok(()) }
    }

    fn failed(response: &SqsBatchResponse) -> Vec<&str> {
        response.batch_item_failures.iter().map(|f| f.item_identifier.as_str()).collect()
    }

    #[tokio::test]
    async fn only_the_messages_that_failed_come_again() {
        let batch = vec![message("a", "1"), message("b", "1"), message("c", "1")];
        assert_eq!(failed(&each_message(batch, fail_b).await), ["b"]);
    }

    #[tokio::test]
    async fn the_rest_of_a_group_waits_for_its_failed_message_and_other_groups_do_not() {
        let batch = vec![message("a", "1"), message("b", "1"), message("c", "1"), message("d", "2")];
        let handle = async |group: Vec<SqsMessage>| {
            for (done, message) in group.into_iter().enumerate() {
                fail_b(message).await.map_err(|error| Interrupted { done, error })?;
            }
            Ok(())
        };
        assert_eq!(failed(&each_group(batch, handle).await), ["b", "c"]);
    }

    #[tokio::test]
    async fn a_message_that_failed_is_logged_with_its_id_and_the_cause() {
        let batch = vec![message("a", "1"), message("b", "1")];
        let (_, lines) = testing::logged(each_message(batch, fail_b)).await;
        let [line] = &lines[..] else { panic!("not one line: {lines:?}") };
        let fields = ["ERROR", "message_id=\"b\"", "the event cannot be handled: no"];
        assert!(fields.iter().all(|field| line.contains(field)), "{line}");
    }

    /// Whether the handler gets an event of this type, and whether its message is acknowledged.
    async fn handed(types: EventTypes, event_type: &str) -> (bool, bool) {
        let event = serde_json::json!({
            "event_id": format!("evt_{:032x}", 1), "event_type": event_type, "event_version": 1,
            "occurred_at": "2026-11-20T12:00:00Z", "source": "users", "subject": "u", "sequence": 1,
            "correlation_id": "c", "causation_id": "c", "data": {},
            "metadata": {"user_id": null, "tenant_id": null},
        });
        let mut message = message("a", "1");
        message.body = Some(event.to_string());
        let mut is_handed = false;
        let result = one_event(types, &message, |_| {
            is_handed = true;
            async { Err(MessageError::handler("no")) }
        });
        let is_acknowledged = result.await.is_ok();
        (is_handed, is_acknowledged)
    }

    #[test]
    fn lists_of_event_types_are_joined_in_their_order() {
        assert_eq!(joined::<3>(&["a"], &["b", "c"]), ["a", "b", "c"]);
        assert_eq!(joined::<3>(&["a", "b"], &["c"]), ["a", "b", "c"]);
        assert_eq!(joined::<1>(&[], &["a"]), ["a"]);
    }

    #[test]
    #[should_panic(expected = "N is the length of both lists together")]
    fn lists_of_event_types_are_not_joined_to_another_length() {
        joined::<3>(&["a"], &["b"]);
    }

    #[tokio::test]
    async fn an_event_of_another_type_is_acknowledged_and_not_handled() {
        let types: EventTypes = &["user.deleted", "order."];
        for handled in ["user.deleted", "order.created", "order.of_a_later_release"] {
            assert_eq!(handed(types, handled).await, (true, false), "{handled}");
        }
        for other in ["user.deleted_twice", "user.updated", "orders.created", "order"] {
            assert_eq!(handed(types, other).await, (false, true), "{other}");
        }
    }
}
