//! The function orders-views.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use contracts::metrics;
use lambda_kit::{
    MainResult,
    command::parse,
    error::error_chain,
    health::Check,
    invoke,
    stream::{ItemFailure, StreamBatchResponse, StreamEvent},
    telemetry::{self, Outcome},
};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};

use super::{
    Projected, Projector,
    replay::{Part, Position, Projection},
};
use crate::store::Store;

/// The longest part of a replay.
// Well within the function's timeout of 30 s, whatever the last page of it takes.
const PART: Duration = Duration::from_secs(10);

/// An operator's request.
#[derive(Debug, Deserialize)]
#[serde(tag = "action")]
enum Request {
    /// Rebuild a projection, from the beginning or from where an earlier part ended.
    Replay { projection: Projection, position: Option<Position> },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Batch(StreamBatchResponse),
    Part(Part),
}

/// Serves the table's stream, and replays, until the process ends.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run(checks: Vec<Check>, store: Store) -> MainResult {
    let projector = Arc::new(Projector::new(store));
    invoke::run(checks, move |payload, _| {
        let projector = Arc::clone(&projector);
        async move {
            // A batch of the stream has no action. The two are distinguished by their shape.
            if let Ok(batch) = serde_json::from_str::<StreamEvent>(payload.get()) {
                return Ok(Answer::Batch(project(&projector, &batch).await));
            }
            let Request::Replay { projection, position } = parse(payload.get())?;
            replay(&projector, projection, position).await.map(Answer::Part)
        }
    })
    .await
}

async fn project(projector: &Projector, batch: &StreamEvent) -> StreamBatchResponse {
    let started = Instant::now();
    let Projected { failed, unreadable } = projector.project_all(batch).await;
    let outcome = if failed.is_empty() { Outcome::Ok } else { Outcome::Error };
    telemetry::record("ProjectOrders", outcome, started.elapsed());
    if unreadable > 0 {
        telemetry::emit(&metrics::ORDERS_UNREADABLE, unreadable);
    }
    tracing::debug!(records = batch.records.len(), failed = failed.len(), "views brought up to date");
    let again = failed.into_iter().map(|item_identifier| ItemFailure { item_identifier });
    StreamBatchResponse { batch_item_failures: again.collect() }
}

async fn replay(
    projector: &Projector,
    projection: Projection,
    position: Option<Position>,
) -> Result<Part, Diagnostic> {
    let started = Instant::now();
    let result = projector.replay(projection, position, started + PART).await;
    let outcome = if result.is_ok() { Outcome::Ok } else { Outcome::Error };
    telemetry::record("Replay", outcome, started.elapsed());
    let part = result.map_err(|error| {
        tracing::error!(error = error_chain(&error), ?projection, "replay failed");
        let error_type = if error.is_retryable() { "Transient" } else { "Refused" };
        Diagnostic { error_type: error_type.to_owned(), error_message: error_chain(&error) }
    })?;
    tracing::info!(?projection, orders = part.orders, removed = part.removed, "part of a replay completed");
    Ok(part)
}
