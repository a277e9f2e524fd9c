//! The keys and the partitions of the index `held`.

use contracts::OrderId;
use lambda_kit::{
    config::{self, ConfigError},
    dynamodb::Partitions,
};

pub const HELD_INDEX: &str = "held";
/// The index's partition key: the name of a partition. Only held items have it.
pub(super) const HELD: &str = "held";

/// The number of the index's partitions: a setting that only grows. A single one would throttle the table
/// behind it.
#[derive(Debug, Clone, Copy)]
pub struct HeldPartitions(pub Partitions);

impl HeldPartitions {
    /// Reads `HELD_PARTITIONS`.
    ///
    /// # Errors
    /// When it is not from 1 to 64.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self(config::parsed_or("HELD_PARTITIONS", Self::default().0)?))
    }
}

impl Default for HeldPartitions {
    fn default() -> Self {
        // 16 take more than 16 shards bring.
        Self(Partitions::new(16))
    }
}

pub(super) fn partition_name(number: u16) -> String {
    format!("{number:x}")
}

/// The partition of an order, from the first digits of its id, which is a hash. Shards are chosen by its last
/// digits.
pub(super) fn partition(order: &OrderId, partitions: HeldPartitions) -> String {
    partition_name(partitions.0.of(order.as_str().get(4..8).unwrap_or_default()))
}
