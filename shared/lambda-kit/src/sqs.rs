//! Runs a queue's batches: each message is handled on its own, and failures are reported for each.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use contracts::{DecodeError, Envelope};
use futures::{StreamExt, stream};
use lambda_runtime::Diagnostic;
use tracing::{Instrument, Span};

use crate::{
    MainResult,
    error::error_chain,
    health::Check,
    invoke,
    telemetry::{self, Outcome},
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
            let handled = handler(message);
            async move { (id, handled.await) }.instrument(span)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    respond(results)
}

/// Passes the messages of a FIFO queue to `handler`: those of a group sequentially, groups concurrently.
/// After a group's first failure the rest of the group is reported as failed, too, to keep its order.
pub async fn each_message_in_order<F, Fut>(messages: Vec<SqsMessage>, handler: F) -> SqsBatchResponse
where
    F: Fn(SqsMessage) -> Fut,
    Fut: Future<Output = Result<(), MessageError>>,
{
    let mut groups: BTreeMap<String, Vec<SqsMessage>> = BTreeMap::new();
    for message in messages {
        let group = message.attributes.get("MessageGroupId").cloned().unwrap_or_default();
        groups.entry(group).or_default().push(message);
    }
    let handler = &handler;
    let failed: Vec<Vec<String>> = stream::iter(groups.into_values())
        .map(|group| one_group(group, handler))
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let mut response = SqsBatchResponse::default();
    for id in failed.into_iter().flatten() {
        response.add_failure(id);
    }
    response
}

/// The ids of the group's messages to retry: the first that failed, and all after it.
async fn one_group<F, Fut>(group: Vec<SqsMessage>, handler: &F) -> Vec<String>
where
    F: Fn(SqsMessage) -> Fut,
    Fut: Future<Output = Result<(), MessageError>>,
{
    let mut failed = Vec::new();
    for message in group {
        let id = message.message_id.clone();
        // After a failure the rest of the group is not handled: its messages would overtake the failed one.
        let again = !failed.is_empty()
            || !respond(vec![(id.clone(), handler(message).await)]).batch_item_failures.is_empty();
        if again {
            failed.push(id.unwrap_or_default());
        }
    }
    failed
}

fn respond(results: Vec<(Option<String>, Result<(), MessageError>)>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for (id, result) in results {
        if let Err(error) = result {
            tracing::error!(
                message_id = id.as_deref(),
                error = error_chain(&error),
                "message failed, will be retried"
            );
            // Without an id the whole batch must be retried. An empty identifier means that (Lambda, SQS
            // guide).
            response.add_failure(id.unwrap_or_default());
        }
    }
    response
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
        telemetry::found("consume", "unexpected", 1);
        return Ok(());
    }
    let span = tracing::info_span!(
        "event",
        event_id = event.event_id.as_str(),
        event_type = event.event_type,
        correlation_id = event.correlation_id.as_str(),
        subject = event.subject,
        // For handlers to fill in.
        order_id = tracing::field::Empty,
        user_id = tracing::field::Empty,
    );
    let operation = event.event_type.clone();
    let started = Instant::now();
    let result = handler(event).instrument(span).await;
    let outcome = if result.is_ok() { Outcome::Ok } else { Outcome::Error };
    telemetry::record(&operation, outcome, started.elapsed());
    result
}

fn is_handled(types: EventTypes, event_type: &str) -> bool {
    types.iter().any(|each| *each == event_type || (each.ends_with('.') && event_type.starts_with(each)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, group: &str) -> SqsMessage {
        serde_json::from_value(serde_json::json!({
            "messageId": id, "body": id, "attributes": {"MessageGroupId": group}
        }))
        .unwrap()
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
        assert_eq!(failed(&each_message_in_order(batch, fail_b).await), ["b", "c"]);
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
