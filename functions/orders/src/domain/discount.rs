//! Discount codes: what one takes off an order, and for whom.

use contracts::{ChargeRule, Currency, Money, NotChargeable, OrderDiscount};
use jiff::Timestamp;
use lambda_kit::text;
use serde::{Deserialize, Serialize};

/// The longest code.
// More than a person types in.
const CODE_MAX: usize = 40;

/// What customers type in: trimmed. Codes that differ in case only are the same code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct DiscountCode(String);

#[derive(Debug, thiserror::Error)]
#[error("must be 1 to {CODE_MAX} characters of A-Z, a-z, 0-9, '_' or '-'")]
pub struct InvalidCode;

impl DiscountCode {
    /// As it is compared.
    pub fn key(&self) -> String {
        self.0.to_ascii_uppercase()
    }
}

impl TryFrom<String> for DiscountCode {
    type Error = InvalidCode;

    fn try_from(code: String) -> Result<Self, InvalidCode> {
        let code = text::trimmed(&code);
        let is_code = (1..=CODE_MAX).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if is_code { Ok(Self(code.to_owned())) } else { Err(InvalidCode) }
    }
}

impl From<DiscountCode> for String {
    fn from(code: DiscountCode) -> Self {
        code.0
    }
}

impl std::fmt::Display for DiscountCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a code takes off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// A percentage of the order's sum, 1 to 100, rounded down to a chargeable amount.
    Percentage(u8),
    /// So much, and never more than the order's sum.
    Amount(Money),
}

/// What was said of a code when it was made, and never changes: it is ended, and another one made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Terms {
    pub code: DiscountCode,
    #[serde(flatten)]
    pub reduction: Reduction,
    /// Of the order's sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_total: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// It is no longer valid at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// How many orders may have it, cancelled ones not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_customer_limit: Option<u64>,
    pub created_at: Timestamp,
}

/// A code, and how many orders have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Discount {
    #[serde(flatten)]
    pub terms: Terms,
    pub used: u64,
}

/// A discount code with one customer's usage, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub discount: Discount,
    pub used_by_customer: u64,
    pub at: Timestamp,
}

/// Why a code is not taken. `Display` is read by the customer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscountError {
    #[error("is not known")]
    Unknown,
    #[error("is not valid yet")]
    TooEarly,
    #[error("is no longer valid")]
    TooLate,
    #[error("is for orders in {}, and this one is in {}", .expected.code(), .actual.code())]
    OtherCurrency { expected: Currency, actual: Currency },
    #[error("is for orders of {0} or more")]
    BelowMinimum(Money),
    #[error("has been used as often as it can be")]
    UsedUp,
    #[error("has been used by you as often as it can be")]
    UsedUpByCustomer,
    #[error("leaves {left} to pay, which {error}")]
    NotChargeable { left: Money, error: NotChargeable },
}

impl Offer {
    /// The code's discount for an order of this sum.
    ///
    /// # Errors
    /// When the code is not valid for this order, time or customer, or is used up.
    pub fn reduce(&self, sum: Money) -> Result<OrderDiscount, DiscountError> {
        let Self { discount: Discount { terms, used }, used_by_customer, at } = self;
        if terms.valid_from.is_some_and(|from| *at < from) {
            return Err(DiscountError::TooEarly);
        }
        if terms.valid_until.is_some_and(|until| *at >= until) {
            return Err(DiscountError::TooLate);
        }
        if let Some(expected) = terms.currency().filter(|currency| *currency != sum.currency) {
            return Err(DiscountError::OtherCurrency { expected, actual: sum.currency });
        }
        if let Some(minimum) = terms.minimum_total.filter(|minimum| sum.amount < minimum.amount) {
            return Err(DiscountError::BelowMinimum(minimum));
        }
        // The counters were read before. Orders that use the code at this moment change them, so the write
        // checks both limits again in its conditions (`store/discounts.rs`).
        if terms.total_limit.is_some_and(|limit| *used >= limit) {
            return Err(DiscountError::UsedUp);
        }
        if terms.per_customer_limit.is_some_and(|limit| *used_by_customer >= limit) {
            return Err(DiscountError::UsedUpByCustomer);
        }
        Ok(OrderDiscount { code: terms.code.to_string(), amount: terms.reduction.of(sum) })
    }
}

impl Terms {
    /// The currency that the code is limited to, if it has an amount.
    fn currency(&self) -> Option<Currency> {
        match (self.reduction, self.minimum_total) {
            (Reduction::Amount(amount), _) => Some(amount.currency),
            (Reduction::Percentage(_), minimum) => minimum.map(|minimum| minimum.currency),
        }
    }
}

impl Reduction {
    fn of(self, sum: Money) -> Money {
        let amount = match self {
            // A sum has at most twelve digits, so the product fits into 64 bits.
            Self::Percentage(percentage) => sum.amount * i64::from(percentage) / 100,
            Self::Amount(amount) => amount.amount,
        };
        let amount = amount.clamp(0, sum.amount);
        // The gateway charges some currencies in steps. The sum is a multiple of the step, so what is left is
        // one, too, when the reduction is.
        let charged = ChargeRule::of(sum.currency).map_or(amount, |rule| rule.round_down(amount));
        Money { amount: charged, ..sum }
    }
}

#[cfg(test)]
mod tests;
