//! What the catalogue knows of stock, which is inventory's: a class per SKU, as it was last told.

use contracts::Availability;
use jiff::{SignedDuration, Timestamp};

/// What is known is used without asking for so long (DESIGN.md section 10: availability fresh 5 s).
const FRESH: SignedDuration = SignedDuration::from_secs(5);
/// And for so long when it cannot be asked for (stale 60 s).
const STALE: SignedDuration = SignedDuration::from_secs(60);

/// The class of a SKU's stock with its version; version 0 when nothing was told of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stock {
    pub availability: Option<Availability>,
    pub version: u64,
}

impl Stock {
    /// As customers are told.
    pub fn as_str(self) -> &'static str {
        self.availability.map_or("unknown", Availability::as_str)
    }
}

/// What was read, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    pub stock: Stock,
    pub at: Timestamp,
}

impl Read {
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.age(now) <= FRESH
    }

    /// Whether it may stand in for what cannot be read.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.age(now) <= STALE
    }

    fn age(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_fresh_for_five_seconds_and_usable_for_a_minute() {
        let read = Read { stock: Stock::default(), at: Timestamp::UNIX_EPOCH };
        let after = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!([5, 6].map(|seconds| read.is_fresh(after(seconds))), [true, false]);
        assert_eq!([60, 61].map(|seconds| read.is_usable(after(seconds))), [true, false]);
    }

    #[test]
    fn what_was_never_told_is_unknown() {
        assert_eq!(Stock::default().as_str(), "unknown");
        assert_eq!(Stock { availability: Some(Availability::LowStock), version: 1 }.as_str(), "low_stock");
    }
}
