//! What other contexts ask of fulfillment (`fulfillment-commands`, beside the saga's commands): nothing is changed by it.

use std::convert::Infallible;

use contracts::query::{CountryServed, FulfillmentQuery};

use crate::carrier::Carrier;

/// Answers one question.
///
/// # Errors
/// None: the carrier's countries are known.
pub fn handle(carrier: &impl Carrier, query: FulfillmentQuery) -> Result<CountryServed, Infallible> {
    match query {
        FulfillmentQuery::CountryServed { country } => Ok(CountryServed { served: carrier.serves(&country) }),
    }
}
