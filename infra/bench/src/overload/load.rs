//! What is offered, and what became of it.

use std::time::Duration;

/// A load in two parts: for each, this many pieces of work a second, for this long.
#[derive(Debug, Clone)]
pub struct Load {
    /// The limit's rate a second.
    pub limit: u32,
    parts: [(u32, Duration); 2],
}

/// When work was offered and when it was done, since the beginning.
#[derive(Debug, Default)]
pub struct Measured {
    pub offered: Vec<Duration>,
    pub done: Vec<Duration>,
    /// Calls that the limit refused, and work that was given up.
    pub throttled: usize,
    pub lost: usize,
}

impl Load {
    pub fn new(limit: u32, seconds: u32) -> Self {
        let time = Duration::from_secs(u64::from(seconds));
        // Less than the limit, and never nothing.
        Self { limit, parts: [(2 * limit, time), (limit.div_ceil(2), time)] }
    }

    /// When each piece is offered.
    pub fn times(&self) -> Vec<Duration> {
        let mut times = Vec::new();
        let mut began = Duration::ZERO;
        for (per_second, time) in self.parts {
            let gap = Duration::from_secs(1) / per_second;
            let pieces = u32::try_from(time.as_secs()).unwrap_or(u32::MAX).saturating_mul(per_second);
            times.extend((0..pieces).map(|n| began + gap * n));
            began += time;
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_limit_is_offered_and_then_half_of_it() {
        let times = Load::new(4, 2).times();
        assert_eq!(times.len(), 16 + 4);
        assert!(times.is_sorted());
        assert_eq!((times[1], times[17]), (Duration::from_millis(125), Duration::from_millis(2500)));
    }
}
