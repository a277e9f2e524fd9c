//! The numbers of shards that this process has read, so that an order can choose a shard without a read.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use contracts::Sku;
use jiff::{SignedDuration, Timestamp};

/// The time after which a shard count is read again.
// A count that is too low does no harm, since shards are only ever added: it leaves the new ones idle. A SKU
// that was spread because it was throttled should use them soon.
const FRESH: SignedDuration = SignedDuration::from_secs(60);

/// Only SKUs with several shards are kept, which are the few hot ones.
#[derive(Debug, Clone, Default)]
pub struct Spread(Arc<Mutex<HashMap<Sku, KnownShards>>>);

#[derive(Debug, Clone, Copy)]
struct KnownShards {
    shards: u32,
    read_at: Timestamp,
}

impl Spread {
    pub fn record(&self, sku: &Sku, shards: u32, at: Timestamp) {
        if shards > 1 {
            self.with(|known| known.insert(sku.clone(), KnownShards { shards, read_at: at }));
        }
    }

    /// One, unless more was learned.
    pub fn shards(&self, sku: &Sku) -> u32 {
        self.with(|known| known.get(sku).map_or(1, |known| known.shards))
    }

    /// Whether the SKU is known to have several shards, and that was read too long ago.
    pub fn is_stale(&self, sku: &Sku, now: Timestamp) -> bool {
        self.with(|known| known.get(sku).is_some_and(|known| now.duration_since(known.read_at) > FRESH))
    }

    fn with<R>(&self, f: impl FnOnce(&mut HashMap<Sku, KnownShards>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spread_skus_are_remembered_and_looked_up_again_after_a_minute() {
        let (spread, mug, cup) =
            (Spread::default(), Sku::try_from("MUG").unwrap(), Sku::try_from("CUP").unwrap());
        spread.record(&mug, 4, Timestamp::UNIX_EPOCH);
        spread.record(&cup, 1, Timestamp::UNIX_EPOCH);
        assert_eq!((spread.shards(&mug), spread.shards(&cup)), (4, 1));
        let after = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!([60, 61].map(|seconds| spread.is_stale(&mug, after(seconds))), [false, true]);
        assert!(!spread.is_stale(&cup, after(1000)));
    }
}
