//! The SKUs that this process has just seen to be sold out. A rush for such a SKU then costs one write an order, and not a
//! failed transaction and a read of every shard.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use contracts::Sku;
use jiff::{SignedDuration, Timestamp};

/// For how long it is remembered.
// An order takes longer from its placement to its reservation (stream, relay and saga). So an order that was
// placed after stock was added is not rejected for what was seen before.
const FRESH: SignedDuration = SignedDuration::from_millis(250);

#[derive(Debug, Clone, Default)]
pub struct SoldOut(Arc<Mutex<HashMap<Sku, Seen>>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// There was less than this.
    wanted: u32,
    at: Timestamp,
}

impl SoldOut {
    /// Remembers that all shards together had less than `wanted`.
    pub fn record(&self, sku: &Sku, wanted: u32, at: Timestamp) {
        self.with(|seen| {
            // Forgets what is too old, so that the map stays small.
            seen.retain(|_, seen| seen.is_fresh(at));
            seen.insert(sku.clone(), Seen { wanted, at });
        });
    }

    /// Whether there was less than `wanted` a moment ago.
    pub fn covers(&self, sku: &Sku, wanted: u32, now: Timestamp) -> bool {
        self.with(|seen| seen.get(sku).is_some_and(|seen| seen.is_fresh(now) && wanted >= seen.wanted))
    }

    fn with<R>(&self, f: impl FnOnce(&mut HashMap<Sku, Seen>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Seen {
    /// A clock that was set back ends it, too.
    fn is_fresh(&self, now: Timestamp) -> bool {
        (SignedDuration::ZERO..FRESH).contains(&now.duration_since(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_counts_for_as_much_or_more_and_for_a_moment() {
        let (sold_out, mug) = (SoldOut::default(), Sku::try_from("MUG").unwrap());
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        sold_out.record(&mug, 3, at(1000));
        assert_eq!([2, 3, 4].map(|wanted| sold_out.covers(&mug, wanted, at(1000))), [false, true, true]);
        assert_eq!([1249, 1250, 999].map(|ms| sold_out.covers(&mug, 3, at(ms))), [true, false, false]);
        assert!(!sold_out.covers(&Sku::try_from("CUP").unwrap(), 3, at(1000)));
    }
}
