//! The sweeper settles stock that has been held for long by the status of its order, in case the saga's
//! command or the order's event was lost. Stock of orders that have not ended is left alone and counted.

mod orders;

use std::time::{Duration, SystemTime};

use contracts::{OrderStatus, metrics, query::ORDER_STATUSES_MAX};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{dynamodb::TableError, error::error_chain, function_client::CallError, telemetry};
use lambda_runtime::Diagnostic;
use serde::Serialize;

pub use self::orders::OrdersClient;
use crate::{
    domain::{Command, EventContext, Status},
    handler::{ReservationError, end_reservation},
    store::{Held, Store},
};

/// Younger reservations are skipped.
// Payments give up after 15 minutes, and then the saga settles them.
const GRACE: SignedDuration = SignedDuration::from_mins(30);
/// After this time no saga is running.
// Its undos are retried for eight hours at most (statemachine/README.md).
const STUCK: SignedDuration = SignedDuration::from_hours(12);
/// No page begins with less time than this.
// The query may take 10 s, and settling some seconds.
const PAGE_TIME: Duration = Duration::from_secs(14);
/// Reservations that are settled concurrently.
// The SDK's connection pool has as many connections.
const CONCURRENCY: usize = 10;

/// The reservations that a sweep found held for too long, by outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// The order had completed.
    pub committed: u64,
    /// The order was cancelled.
    pub released: u64,
    /// It was settled already; the index was behind.
    pub settled: u64,
    /// The order goes on.
    pub open: u64,
    /// The order needs attention. Its goods may have been shipped, so a person must decide.
    pub attention: u64,
    /// Held for longer than any saga runs, or for an order that does not exist.
    pub stuck: u64,
    /// Settling failed: the next sweep tries again.
    pub failed: u64,
}

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("orders does not answer")]
    Call(#[from] CallError),
}

/// The outcome of one reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SweepOutcome {
    Committed,
    Released,
    AlreadyEnded,
    Open,
    Attention,
    Stuck,
    Failed,
}

/// Settles everything that has been held for more than half an hour. Safe to run twice, concurrently, and to
/// interrupt: the next sweep begins at another partition of the index.
///
/// # Errors
/// When not everything could be read and settled: the function's errors raise an alarm.
pub async fn sweep(
    store: &Store,
    orders: &OrdersClient,
    now: Timestamp,
    deadline: SystemTime,
) -> Result<SweepReport, Diagnostic> {
    let mut report = SweepReport::default();
    let ended = sweep_partitions(store, orders, now, deadline, &mut report).await;
    // Without zeros. A sweep every ten minutes would make seven paid metrics of a stage that does nothing.
    for (kind, count) in report.counts().into_iter().filter(|(_, count)| *count > 0) {
        telemetry::emit_by(&metrics::RESERVATIONS_SWEPT, kind, count);
    }
    tracing::info!(report = serde_json::to_string(&report).unwrap_or_default(), "swept");
    let reason = match ended {
        Ok(true) if report.failed == 0 => return Ok(report),
        Ok(true) => format!("{} reservations could not be settled", report.failed),
        Ok(false) => "there was no time to check everything".to_owned(),
        Err(error) => error_chain(&error),
    };
    tracing::error!(reason, "the sweep is not complete; the next one continues");
    Err(Diagnostic { error_type: "SweepIncomplete".to_owned(), error_message: reason })
}

/// Returns whether there was time for all of them.
async fn sweep_partitions(
    store: &Store,
    orders: &OrdersClient,
    now: Timestamp,
    deadline: SystemTime,
    report: &mut SweepReport,
) -> Result<bool, SweepError> {
    let partitions = store.held_partitions();
    // Begins at another partition each minute, so that failures in one of them do not delay the others for
    // ever.
    let first = usize::try_from(now.as_second() / 60).unwrap_or_default() % partitions.len();
    for partition in partitions.iter().cycle().skip(first).take(partitions.len()) {
        let mut start = None;
        loop {
            if deadline.duration_since(SystemTime::now()).unwrap_or_default() < PAGE_TIME {
                return Ok(false);
            }
            let limit = i32::try_from(ORDER_STATUSES_MAX).unwrap_or(i32::MAX);
            let page = store.held_since_before(partition, now - GRACE, start, limit).await?;
            end_page(store, orders, page.held, now, report).await?;
            start = page.next;
            if start.is_none() {
                break;
            }
        }
    }
    Ok(true)
}

async fn end_page(
    store: &Store,
    orders: &OrdersClient,
    held: Vec<Held>,
    now: Timestamp,
    report: &mut SweepReport,
) -> Result<(), SweepError> {
    if held.is_empty() {
        return Ok(());
    }
    // Without an answer the sweep ends: none of the later pages could be settled either.
    let standings = orders.statuses(held.iter().map(|held| held.order_id.clone()).collect()).await?;
    let settled = stream::iter(held)
        .map(|held| end_one(store, standings.get(&held.order_id).copied(), held, now))
        .buffer_unordered(CONCURRENCY);
    settled.collect::<Vec<SweepOutcome>>().await.into_iter().for_each(|outcome| report.count(outcome));
    Ok(())
}

/// Ends one reservation by the status of its order.
// An order that completed or was cancelled stays so. So acting on its status is right at any later time.
async fn end_one(store: &Store, status: Option<OrderStatus>, held: Held, now: Timestamp) -> SweepOutcome {
    let since = held.since;
    let (command, outcome) = match status {
        Some(OrderStatus::OrderCompleted) => (Command::Commit, SweepOutcome::Committed),
        Some(OrderStatus::OrderCancelled) => (Command::Release, SweepOutcome::Released),
        // Its goods may have been shipped. A person resolves the order, and a later sweep finds its end.
        Some(OrderStatus::NeedsAttention) => return SweepOutcome::Attention,
        Some(_) if now.duration_since(since) <= STUCK => return SweepOutcome::Open,
        // The saga reserves only for existing orders, and orders are never deleted. Returning the stock would
        // hide whatever is wrong here.
        None | Some(_) => {
            tracing::error!(order_id = %held.order_id, status = status.map(OrderStatus::as_str), %since, "stock is stuck");
            return SweepOutcome::Stuck;
        }
    };
    match end_held(store, &held, command, now).await {
        Ok(true) => outcome,
        Ok(false) => SweepOutcome::AlreadyEnded,
        Err(error) => {
            tracing::error!(order_id = %held.order_id, error = error_chain(&error), "a reservation could not be settled");
            SweepOutcome::Failed
        }
    }
}

/// Returns whether the stock was still held.
async fn end_held(
    store: &Store,
    held: &Held,
    command: Command,
    now: Timestamp,
) -> Result<bool, ReservationError> {
    let Some(reservation) = store.reservation(&held.order_id).await? else { return Ok(false) };
    // The index is behind the table, so the saga or the event may have ended it already.
    if reservation.status != Status::Held {
        return Ok(false);
    }
    let context = EventContext {
        order_id: reservation.order_id,
        user_id: reservation.user_id,
        correlation_id: reservation.correlation_id,
        causation_id: format!("{}.Sweep", held.order_id),
        at: now,
    };
    end_reservation(store, command, &context).await?;
    Ok(true)
}

impl SweepReport {
    fn count(&mut self, outcome: SweepOutcome) {
        *match outcome {
            SweepOutcome::Committed => &mut self.committed,
            SweepOutcome::Released => &mut self.released,
            SweepOutcome::AlreadyEnded => &mut self.settled,
            SweepOutcome::Open => &mut self.open,
            SweepOutcome::Attention => &mut self.attention,
            SweepOutcome::Stuck => &mut self.stuck,
            SweepOutcome::Failed => &mut self.failed,
        } += 1;
    }

    fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("committed", self.committed),
            ("released", self.released),
            ("settled", self.settled),
            ("open", self.open),
            ("attention", self.attention),
            ("stuck", self.stuck),
            ("failed", self.failed),
        ]
    }
}

#[cfg(test)]
mod tests;
