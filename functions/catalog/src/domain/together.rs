//! What is bought together with a product: how often, for those that are bought with it most.

use std::collections::BTreeMap;

use contracts::Sku;
use serde::{Deserialize, Serialize};

/// So many companions are counted. It keeps the item at 1 KB with SKUs of common length, 4 KB with the longest; ten are
/// shown.
const KEPT: usize = 50;

/// The companions of one product, with how often each was in an order with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together {
    counts: BTreeMap<Sku, u64>,
    /// Counts the orders.
    pub version: u64,
}

impl Together {
    /// The product was bought once more, with these.
    ///
    /// When there is no room, the companion that is counted least makes room, and the new one goes on from its count:
    /// whatever is in more than one of `KEPT` pairs is kept, and its count is too high by at most the least one (the
    /// algorithm Space-Saving; Metwally, Agrawal, El Abbadi 2005).
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
            // One order in ten is with the same companion, the others with one that nobody buys again.
            together.bought_with(&[if n % 10 == 0 { sku("BEST") } else { sku(n) }]);
            assert!(together.counts.len() <= KEPT);
        }
        assert_eq!(together.most_frequent(1), [sku("BEST")]);
    }
}
