//! The report of one run, for metrics and for the person who started it.

use contracts::OrderId;
use lambda_kit::telemetry;
use serde::Serialize;

/// Orders named in a report; the others are only counted. A function's response is limited to 6 MB, and no
/// person reads more.
const NAMED: usize = 200;

/// The finding about an open order, and the action taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
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
    /// The time was over.
    NotLookedAt,
}

/// One run's findings.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
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
    pub not_looked_at: usize,
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

impl Found {
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
            Self::NotLookedAt => "not_looked_at",
        }
    }
}

impl Report {
    pub fn open(&mut self, order_id: &OrderId, found: Found) {
        self.overdue += 1;
        *match found {
            Found::Running => &mut self.running,
            Found::Ended => &mut self.ended,
            Found::Started => &mut self.started,
            Found::Completed => &mut self.completed,
            Found::Cancelled => &mut self.cancelled,
            Found::NeedsAttention => &mut self.needs_attention,
            Found::UndoFailed => &mut self.undo_failed,
            Found::Failed => &mut self.failed,
            Found::NotLookedAt => &mut self.not_looked_at,
        } += 1;
        if found != Found::Running {
            self.name(order_id, found.as_str());
        }
    }

    /// A cancelled order's payment was not at rest, and its undo was run again.
    pub fn refund(&mut self, order_id: &OrderId, done: bool) {
        *if done { &mut self.refunded } else { &mut self.refund_failed } += 1;
        self.name(order_id, if done { "refunded" } else { "refund_failed" });
    }

    fn name(&mut self, order_id: &OrderId, found: &'static str) {
        if self.orders.len() < NAMED {
            self.orders.push(Named { order_id: order_id.clone(), found });
        }
    }

    /// Five metrics: CloudWatch charges for each.
    pub fn record(&self) {
        let mended = self.started + self.completed + self.cancelled + self.refunded;
        let unmended = self.undo_failed + self.failed + self.not_looked_at + self.refund_failed;
        for (kind, number) in [
            ("overdue", self.overdue),
            ("mended", mended),
            ("unmended", unmended),
            ("money_not_back", self.refunded + self.refund_failed),
            ("in_attention", self.in_attention),
        ] {
            telemetry::found("CheckSagas", kind, u64::try_from(number).unwrap_or(u64::MAX));
        }
    }
}
