//! What other contexts say about an order before it is placed, by direct invocation: whether its lines can be had, and
//! whether its country is served. Nothing is held by it, and an order never waits for it.

use std::collections::HashMap;

use contracts::{
    Availability, OrderLine, Sku,
    query::{Availabilities, CountryServed, FulfillmentQuery, InventoryQuery},
};
use lambda_kit::{
    command::chain,
    numbers::ATTEMPT_TIMEOUT,
    peers::{CallError, Peers},
};

/// Asks inventory and fulfillment. Each is given one try of a second: a part that does not answer is left unknown.
#[derive(Debug, Clone)]
pub struct Forecast(Peers);

impl Forecast {
    pub fn new(sdk: &aws_sdk_lambda::config::Config, stage: String) -> Self {
        Self(Peers::new(sdk, stage, ATTEMPT_TIMEOUT))
    }

    /// What can be had of these lines; nothing of those that inventory says nothing about.
    pub async fn availabilities(&self, lines: &[OrderLine]) -> HashMap<Sku, Availability> {
        let query = InventoryQuery::Availabilities { items: lines.to_vec() };
        let answer: Result<Availabilities, CallError> = self.0.call("inventory-commands", &query).await;
        let items = known(answer).map(|answer| answer.items).unwrap_or_default();
        items.into_iter().map(|item| (item.sku, item.availability)).collect()
    }

    /// Whether parcels go to this country, as far as fulfillment says it.
    pub async fn serves(&self, country: &str) -> Option<bool> {
        let query = FulfillmentQuery::CountryServed { country: country.to_owned() };
        let answer: Result<CountryServed, CallError> = self.0.call("fulfillment-commands", &query).await;
        known(answer).map(|answer| answer.served)
    }
}

fn known<T>(answer: Result<T, CallError>) -> Option<T> {
    answer.inspect_err(|error| tracing::warn!(error = chain(error), "a part of a quote is unknown")).ok()
}
