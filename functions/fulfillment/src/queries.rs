//! Queries of other contexts (`fulfillment-commands`, in addition to the saga's commands). They change
//! nothing.

use std::convert::Infallible;

use contracts::query::{CountryServed, FulfillmentQuery};

use crate::carrier::Carrier;

/// Answers one query.
///
/// # Errors
/// None: the carrier's countries are a constant.
pub fn handle(carrier: &impl Carrier, query: FulfillmentQuery) -> Result<CountryServed, Infallible> {
    match query {
        FulfillmentQuery::CountryServed { country } => Ok(CountryServed { served: carrier.serves(&country) }),
    }
}
