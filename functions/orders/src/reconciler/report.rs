//! The report of one run, for metrics and for the person who started it.

use contracts::{OrderId, metrics};
use lambda_kit::telemetry;
use serde::Serialize;

/// The most orders that a report names; the others are only counted.
// A function's response is limited to 6 MB, and no person reads more.
const NAMED: usize = 200;

/// The outcome for an open order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconcileOutcome {
    /// Its execution works on it: left alone.
    Running,
    /// It had ended, but was still in the index.
    Ended,
    /// Its saga had never started. It was started now.
    Started,
    /// Its saga was lost after the order had completed.
    Completed,
    /// Its saga was lost: everything was undone.
    Cancelled,
    /// Its saga was lost, and an undo has failed for hours: raised to a person.
    NeedsAttention,
    /// Its saga was lost, and an undo failed: the next run tries again.
    UndoFailed,
    /// It could not be checked; the next run tries again.
    Failed,
    /// There was no time to inspect it.
    #[serde(rename = "not_looked_at")]
    Skipped,
}

/// One run's findings.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReconciliationReport {
    /// Open orders that were placed long ago.
    pub overdue: usize,
    pub running: usize,
    pub ended: usize,
    pub started: usize,
    pub completed: usize,
    pub cancelled: usize,
    pub needs_attention: usize,
    pub undo_failed: usize,
    pub failed: usize,
    #[serde(rename = "not_looked_at")]
    pub skipped: usize,
    /// Cancelled orders whose money was checked.
    pub money_checked: usize,
    pub refunded: usize,
    pub refund_failed: usize,
    /// All orders that need attention.
    pub in_attention: usize,
    pub orders: Vec<Named>,
}

/// An order for which something was done, or could not be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    pub order_id: OrderId,
    pub found: &'static str,
}

impl ReconcileOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::NeedsAttention => "needs_attention",
            Self::UndoFailed => "undo_failed",
            Self::Failed => "failed",
            Self::Skipped => "not_looked_at",
        }
    }
}

impl ReconciliationReport {
    pub fn open(&mut self, order_id: &OrderId, outcome: ReconcileOutcome) {
        self.overdue += 1;
        *match outcome {
            ReconcileOutcome::Running => &mut self.running,
            ReconcileOutcome::Ended => &mut self.ended,
            ReconcileOutcome::Started => &mut self.started,
            ReconcileOutcome::Completed => &mut self.completed,
            ReconcileOutcome::Cancelled => &mut self.cancelled,
            ReconcileOutcome::NeedsAttention => &mut self.needs_attention,
            ReconcileOutcome::UndoFailed => &mut self.undo_failed,
            ReconcileOutcome::Failed => &mut self.failed,
            ReconcileOutcome::Skipped => &mut self.skipped,
        } += 1;
        if outcome != ReconcileOutcome::Running {
            self.name(order_id, outcome.as_str());
        }
    }

    /// A cancelled order's payment was not at rest, and its undo was run again.
    pub fn refund(&mut self, order_id: &OrderId, done: bool) {
        *if done { &mut self.refunded } else { &mut self.refund_failed } += 1;
        self.name(order_id, if done { "refunded" } else { "refund_failed" });
    }

    fn name(&mut self, order_id: &OrderId, outcome: &'static str) {
        if self.orders.len() < NAMED {
            self.orders.push(Named { order_id: order_id.clone(), found: outcome });
        }
    }

    /// Records the metrics of the run.
    pub fn record(&self) {
        // Five sums and not one metric for each count: CloudWatch charges for each metric. The alarms in
        // infra/orders.yaml know these names.
        let resolved = self.started + self.completed + self.cancelled + self.refunded;
        let unresolved = self.undo_failed + self.failed + self.skipped + self.refund_failed;
        for (kind, number) in [
            ("overdue", self.overdue),
            ("resolved", resolved),
            ("unresolved", unresolved),
            ("money_not_back", self.refunded + self.refund_failed),
            ("in_attention", self.in_attention),
        ] {
            // Without zeros. A run every ten minutes would make five paid metrics of a stage that does nothing.
            if number > 0 {
                let number = u64::try_from(number).unwrap_or(u64::MAX);
                telemetry::emit_by(&metrics::ORDERS_RECONCILED, kind, number);
            }
        }
    }
}
