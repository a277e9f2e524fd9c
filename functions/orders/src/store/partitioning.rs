//! Over how many partitions orders are spread.

use contracts::OrderId;
use lambda_kit::{
    config::{self, ConfigError},
    dynamodb::Partitions,
};

/// Settings that only grow.
#[derive(Debug, Clone, Copy)]
pub struct Partitioning {
    /// Of the index `watch`, for each reason to be in it.
    pub reconciliation: Partitions,
    /// Of the index `listed`, and of the sales sums.
    pub list: Partitions,
}

impl Partitioning {
    /// Reads `WATCH_PARTITIONS` and `LIST_PARTITIONS`.
    ///
    /// # Errors
    /// When one of them is not from 1 to 64.
    pub fn from_env() -> Result<Self, ConfigError> {
        let Self { reconciliation, list } = Self::default();
        Ok(Self {
            reconciliation: config::parsed_or("WATCH_PARTITIONS", reconciliation)?,
            list: config::parsed_or("LIST_PARTITIONS", list)?,
        })
    }
}

impl Default for Partitioning {
    fn default() -> Self {
        // 16,000 writes a second into the one index and 8,000 into the other: more than sagas can be started for.
        Self { reconciliation: Partitions::new(16), list: Partitions::new(8) }
    }
}

/// The last digits of an order's id, which is a hash.
pub(super) fn last_digits(order_id: &OrderId) -> &str {
    let id = order_id.as_str();
    &id[id.len() - 4..]
}

#[cfg(test)]
mod tests;
