//! The function orders-reconciler: invoked by its schedule and by `cargo ops saga`.

use std::{sync::Arc, time::Instant};

use contracts::{OrderId, OrderStatus, saga::Failure};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    MainResult,
    command::parse,
    error::error_chain,
    health::Check,
    invoke,
    telemetry::{self, Outcome},
};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};

use super::{
    ReconcileError, Reconciler,
    invocation::Invocation,
    overdue,
    report::ReconciliationReport,
    roll_back::{RetryError, RetryOutcome, last_failure},
};
use crate::store::{IndexReason, IndexedOrder};

/// The default length of a list.
const LISTED: usize = 50;

/// The function's requests.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "action")]
pub enum Request {
    /// Reconcile every order that was placed more than `older_than_seconds` ago.
    CheckSagas { older_than_seconds: Option<u32> },
    /// List the orders that need attention, or those that are open.
    ListSagas {
        #[serde(default)]
        attention: bool,
        limit: Option<usize>,
    },
    /// Retry the undos of this order.
    RetrySaga { order_id: OrderId },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Report(ReconciliationReport),
    Orders(OrderList),
    Retry { order_id: OrderId, status: OrderStatus, failed: Vec<String> },
}

/// Some of the orders in the index.
#[derive(Debug, Serialize)]
pub struct OrderList {
    orders: Vec<ListedOrder>,
    /// Whether there are more orders.
    more: bool,
}

#[derive(Debug, Serialize)]
pub struct ListedOrder {
    order_id: OrderId,
    status: OrderStatus,
    since: String,
    /// The undos that failed.
    failed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

/// Serves until the process ends.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run(checks: Vec<Check>, reconciler: Reconciler) -> MainResult {
    let reconciler = Arc::new(reconciler);
    invoke::run(checks, move |payload, context| {
        let reconciler = Arc::clone(&reconciler);
        async move {
            let request = parse::<Request>(payload.get())?;
            reconciler.answer(request, Invocation::of(&context)).await
        }
    })
    .await
}

impl Reconciler {
    pub async fn answer(&self, request: Request, invocation: Invocation) -> Result<Answer, Diagnostic> {
        match request {
            Request::CheckSagas { older_than_seconds } => {
                let started = Instant::now();
                let older_than =
                    older_than_seconds.map_or_else(overdue, |s| SignedDuration::from_secs(i64::from(s)));
                let result = self.check(older_than, invocation).await;
                let outcome = if result.is_ok() { Outcome::Ok } else { Outcome::Error };
                telemetry::record("CheckSagas", outcome, started.elapsed());
                let report = result.map_err(|error| failed(&error))?;
                report.record();
                let ReconciliationReport { overdue, running, in_attention, .. } = report;
                tracing::info!(overdue, running, in_attention, "sagas checked");
                Ok(Answer::Report(report))
            }
            Request::ListSagas { attention, limit } => {
                let listed = self.list(attention, limit.unwrap_or(LISTED), invocation.now).await;
                listed.map(Answer::Orders).map_err(|error| failed(&error))
            }
            Request::RetrySaga { order_id } => self.retried(order_id, invocation.now).await,
        }
    }

    async fn retried(&self, order_id: OrderId, now: Timestamp) -> Result<Answer, Diagnostic> {
        let retried = self.retry(&order_id, now).await.map_err(|error| match error {
            RetryError::Reconcile(error) => failed(&error),
            // Nothing has failed: the operator asked for something that cannot be done. So it is no error in
            // the log.
            refused => {
                Diagnostic { error_type: "NothingToRetry".to_owned(), error_message: refused.to_string() }
            }
        })?;
        tracing::info!(order_id = order_id.as_str(), ?retried, "undos retried");
        let (status, failed) = match retried {
            RetryOutcome::Cancelled => (OrderStatus::OrderCancelled, vec![]),
            RetryOutcome::Completed => (OrderStatus::OrderCompleted, vec![]),
            RetryOutcome::StillFailing(failed) => (OrderStatus::NeedsAttention, failed),
        };
        Ok(Answer::Retry { order_id, status, failed })
    }

    /// The orders that have been in the index the longest, up to `limit`, with their current state.
    async fn list(&self, attention: bool, limit: usize, now: Timestamp) -> Result<OrderList, ReconcileError> {
        let reasons: &[IndexReason] =
            if attention { &[IndexReason::Attention] } else { &[IndexReason::Attention, IndexReason::Open] };
        let mut indexed: Vec<IndexedOrder> = vec![];
        for partition in reasons.iter().flat_map(|reason| self.store.index_partitions(*reason)) {
            // One more than is shown, to find out whether there are more. Each partition returns its oldest
            // orders, so the oldest of all are among them.
            let page = i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX);
            indexed.extend(self.store.indexed_orders(&partition, now, page, None).await?.orders);
        }
        indexed.sort_by(|a, b| a.since.cmp(&b.since));
        let more = indexed.len() > limit;
        let mut orders = vec![];
        for order in indexed.into_iter().take(limit) {
            let Some(history) = self.store.load(&order.order_id).await? else { continue };
            // The index may be behind. An order that was cancelled meanwhile keeps its failure in the
            // history, and nothing of it is left to do.
            let failure = last_failure(&history).filter(|_| !history.order.status.is_final());
            let (failure, failed) = failure.map(|event| (event.failure, event.failed)).unzip();
            orders.push(ListedOrder {
                order_id: order.order_id,
                status: history.order.status,
                since: order.since,
                failed: failed.unwrap_or_default(),
                failure,
            });
        }
        Ok(OrderList { orders, more })
    }
}

fn failed(error: &ReconcileError) -> Diagnostic {
    tracing::error!(error = error_chain(error), "saga reconciliation failed");
    Diagnostic { error_type: "Transient".to_owned(), error_message: error_chain(error) }
}
