//! The lines of an order: how many, how much of each, at which price.

use std::collections::{HashMap, HashSet};

use contracts::{ChargeRule, Currency, Money, MoneyError, NotChargeable, OrderLine, PricedLine, Sku};

/// The most lines of an order.
// The reservation takes up to 4 shards a line and one item more, and a DynamoDB transaction has at most 100
// items.
pub const MAX_LINES: usize = 20;
/// The most pieces of one SKU in an order.
pub const MAX_QUANTITY: u32 = 1_000;

/// Why a line, or all of them together, cannot be ordered. `Display` is read by the customer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("must have 1 to {MAX_LINES} lines")]
    Count,
    #[error("must be 1 to {MAX_QUANTITY}")]
    Quantity { index: usize },
    #[error("is in an earlier line already: order it once, with the sum of the quantities")]
    Repeated { index: usize },
    #[error("is not sold")]
    NotSold { index: usize },
    #[error("is sold in {actual}, and the lines before it in {expected}: order them apart")]
    OtherCurrency { index: usize, expected: Currency, actual: Currency },
    #[error("cannot be paid together: their sum {0}")]
    Total(NotChargeable),
}

impl LineError {
    /// The line that it is about, and which part of it; nothing when it is about all of them.
    pub const fn line(&self) -> Option<(usize, &'static str)> {
        match self {
            Self::Count | Self::Total(_) => None,
            Self::Quantity { index } => Some((*index, "quantity")),
            Self::Repeated { index } | Self::NotSold { index } | Self::OtherCurrency { index, .. } => {
                Some((*index, "sku"))
            }
        }
    }
}

/// Checks the lines as far as that is possible without prices.
pub fn check_lines<'a>(lines: impl ExactSizeIterator<Item = (&'a Sku, u32)>) -> Vec<LineError> {
    let mut errors = Vec::new();
    if !(1..=MAX_LINES).contains(&lines.len()) {
        errors.push(LineError::Count);
    }
    let mut seen = HashSet::new();
    for (index, (sku, quantity)) in lines.enumerate() {
        if !(1..=MAX_QUANTITY).contains(&quantity) {
            errors.push(LineError::Quantity { index });
        }
        if !seen.insert(sku) {
            errors.push(LineError::Repeated { index });
        }
    }
    errors
}

/// The lines with their prices.
///
/// # Errors
/// A line without a price is not sold.
pub fn price_lines(
    lines: &[OrderLine],
    prices: &HashMap<Sku, Money>,
) -> Result<Vec<PricedLine>, Vec<LineError>> {
    let (mut priced, mut errors) = (Vec::with_capacity(lines.len()), Vec::new());
    for (index, OrderLine { sku, quantity }) in lines.iter().enumerate() {
        match prices.get(sku) {
            Some(&unit_price) => {
                priced.push(PricedLine { sku: sku.clone(), quantity: *quantity, unit_price })
            }
            None => errors.push(LineError::NotSold { index }),
        }
    }
    if errors.is_empty() { Ok(priced) } else { Err(errors) }
}

/// The total of the lines.
///
/// # Errors
/// When there are no lines, when they have several currencies, or when the total is above what can be charged.
pub(super) fn total(items: &[PricedLine]) -> Result<Money, Vec<LineError>> {
    let Some(first) = items.first() else { return Err(vec![LineError::Count]) };
    let expected = first.unit_price.currency;
    let foreign: Vec<LineError> = items
        .iter()
        .enumerate()
        .map(|(index, item)| (index, item.unit_price.currency))
        .filter(|(_, actual)| *actual != expected)
        .map(|(index, actual)| LineError::OtherCurrency { index, expected, actual })
        .collect();
    if !foreign.is_empty() {
        return Err(foreign);
    }
    let sum = items.iter().try_fold(Money::zero(expected), |sum, item| -> Result<Money, MoneyError> {
        sum.checked_add(item.unit_price.checked_mul(item.quantity)?)
    });
    let rule = ChargeRule::of(expected).map_err(|error| vec![LineError::Total(error)])?;
    // A sum that overflows is above what can be charged, too.
    let too_large = NotChargeable::TooLarge(Money::new(rule.largest, expected));
    let sum = sum.map_err(|_| vec![LineError::Total(too_large)])?;
    // A total below the smallest charge is no error here, because a discount code may cover the rest. `quote`
    // checks what is left.
    sum.check_price().map(|()| sum).map_err(|error| vec![LineError::Total(error)])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn sku(name: &str) -> Sku {
        Sku::try_from(name).unwrap()
    }

    fn priced(quantity: u32, amount: i64, currency: Currency) -> PricedLine {
        PricedLine { sku: sku("MUG"), quantity, unit_price: Money::new(amount, currency) }
    }

    #[rstest]
    #[case::one(&[("A", 1)], &[])]
    #[case::the_most_of_it(&[("A", 1000)], &[])]
    #[case::nothing(&[], &[LineError::Count])]
    #[case::none_of_it(&[("A", 0)], &[LineError::Quantity { index: 0 }])]
    #[case::too_much_of_it(&[("A", 1), ("B", 1001)], &[LineError::Quantity { index: 1 }])]
    #[case::twice(&[("A", 1), ("B", 1), ("A", 2)], &[LineError::Repeated { index: 2 }])]
    fn lines_are_checked_without_prices(#[case] lines: &[(&str, u32)], #[case] expected: &[LineError]) {
        let lines: Vec<(Sku, u32)> = lines.iter().map(|(name, quantity)| (sku(name), *quantity)).collect();
        assert_eq!(check_lines(lines.iter().map(|(sku, quantity)| (sku, *quantity))), expected);
    }

    fn too_large() -> NotChargeable {
        NotChargeable::TooLarge(Money::new(99_999_999, Currency::USD))
    }

    fn not_paid(error: NotChargeable) -> Result<i64, Vec<LineError>> {
        Err(vec![LineError::Total(error)])
    }

    #[test]
    fn twenty_lines_are_taken_and_one_more_is_not() {
        let names: Vec<Sku> = (0..21).map(|i| sku(&format!("S{i}"))).collect();
        assert_eq!(check_lines(names[..20].iter().map(|sku| (sku, 1))), []);
        assert_eq!(check_lines(names.iter().map(|sku| (sku, 1))), [LineError::Count]);
    }

    #[test]
    fn a_line_without_a_price_is_not_sold() {
        let lines = [OrderLine { sku: sku("A"), quantity: 1 }, OrderLine { sku: sku("B"), quantity: 1 }];
        let prices = HashMap::from([(sku("A"), Money::new(1, Currency::EUR))]);
        assert_eq!(price_lines(&lines, &prices), Err(vec![LineError::NotSold { index: 1 }]));
    }

    #[rstest]
    #[case::a_sum(vec![priced(2, 4200, Currency::USD), priced(1, 5, Currency::USD)], Ok(8405))]
    #[case::nothing_to_pay(vec![priced(3, 0, Currency::USD)], Ok(0))]
    #[case::the_most(vec![priced(1, 99_999_999, Currency::USD)], Ok(99_999_999))]
    #[case::one_more(vec![priced(1, 100_000_000, Currency::USD)], not_paid(too_large()))]
    #[case::beyond_64_bits(vec![priced(2, i64::MAX, Currency::USD)], not_paid(too_large()))]
    #[case::below_zero(vec![priced(1, -1, Currency::USD)], not_paid(NotChargeable::Negative))]
    #[case::less_than_a_payment(vec![priced(1, 30, Currency::USD)], Ok(30))]
    #[case::off_its_step(
        vec![priced(1, 1234, Currency::KWD)],
        not_paid(NotChargeable::Step(Money::new(10, Currency::KWD)))
    )]
    #[case::never_charged(vec![priced(1, 1, Currency::XAU)], not_paid(NotChargeable::Currency(Currency::XAU)))]
    #[case::two_currencies(
        vec![priced(1, 1, Currency::USD), priced(1, 1, Currency::EUR)],
        Err(vec![LineError::OtherCurrency { index: 1, expected: Currency::USD, actual: Currency::EUR }])
    )]
    #[case::no_lines(vec![], Err(vec![LineError::Count]))]
    fn the_total_is_one_sum_in_one_currency(
        #[case] items: Vec<PricedLine>,
        #[case] expected: Result<i64, Vec<LineError>>,
    ) {
        assert_eq!(total(&items).map(|total| total.amount), expected);
    }
}
