//! Stock, as other contexts see it.

use serde::{Deserialize, Serialize};

/// The class of a SKU's stock, as customers see it: more than the SKU's threshold `low_stock`, at most the threshold, or
/// nothing.
#[expect(missing_docs, reason = "a comment on a variant would change the published schemas")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    InStock,
    LowStock,
    OutOfStock,
}

impl Availability {
    /// Classifies a quantity: out of stock at zero, low up to `low_stock`.
    pub const fn of(available: u64, low_stock: u64) -> Self {
        if available == 0 {
            Self::OutOfStock
        } else if available <= low_stock {
            Self::LowStock
        } else {
            Self::InStock
        }
    }

    /// The class to show while stock cannot be read: low at best.
    // What was sold since the last read is unknown.
    #[must_use]
    pub const fn limited(self) -> Self {
        match self {
            Self::InStock | Self::LowStock => Self::LowStock,
            Self::OutOfStock => Self::OutOfStock,
        }
    }

    /// The class as it is on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InStock => "in_stock",
            Self::LowStock => "low_stock",
            Self::OutOfStock => "out_of_stock",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_is_low_up_to_its_threshold_and_a_threshold_of_none_is_never_met() {
        let classes =
            |low_stock| [0, 1, 5, 6].map(|available| Availability::of(available, low_stock).as_str());
        assert_eq!(classes(5), ["out_of_stock", "low_stock", "low_stock", "in_stock"]);
        assert_eq!(classes(0), ["out_of_stock", "in_stock", "in_stock", "in_stock"]);
    }

    #[test]
    fn what_cannot_be_read_is_low_at_best() {
        let all = [Availability::InStock, Availability::LowStock, Availability::OutOfStock];
        assert_eq!(all.map(|one| one.limited().as_str()), ["low_stock", "low_stock", "out_of_stock"]);
    }

    #[test]
    fn the_words_are_those_of_the_wire() {
        for availability in [Availability::InStock, Availability::LowStock, Availability::OutOfStock] {
            assert_eq!(serde_json::to_value(availability).unwrap(), availability.as_str());
        }
    }
}
