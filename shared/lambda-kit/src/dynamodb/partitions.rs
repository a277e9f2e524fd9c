//! Spreads items over partitions of a table or an index where a single one would exceed the limit of 1,000
//! writes a second (DynamoDB Developer Guide, "Service, account, and table quotas").

use std::str::FromStr;

/// A number of partitions, from 1 to 64. It only grows: readers read all partitions from 0 to the last, so
/// that they find items that were written under a smaller number, and the next write of an item moves it to
/// its current partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitions(u8);

/// The text is not a number of partitions.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be a number from 1 to {MAX}", MAX = Partitions::MAX)]
pub struct InvalidPartitions;

impl Partitions {
    /// The largest number.
    // 64,000 writes a second are more than a table's default limit of 40,000; and every list reads all
    // partitions.
    pub const MAX: u8 = 64;

    /// # Panics
    /// When it is not from 1 to 64. For constants: settings are parsed.
    pub const fn new(count: u8) -> Self {
        assert!(1 <= count && count <= Self::MAX, "a number of partitions from 1 to 64");
        Self(count)
    }

    /// How many there are.
    pub const fn count(self) -> usize {
        self.0 as usize
    }

    /// Their numbers, from 0.
    pub fn all(self) -> impl ExactSizeIterator<Item = u16> + Clone {
        0..u16::from(self.0)
    }

    /// The partition of an item, from four hexadecimal digits that are as good as random.
    // Nothing else may decide, because a rewrite of the item knows nothing else about it.
    pub fn of(self, digits: &str) -> u16 {
        u16::from_str_radix(digits, 16).unwrap_or_default() % u16::from(self.0)
    }
}

impl FromStr for Partitions {
    type Err = InvalidPartitions;

    fn from_str(text: &str) -> Result<Self, InvalidPartitions> {
        let count = text.parse().ok().filter(|count| (1..=Self::MAX).contains(count));
        count.map(Self).ok_or(InvalidPartitions)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_setting_is_from_1_to_64() {
        assert_eq!(["1", "64"].map(str::parse), [Ok(Partitions(1)), Ok(Partitions(64))]);
        for text in ["0", "65", "-1", "8.0", "", "many"] {
            assert_eq!(text.parse::<Partitions>(), Err(InvalidPartitions), "{text}");
        }
    }

    #[test]
    fn items_are_spread_evenly() {
        for count in [1, 3, 8, 16, 48, 64] {
            let partitions = Partitions::new(count);
            let mut items = vec![0_u32; partitions.count()];
            for hash in 0..=u16::MAX {
                items[usize::from(partitions.of(&format!("{hash:04x}")))] += 1;
            }
            let (least, most) = (items.iter().min().unwrap(), items.iter().max().unwrap());
            assert!(most - least <= 1, "{count}: {items:?}");
        }
    }

    proptest! {
        #[test]
        fn after_growth_every_earlier_partition_is_still_read(hash: u16, before in 1..=64_u8, more in 0..64_u8) {
            let after = Partitions::new((before + more).min(Partitions::MAX));
            let written = Partitions::new(before).of(&format!("{hash:04x}"));
            prop_assert!(after.all().any(|partition| partition == written));
        }
    }
}
