//! The products that are most often bought together with a product, with counts.

use std::collections::BTreeMap;

use contracts::Sku;
use serde::{Deserialize, Serialize};

/// Companions to count. 50 of them keep the item at 1 KB with SKUs of common length, and at 4 KB with the
/// longest. Ten are shown.
const KEPT: usize = 50;

/// The companions of one product, with the number of orders that had both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together {
    counts: BTreeMap<Sku, u64>,
    /// Counts the orders.
    pub version: u64,
}

impl Together {
    /// Counts one more order of the product together with `others`.
    ///
    /// When all places are taken, the new companion replaces the one with the lowest count and continues from
    /// that count (the Space-Saving algorithm; Metwally, Agrawal, El Abbadi 2005). Every companion in more
    /// than one of `KEPT` pairs is kept, and its count is too high by at most the lowest count.
    pub fn bought_with<'a>(&mut self, others: impl IntoIterator<Item = &'a Sku>) {
        self.version += 1;
        for other in others {
            if let Some(count) = self.counts.get_mut(other) {
                *count += 1;
                continue;
            }
            let least = self.counts.iter().min_by_key(|(_, count)| **count);
            let before = match least.map(|(sku, count)| (sku.clone(), *count)) {
                Some((sku, count)) if self.counts.len() >= KEPT => {
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
        let mut together = Together::default();
        together.bought_with(&[sku(2), sku(1)]);
        together.bought_with(&[sku(3)]);
        together.bought_with(&[sku(3), sku(2)]);
        assert_eq!(together.most_frequent(2), [sku(2), sku(3)]);
        assert_eq!(together.most_frequent(9), [sku(2), sku(3), sku(1)]);
        assert_eq!(together.version, 3);
    }

    #[test]
    fn a_frequent_companion_stays_whoever_comes_and_goes() {
        let mut together = Together::default();
        for n in 0..2_000 {
            // One order in ten has the same companion; the companions of the others are never bought again.
            together.bought_with(&[if n % 10 == 0 { sku("BEST") } else { sku(n) }]);
            assert!(together.counts.len() <= KEPT);
        }
        assert_eq!(together.most_frequent(1), [sku("BEST")]);
    }
}
