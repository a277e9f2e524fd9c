//! The data that the customer enters at the checkout and that no event contains.

use contracts::ShippingAddress;
use serde::{Deserialize, Serialize};

/// The address and the payment method of an order. Stored outside the events, and erased when the order ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutDetails {
    pub shipping_address: ShippingAddress,
    pub payment_method: String,
}
