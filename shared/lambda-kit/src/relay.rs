//! The outbox relay: publishes the events in the `outbox` attributes that a table's stream delivers.
//!
//! `outbox` is a list of strings, each one envelope as JSON, in order. A record's new events are those in its
//! new image that its old image does not have. An item that changes for another reason (a TTL attribute, an
//! erased attribute) has none.
//!
//! A record that this code can never process is parked ([`parking`]) and skipped. Otherwise it would block
//! its shard: Lambda resumes at the first record that is reported as failed and never skips it.
//!
//! Invoked with `{"action": "republish", …}`, a relay publishes the events in its table again
//! ([`republish`]); with `{"action": "retry_parked", …}` it processes parked records again.

mod outbox;
pub mod parking;
mod publisher;
pub mod republish;

use std::{sync::Arc, time::Instant};

use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    MainResult,
    dynamodb::Table,
    health::Check,
    invoke,
    stream::{ItemFailure, StreamBatchResponse, StreamEvent},
    telemetry::{self, Outcome},
};

pub use self::{
    outbox::{Handled, Outgoing, RelayError},
    publisher::Publisher,
};
use self::{parking::Parking, republish::Republisher};

/// Requests are no longer than this; longer payloads are stream batches and are not parsed twice.
const REQUEST_MAX: usize = 2048;

/// An operator's request to a relay.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum Request {
    Republish(republish::Request),
    RetryParked(parking::Request),
}

/// The request, if the payload is one and not a stream batch.
fn request(payload: &str) -> Option<Result<Request, Diagnostic>> {
    #[derive(Deserialize)]
    struct Asked {
        #[serde(rename = "action")]
        _action: IgnoredAny,
    }

    let is_request = payload.len() <= REQUEST_MAX && serde_json::from_str::<Asked>(payload).is_ok();
    is_request.then(|| serde_json::from_str(payload).map_err(|error| malformed("MalformedRequest", &error)))
}

fn malformed(name: &str, error: &serde_json::Error) -> Diagnostic {
    Diagnostic { error_type: name.to_owned(), error_message: error.to_string() }
}

/// A relay's response.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Relayed(StreamBatchResponse),
    Republished(republish::RepublishedPage),
    Retried(parking::RetriedPage),
}

/// Serves a table's stream until the process ends, and the operator's requests. `then` runs concurrently with
/// the publishing of each batch (the orders relay starts the saga there) and returns the result for each
/// record.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run<F, Fut>(table: Table, checks: Vec<Check>, publisher: Publisher, then: F) -> MainResult
where
    F: Fn(Arc<StreamEvent>) -> Fut + Clone,
    Fut: Future<Output: Into<Handled>>,
{
    let republisher = Republisher::new(table.clone(), publisher.clone());
    let parking = Parking::new(table);
    invoke::run(checks, move |payload, _| {
        let (republisher, publisher, then) = (republisher.clone(), publisher.clone(), then.clone());
        let parking = parking.clone();
        async move {
            match request(payload.get()).transpose()? {
                Some(Request::Republish(asked)) => Ok(Answer::Republished(republisher.page(&asked).await?)),
                Some(Request::RetryParked(asked)) => {
                    Ok(Answer::Retried(parking.retry(&asked, &publisher, then).await?))
                }
                None => {
                    let event: StreamEvent = serde_json::from_str(payload.get())
                        .map_err(|error| malformed("MalformedStream", &error))?;
                    Ok(Answer::Relayed(relay(&parking, &publisher, Arc::new(event), then).await))
                }
            }
        }
    })
    .await
}

/// A relay that only publishes.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run_publisher(table: Table, checks: Vec<Check>, publisher: Publisher) -> MainResult {
    run(table, checks, publisher, |_| async { Handled::default() }).await
}

/// Publishes a batch's events, and parks what cannot be processed. Returns the records that Lambda delivers
/// again.
async fn relay<F, Fut>(
    parking: &Parking,
    publisher: &Publisher,
    event: Arc<StreamEvent>,
    then: F,
) -> StreamBatchResponse
where
    F: Fn(Arc<StreamEvent>) -> Fut,
    Fut: Future<Output: Into<Handled>>,
{
    let started = Instant::now();
    let Handled { mut failed, unprocessable } = publisher.process(Arc::clone(&event), then).await;
    // A record that also failed may still succeed in part. It is parked once only its unprocessable part is
    // left.
    for record in &event.records {
        let number = &record.dynamodb.sequence_number;
        // A record that cannot be parked is reported as failed, because it would otherwise be skipped and lost.
        if unprocessable.contains(number) && !failed.contains(number) && !parking.park(record).await {
            failed.insert(number.clone());
        }
    }
    let outcome = if failed.is_empty() { Outcome::Ok } else { Outcome::Error };
    telemetry::record("relay", outcome, started.elapsed());
    tracing::debug!(records = event.records.len(), failed = failed.len(), "relayed");
    StreamBatchResponse {
        batch_item_failures: failed
            .into_iter()
            .map(|item_identifier| ItemFailure { item_identifier })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
