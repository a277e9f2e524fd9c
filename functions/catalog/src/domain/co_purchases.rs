//! The co-purchases of a product: the products that are most often bought together with it, with counts.

use std::collections::BTreeMap;

use contracts::Sku;
use serde::{Deserialize, Serialize};

/// Companions to count for each product.
// 50 of them keep the item at 1 KB with SKUs of common length, and at 4 KB with the longest. Ten are shown.
const MAX_COMPANIONS: usize = 50;

/// The companions of one product, with the number of orders that had both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoPurchases {
    counts: BTreeMap<Sku, u64>,
    /// Counts the orders.
    pub version: u64,
}

impl CoPurchases {
    /// Counts one more order of the product together with `others`.
    ///
    /// When `MAX_COMPANIONS` are counted, the new companion replaces the one with the lowest count and continues from
    /// that count (the Space-Saving algorithm; Metwally, Agrawal, El Abbadi 2005). Every companion in more
    /// than one of `MAX_COMPANIONS` pairs is kept, and its count is too high by at most the lowest count.
    pub fn record_order<'a>(&mut self, others: impl IntoIterator<Item = &'a Sku>) {
        self.version += 1;
        for other in others {
            if let Some(count) = self.counts.get_mut(other) {
                *count += 1;
                continue;
            }
            let least = self.counts.iter().min_by_key(|(_, count)| **count);
            let before = match least.map(|(sku, count)| (sku.clone(), *count)) {
                Some((sku, count)) if self.counts.len() >= MAX_COMPANIONS => {
                    self.counts.remove(&sku);
                    count
                }
                _ => 0,
            };
            self.counts.insert(other.clone(), before + 1);
        }
    }

    /// The companions, most frequent first.
    pub fn most_frequent(&self, wanted: usize) -> Vec<Sku> {
        let mut companions: Vec<(&Sku, &u64)> = self.counts.iter().collect();
        companions.sort_by_key(|(sku, count)| (std::cmp::Reverse(**count), *sku));
        companions.into_iter().take(wanted).map(|(sku, _)| sku.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sku(name: impl std::fmt::Display) -> Sku {
        Sku::try_from(format!("S{name}")).unwrap()
    }

    #[test]
    fn the_most_frequent_companion_comes_first() {
        let mut co_purchases = CoPurchases::default();
        co_purchases.record_order(&[sku(2), sku(1)]);
        co_purchases.record_order(&[sku(3)]);
        co_purchases.record_order(&[sku(3), sku(2)]);
        assert_eq!(co_purchases.most_frequent(2), [sku(2), sku(3)]);
        assert_eq!(co_purchases.most_frequent(9), [sku(2), sku(3), sku(1)]);
        assert_eq!(co_purchases.version, 3);
    }

    #[test]
    fn a_new_companion_replaces_the_rarest_one_and_continues_from_its_count() {
        let mut co_purchases = CoPurchases::default();
        for n in 0..MAX_COMPANIONS {
            co_purchases.record_order(&[sku(n)]);
        }
        co_purchases.record_order(&[sku("NEW")]);
        assert_eq!((co_purchases.counts[&sku("NEW")], co_purchases.counts.len()), (2, MAX_COMPANIONS));
    }

    #[test]
    fn a_frequent_companion_stays_among_many_rare_ones() {
        let mut co_purchases = CoPurchases::default();
        for n in 0..2_000 {
            // One order in ten has the same companion; the companions of the others are never bought again.
            co_purchases.record_order(&[if n % 10 == 0 { sku("BEST") } else { sku(n) }]);
            assert!(co_purchases.counts.len() <= MAX_COMPANIONS);
        }
        assert_eq!(co_purchases.most_frequent(1), [sku("BEST")]);
    }
}
