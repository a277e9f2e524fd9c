//! The function orders-views.

use std::time::Instant;

use lambda_kit::{
    MainResult,
    command::parse,
    health::Check,
    invoke,
    relay::{ItemFailure, StreamBatchResponse, StreamEvent},
    telemetry::{self, Outcome},
};

use super::{Projected, project_all};
use crate::store::Store;

/// Serves the table's stream until the process ends.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run(checks: Vec<Check>, store: Store) -> MainResult {
    invoke::run(checks, move |payload, _| {
        let store = store.clone();
        async move {
            let batch: StreamEvent = parse(payload.get())?;
            let started = Instant::now();
            let Projected { failed, unreadable } = project_all(&store, &batch).await;
            let outcome = if failed.is_empty() { Outcome::Ok } else { Outcome::Error };
            telemetry::record("ProjectOrders", outcome, started.elapsed());
            if unreadable > 0 {
                telemetry::found("ProjectOrders", "unreadable", unreadable);
            }
            tracing::info!(records = batch.records.len(), failed = failed.len(), "views brought up to date");
            let again = failed.into_iter().map(|item_identifier| ItemFailure { item_identifier });
            Ok(StreamBatchResponse { batch_item_failures: again.collect() })
        }
    })
    .await
}
