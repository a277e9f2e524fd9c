//! The stock of a SKU: its settings, spread over shards, summed up and classed.

use std::ops::RangeInclusive;

use contracts::{Availability, OrderId, Sku};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What one shard has left to sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    pub shard: u32,
    pub available: u32,
}

/// What an administrator says of a SKU as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub sku: Sku,
    /// Over so many shards the stock is spread. Never fewer than before: whoever knows an older number knows shards
    /// that still exist.
    pub shards: u32,
    /// The most of it that is called low.
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

/// The shard items of a SKU that is spread over `shards`. One shard is item 0. More are the items from 1 on, and
/// item 0 stays behind for what comes back to it: so whoever does not know that a SKU is spread tries item 0, finds
/// nothing to take, and learns it, instead of taking everything from the first of many.
pub fn shard_items(shards: u32) -> RangeInclusive<u32> {
    if shards == 1 { 0..=0 } else { 0..=shards }
}

/// The items that stock is put into.
pub fn filled_items(shards: u32) -> RangeInclusive<u32> {
    if shards == 1 { 0..=0 } else { 1..=shards }
}

/// The item that an order takes from first: another one for each order, so that load spreads, and for each attempt,
/// so that nobody waits for the shard that everybody waits for.
pub fn first_item(shards: u32, order: &OrderId, attempt: u32) -> u32 {
    if shards == 1 { 0 } else { 1 + seed(order).wrapping_add(attempt) % shards }
}

/// A number that differs from order to order: the last digits of the id, which are those of a hash.
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
