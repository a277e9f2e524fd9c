//! The stock of a SKU: its settings, its shards, their sum and its availability.

use std::ops::RangeInclusive;

use contracts::{Availability, OrderId, Sku};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The available quantity of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    pub shard: u32,
    pub available: u32,
}

/// The settings of a SKU, which an administrator makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub sku: Sku,
    /// The number of shards that the stock is spread over. It never decreases.
    // A process may still use an older and smaller number, and all its shards must exist.
    pub shards: u32,
    /// Stock up to this quantity is low.
    pub low_stock: u32,
    /// Counts the settings, from 1.
    pub version: u64,
    pub updated_at: Timestamp,
}

/// A SKU's stock, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stock {
    pub settings: Settings,
    pub shards: Vec<Shard>,
}

impl Stock {
    pub fn available(&self) -> u64 {
        self.shards.iter().map(|shard| u64::from(shard.available)).sum()
    }

    pub fn availability(&self) -> Availability {
        Availability::of(self.available(), u64::from(self.settings.low_stock))
    }
}

/// The shard items of a SKU that is spread over `shards`. A single shard is item 0. Several shards are the
/// items from 1 on, and item 0 remains for stock that is returned to it.
// A process that does not know yet that a SKU is spread tries item 0, finds it empty and reads the settings.
// If item 0 were one of the shards, it would take everything from that one.
pub fn shard_items(shards: u32) -> RangeInclusive<u32> {
    if shards == 1 { 0..=0 } else { 0..=shards }
}

/// The items that stock is put into.
pub fn filled_items(shards: u32) -> RangeInclusive<u32> {
    if shards == 1 { 0..=0 } else { 1..=shards }
}

/// The item that an order takes from first.
// It differs between orders, so that the load spreads. It differs between attempts, so that an order does not
// keep trying a busy shard.
pub fn first_item(shards: u32, order: &OrderId, attempt: u32) -> u32 {
    if shards == 1 { 0 } else { 1 + seed(order).wrapping_add(attempt) % shards }
}

/// A number that differs between orders: the last digits of the id, which is a hash.
pub fn seed(order: &OrderId) -> u32 {
    let digits = order.as_str().get(28..).unwrap_or_default();
    u32::from_str_radix(digits, 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: u128) -> OrderId {
        OrderId::try_from(format!("ord_{n:032x}")).unwrap()
    }

    #[test]
    fn a_spread_sku_keeps_its_first_item_and_puts_nothing_into_it() {
        assert_eq!((shard_items(1), filled_items(1)), (0..=0, 0..=0));
        assert_eq!((shard_items(4), filled_items(4)), (0..=4, 1..=4));
    }

    #[test]
    fn orders_begin_at_different_shards_and_go_on_to_others() {
        assert_eq!([1, 2, 3].map(|n| first_item(1, &order(n), 7)), [0; 3]);
        assert_eq!([1, 2, 3].map(|n| first_item(4, &order(n), 0)), [2, 3, 4]);
        assert_eq!([0, 1, 2, 3].map(|attempt| first_item(4, &order(3), attempt)), [4, 1, 2, 3]);
        assert_eq!(first_item(4, &order(u128::MAX), 1), 1, "nothing overflows");
    }
}
