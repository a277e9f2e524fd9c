//! When the rules apply: a stage that works has orders under way, whose stores differ for a moment.

use contracts::saga::LONGEST_WAY_FORWARD_SECONDS;
use jiff::{SignedDuration, Timestamp};

/// The longest time from an order to its end. Behind the longest way forward, undos are tried for up to 8 hours
/// (statemachine/README.md, "Retries and timeouts").
pub const ORDER_DEADLINE: SignedDuration =
    SignedDuration::from_secs(LONGEST_WAY_FORWARD_SECONDS as i64 + 8 * 3_600);
/// The time after which all contexts have handled an event.
// Queues are tried again for some minutes (infra/README.md); without failures it is a second.
pub const SETTLE: SignedDuration = SignedDuration::from_mins(10);

/// Notifications ignores older events.
const LETTERS: SignedDuration = SignedDuration::from_hours(60 * 24);

/// Which time the stores were read at, and how much of it counts as under way.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// When reading began.
    pub read_from: Timestamp,
    /// What an event changes elsewhere is compared only when the event is older than this.
    pub settle: SignedDuration,
    /// An order that is open for longer is a violation.
    pub deadline: SignedDuration,
    /// Orders that ended before are not looked for in the records of messages, which are deleted after 90 days.
    pub letters_since: Timestamp,
    /// Only orders that were placed since then are checked. Stock is always checked as a whole.
    pub since: Option<Timestamp>,
    /// Orders that may have a reservation, a payment or a shipment although they were never placed.
    pub never_placed: &'static [&'static str],
}

impl Policy {
    /// For a stage that works.
    pub fn live(read_from: Timestamp) -> Self {
        Self {
            read_from,
            settle: SETTLE,
            deadline: ORDER_DEADLINE,
            letters_since: read_from.saturating_sub(LETTERS).unwrap_or(Timestamp::MIN),
            since: None,
            never_placed: &[],
        }
    }

    /// For a stage in which nothing is under way any more: every order must have ended, everywhere.
    pub const fn at_rest() -> Self {
        Self {
            read_from: Timestamp::MAX,
            settle: SignedDuration::ZERO,
            deadline: SignedDuration::ZERO,
            letters_since: Timestamp::MIN,
            since: None,
            never_placed: &[],
        }
    }

    /// Whether what happened at that time has reached every context.
    pub(crate) fn is_settled(&self, at: Timestamp) -> bool {
        at.saturating_add(self.settle).is_ok_and(|settled| settled <= self.read_from)
    }

    pub(crate) fn is_overdue(&self, placed: Timestamp) -> bool {
        placed.saturating_add(self.deadline).is_ok_and(|deadline| deadline <= self.read_from)
    }

    /// Whether an order that was placed then is checked.
    pub(crate) fn covers(&self, placed: Timestamp) -> bool {
        self.since.is_none_or(|since| placed >= since)
    }
}
