//! Money: an integer of minor units and a currency. Never a float.

use iso_currency::Currency;
use serde::{Deserialize, Serialize};

/// `{"amount": 4200, "currency": "USD"}`: 42 dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// In the currency's minor unit (ISO 4217).
    pub amount: i64,
    /// ISO 4217, upper case.
    #[cfg_attr(feature = "schema", schemars(with = "String", regex(pattern = "^[A-Z]{3}$")))]
    pub currency: Currency,
}

/// Why amounts cannot be computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The two amounts have different currencies.
    #[error("{left} and {right} cannot be added: convert one of them first")]
    CurrencyMismatch {
        /// The currency of the amount that is added to.
        left: Currency,
        /// The currency of the amount that is added.
        right: Currency,
    },
    /// The result does not fit into `i64`.
    #[error("the amount does not fit into 64 bits")]
    Overflow,
}

impl Money {
    /// `amount` is in the minor unit of the currency: 42 dollars are 4200.
    pub const fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// No money, in this currency.
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// The sum of two amounts of one currency.
    ///
    /// # Errors
    /// When the currencies differ, or the sum does not fit into `i64`.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency });
        }
        self.amount
            .checked_add(other.amount)
            .map(|amount| Self { amount, ..self })
            .ok_or(MoneyError::Overflow)
    }

    /// The amount times `factor`, such as a price times a quantity.
    ///
    /// # Errors
    /// When the product does not fit into `i64`.
    pub fn checked_mul(self, factor: u32) -> Result<Self, MoneyError> {
        self.amount
            .checked_mul(i64::from(factor))
            .map(|amount| Self { amount, ..self })
            .ok_or(MoneyError::Overflow)
    }
}

impl std::fmt::Display for Money {
    /// `42.00 USD`, with as many digits as the currency has.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = u32::from(self.currency.exponent().unwrap_or(0));
        let unit = 10_i64.pow(digits);
        // The smallest `i64` has no positive counterpart in `i64`, so `abs` would overflow.
        let (sign, amount) = if self.amount < 0 {
            ("-", self.amount.unsigned_abs())
        } else {
            ("", self.amount.unsigned_abs())
        };
        let (major, minor) = (amount / unit.unsigned_abs(), amount % unit.unsigned_abs());
        if digits == 0 {
            write!(f, "{sign}{major} {}", self.currency.code())
        } else {
            write!(f, "{sign}{major}.{minor:0width$} {}", self.currency.code(), width = digits as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_minor_units_on_the_wire() {
        let price = Money::new(4200, Currency::USD);
        assert_eq!(serde_json::to_string(&price).unwrap(), r#"{"amount":4200,"currency":"USD"}"#);
        assert!(serde_json::from_str::<Money>(r#"{"amount":42.5,"currency":"USD"}"#).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"amount":42,"currency":"XYZ"}"#).is_err());
    }

    #[test]
    fn currencies_do_not_mix_and_sums_do_not_wrap() {
        let dollar = Money::new(i64::MAX, Currency::USD);
        assert_eq!(dollar.checked_add(Money::new(1, Currency::USD)), Err(MoneyError::Overflow));
        assert_eq!(dollar.checked_mul(2), Err(MoneyError::Overflow));
        assert!(matches!(
            dollar.checked_add(Money::zero(Currency::EUR)),
            Err(MoneyError::CurrencyMismatch { .. })
        ));
    }

    #[test]
    fn money_is_written_with_the_digits_of_its_currency() {
        assert_eq!(Money::new(4205, Currency::USD).to_string(), "42.05 USD");
        assert_eq!(Money::new(-5, Currency::USD).to_string(), "-0.05 USD");
        assert_eq!(Money::new(500, Currency::JPY).to_string(), "500 JPY");
    }
}
