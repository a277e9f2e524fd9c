//! What an order is made of, as other contexts see it.

use serde::{Deserialize, Serialize};

use crate::{Money, Sku};

/// A quantity of one SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderLine {
    /// The product that is ordered.
    pub sku: Sku,
    /// Pieces: 1 to 1,000.
    pub quantity: u32,
}

/// A line with the price that it was ordered at, and keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PricedLine {
    /// The product that was ordered.
    pub sku: Sku,
    /// Pieces: 1 to 1,000.
    pub quantity: u32,
    /// For one piece, when the order was placed.
    pub unit_price: Money,
}

impl PricedLine {
    /// The line without its price, as inventory and fulfillment need it.
    pub fn unpriced(&self) -> OrderLine {
        OrderLine { sku: self.sku.clone(), quantity: self.quantity }
    }
}

/// What a discount code took off an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderDiscount {
    /// As the code is written by those who gave it out.
    pub code: String,
    /// In the currency of the order.
    pub amount: Money,
}

/// Personal data: travels in the saga's input only, never in an event or a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShippingAddress {
    /// The person or company at the address. One line, at most 100 characters.
    pub name: String,
    /// Street and number, or what stands for them. One line, at most 100 characters.
    pub line1: String,
    /// Flat, floor, building. One line, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// One line, at most 100 characters.
    pub city: String,
    /// Empty for countries without postal codes; at most 16 characters.
    pub postal_code: String,
    /// ISO 3166-1 alpha-2, upper case.
    pub country: String,
}

impl std::fmt::Debug for ShippingAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The country alone does not identify a person.
        write!(f, "ShippingAddress {{ country: {}, .. }}", self.country)
    }
}
