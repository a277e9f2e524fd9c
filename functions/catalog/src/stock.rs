//! The catalogue's copy of the stock, which inventory owns: the last class that inventory published for each
//! SKU.

use contracts::Availability;
use jiff::{SignedDuration, Timestamp};
use lambda_kit::limits::LAST_KNOWN;

use crate::inventory_health::InventoryHealth;

/// A copy that this process read within this time is served without reading the table again.
const FRESH: SignedDuration = SignedDuration::from_secs(5);
/// Up to this age, the copy is served as current while the table cannot be read. An older one is served with
/// `as_of`.
const STALE: SignedDuration = SignedDuration::from_secs(60);

/// The class of a SKU's stock with its version; version 0 before the first event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StockCopy {
    pub availability: Option<Availability>,
    pub version: u64,
    /// When inventory published it.
    pub published_at: Option<Timestamp>,
}

/// The stock of a SKU as customers see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    pub availability: Option<Availability>,
    pub version: u64,
    /// The time of a last known value; `None` for a current one.
    pub as_of: Option<Timestamp>,
}

impl Shown {
    pub fn as_str(self) -> &'static str {
        self.availability.map_or("unknown", Availability::as_str)
    }

    /// Whether it is a last known value.
    pub fn is_limited(&self) -> bool {
        self.as_of.is_some()
    }

    /// The stock as it was at this time, or before.
    pub fn earlier(self, at: Timestamp) -> Self {
        Self {
            // The class is `low_stock` at most: what was sold since then is unknown.
            availability: self.availability.map(Availability::limited),
            as_of: Some(self.as_of.map_or(at, |as_of| as_of.min(at))),
            ..self
        }
    }
}

/// A copy, and when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedStock {
    pub stock: StockCopy,
    pub at: Timestamp,
}

impl CachedStock {
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.age(now) <= FRESH
    }

    /// Whether the copy may be served as current while the table cannot be read.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.age(now) <= STALE
    }

    /// Whether the copy may still be served as last known.
    pub fn is_known(&self, now: Timestamp) -> bool {
        self.age(now).unsigned_abs() <= LAST_KNOWN
    }

    /// The stock to show; unknown when inventory has never published it.
    pub fn shown(&self, now: Timestamp, inventory: InventoryHealth) -> Shown {
        let StockCopy { availability, version, published_at } = self.stock;
        let shown = Shown { availability, version, as_of: None };
        if availability.is_none() || !self.is_known(now) {
            return Shown { availability: None, ..shown };
        }
        match inventory {
            InventoryHealth::Answers if self.is_usable(now) => shown,
            InventoryHealth::Answers => shown.earlier(self.at),
            // The copy was right as long as inventory answered, and when inventory published it.
            InventoryHealth::Away { answered_at } => match answered_at.max(published_at) {
                Some(at) => shown.earlier(at.min(self.at)),
                None => Shown { availability: None, ..shown },
            },
        }
    }

    fn age(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::at;

    #[test]
    fn what_was_read_is_fresh_for_five_seconds_and_usable_for_a_minute() {
        let read = CachedStock { stock: StockCopy::default(), at: Timestamp::UNIX_EPOCH };
        assert_eq!([5, 6].map(|second| read.is_fresh(at(second))), [true, false]);
        assert_eq!([60, 61].map(|second| read.is_usable(at(second))), [true, false]);
    }

    /// Inventory published "in stock" at second 10, and the copy was read at second 100.
    fn read() -> CachedStock {
        let stock =
            StockCopy { availability: Some(Availability::InStock), version: 1, published_at: Some(at(10)) };
        CachedStock { stock, at: at(100) }
    }

    #[test]
    fn a_stock_that_was_never_published_is_unknown() {
        let never = CachedStock { stock: StockCopy::default(), ..read() };
        for health in [InventoryHealth::Answers, InventoryHealth::Away { answered_at: Some(at(100)) }] {
            assert_eq!(never.shown(at(100), health), Shown::default());
        }
        assert_eq!(Shown::default().as_str(), "unknown");
    }

    #[rstest]
    #[case::now(100, InventoryHealth::Answers, "in_stock", None)]
    #[case::a_minute_later(160, InventoryHealth::Answers, "in_stock", None)]
    #[case::the_copy_cannot_be_read(161, InventoryHealth::Answers, "low_stock", Some(100))]
    #[case::for_half_an_hour(1900, InventoryHealth::Answers, "low_stock", Some(100))]
    #[case::and_no_longer(1901, InventoryHealth::Answers, "unknown", None)]
    #[case::inventory_is_away(100, InventoryHealth::Away { answered_at: Some(at(90)) }, "low_stock", Some(90))]
    #[case::since_this_instance_began(100, InventoryHealth::Away { answered_at: None }, "low_stock", Some(10))]
    #[case::both(200, InventoryHealth::Away { answered_at: Some(at(150)) }, "low_stock", Some(100))]
    fn stock_is_shown_as_current_or_as_last_known(
        #[case] now: i64,
        #[case] health: InventoryHealth,
        #[case] availability: &str,
        #[case] as_of: Option<i64>,
    ) {
        let shown = read().shown(at(now), health);
        assert_eq!((shown.as_str(), shown.as_of), (availability, as_of.map(at)));
    }

    #[test]
    fn what_is_sold_out_stays_sold_out() {
        let stock = StockCopy { availability: Some(Availability::OutOfStock), ..read().stock };
        let away = InventoryHealth::Away { answered_at: Some(at(90)) };
        assert_eq!(CachedStock { stock, ..read() }.shown(at(100), away).as_str(), "out_of_stock");
    }
}
