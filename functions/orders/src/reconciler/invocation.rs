//! The time of one invocation.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use lambda_runtime::Context;

/// Longer than a command function's 30 s, like the saga's tasks, so that a late success is not taken for a
/// failure.
pub const LONGEST_CALL: Duration = Duration::from_secs(35);
/// The undos of one order, one after the other, and the writes around them.
pub const TIME_TO_UNDO: Duration = Duration::from_secs(3 * LONGEST_CALL.as_secs() + 15);

/// One invocation: when it began, and when it has to have ended.
#[derive(Debug, Clone, Copy)]
pub struct Invocation {
    pub now: Timestamp,
    pub ends: Instant,
}

impl Invocation {
    pub fn of(context: &Context) -> Self {
        let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        Self { now: Timestamp::now(), ends: Instant::now() + left }
    }

    /// Whether there is time to undo another order.
    pub fn has_time_to_undo(self) -> bool {
        self.ends.saturating_duration_since(Instant::now()) >= TIME_TO_UNDO
    }
}
