//! Queries other contexts about an order before it is placed, by direct invocation: whether its lines are
//! available, and whether its country is served. Nothing is reserved, and placing an order never waits for
//! this.

use std::collections::HashMap;

use contracts::{
    Availability, OrderLine, Sku,
    query::{Availabilities, CountryServed, FulfillmentQuery, InventoryQuery},
};
use jiff::Timestamp;
use lambda_kit::{
    error::error_chain,
    function_client::{CallError, FunctionClient},
    last_known::{Known, LastKnown},
    limits::ATTEMPT_TIMEOUT,
    switch::FeatureSwitch,
};

/// The answers that an instance keeps for times when inventory does not answer.
// They take a megabyte or two.
const KEPT: usize = 10_000;

/// Queries inventory and fulfillment, each with one try of a second. Without an answer the part is unknown,
/// or its last known value is used.
#[derive(Debug, Clone)]
pub struct Forecast {
    functions: FunctionClient,
    /// For each SKU, the last answer "enough" and the last answer "too little".
    // Neither replaces the other: "enough for 2" and "too little for 10" are both still of use for a quantity
    // of 1 or 20.
    last: LastKnown<(Sku, bool), Answer>,
    /// While it is off, no last known values are used.
    pub(crate) limited_stock: FeatureSwitch,
}

/// Whether a quantity is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineForecast {
    pub availability: Availability,
    /// The time of a last known value; `None` for a current one.
    pub as_of: Option<Timestamp>,
}

/// Inventory's answer for a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    quantity: u32,
    availability: Availability,
}

impl Answer {
    fn is_enough(self) -> bool {
        self.availability != Availability::OutOfStock
    }

    /// The answer for another quantity: "enough" also holds for less, and "too little" also for more;
    /// otherwise it is unknown.
    fn of(self, quantity: u32) -> Option<Availability> {
        let applies = if self.is_enough() { quantity <= self.quantity } else { quantity >= self.quantity };
        applies.then_some(self.availability)
    }
}

impl Forecast {
    /// `limited_stock` decides whether last known values are used.
    pub fn new(sdk: &aws_sdk_lambda::config::Config, stage: String, limited_stock: FeatureSwitch) -> Self {
        let functions = FunctionClient::new(sdk, stage, ATTEMPT_TIMEOUT);
        Self { functions, last: LastKnown::new(KEPT), limited_stock }
    }

    /// The availability of these lines; last known values while inventory does not answer. Lines without a
    /// known value are left out.
    pub async fn availabilities(&self, lines: &[OrderLine], now: Timestamp) -> HashMap<Sku, LineForecast> {
        let query = InventoryQuery::Availabilities { items: lines.to_vec() };
        let answer: Result<Availabilities, CallError> =
            self.functions.call("inventory-commands", &query).await;
        let Some(Availabilities { items }) = known(answer) else {
            if !self.limited_stock.is_on(now).await {
                return HashMap::new();
            }
            let earlier = |line: &OrderLine| Some((line.sku.clone(), self.earlier(line, now)?));
            return lines.iter().filter_map(earlier).collect();
        };
        let current: HashMap<Sku, LineForecast> = items
            .into_iter()
            .map(|item| (item.sku, LineForecast { availability: item.availability, as_of: None }))
            .collect();
        for OrderLine { sku, quantity } in lines {
            if let Some(&LineForecast { availability, .. }) = current.get(sku) {
                let answer = Answer { quantity: *quantity, availability };
                self.last.set((sku.clone(), answer.is_enough()), answer, now);
            }
        }
        current
    }

    fn earlier(&self, line: &OrderLine, now: Timestamp) -> Option<LineForecast> {
        let answers = [true, false].into_iter().filter_map(|enough| {
            let Known { value, at } = self.last.get(&(line.sku.clone(), enough), now)?;
            // An old answer is `low_stock` at best. What was sold since is unknown.
            Some(LineForecast { availability: value.of(line.quantity)?.limited(), as_of: Some(at) })
        });
        answers.max_by_key(|forecast| forecast.as_of)
    }

    /// Whether the carrier serves this country; `None` when fulfillment does not answer.
    pub async fn serves(&self, country: &str) -> Option<bool> {
        let query = FulfillmentQuery::CountryServed { country: country.to_owned() };
        let answer: Result<CountryServed, CallError> =
            self.functions.call("fulfillment-commands", &query).await;
        known(answer).map(|answer| answer.served)
    }
}

fn known<T>(answer: Result<T, CallError>) -> Option<T> {
    answer
        .inspect_err(|error| tracing::warn!(error = error_chain(error), "a part of a quote is unknown"))
        .ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::there_was_enough_of_more(Availability::InStock, 3, true)]
    #[case::as_many(Availability::LowStock, 4, true)]
    #[case::perhaps_not_so_many(Availability::InStock, 5, false)]
    #[case::perhaps_fewer(Availability::OutOfStock, 3, false)]
    #[case::too_many_then(Availability::OutOfStock, 5, true)]
    fn an_answer_says_something_of_other_quantities(
        #[case] availability: Availability,
        #[case] quantity: u32,
        #[case] applies: bool,
    ) {
        let answer = Answer { quantity: 4, availability };
        assert_eq!(answer.of(quantity), applies.then_some(availability));
    }
}
