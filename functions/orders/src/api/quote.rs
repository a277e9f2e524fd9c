//! Quotes: the total and the availability of an order. The body is the same, and nothing is written.

use axum::{Extension, Json, Router, extract::State, routing::post};
use contracts::{Availability, Money, OrderDiscount, PricedLine, Sku};
use jiff::Timestamp;
use lambda_kit::{
    http::{
        Body, Identity, Problem,
        limit::{self, Limited},
    },
    limits::QUOTES,
};
use serde::Serialize;

use super::{OrderRules, priced, request::PlaceOrder};
use crate::{
    domain::{Rejected, quote},
    forecast::Forecast,
    store::Store,
};

/// The value when the availability is unknown.
const UNKNOWN: &str = "unknown";

pub(super) fn routes(forecast: Forecast) -> Router<Store> {
    Router::new().route("/v1/quotes", limit::by_handler(&QUOTES, post(show))).layer(Extension(forecast))
}

/// The route as openapi.json describes it.
#[cfg(feature = "openapi")]
pub(super) fn operation() -> lambda_kit::openapi::Operation {
    use lambda_kit::openapi::{Operation, Who};

    Operation::post(
        "/v1/quotes",
        "quoteOrder",
        Who::User,
        "What an order would cost, and whether it can be had",
        "Takes the body of `placeOrder`, and checks it in the same way. The availability may change until the order \
         is placed.",
    )
    .limited(&QUOTES)
    .takes::<PlaceOrder>(PlaceOrder::example())
    .answers::<QuoteView>(
        200,
        "The order as it would be now. Nothing is placed or held.",
        &[],
        serde_json::json!({
            "items": [{
                "sku": "MUG-BLUE", "quantity": 2, "unit_price": {"amount": 2100, "currency": "USD"},
                "availability": "in_stock"
            }],
            "total": {"amount": 4200, "currency": "USD"}, "availability": "in_stock", "serviceable": true
        }),
    )
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct QuoteView {
    items: Vec<QuotedLine>,
    /// After the discount.
    total: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    discount: Option<OrderDiscount>,
    /// The least of the lines' availabilities.
    availability: &'static str,
    /// When `availability` was so, or the oldest of its parts. Only while inventory does not answer: it is `low_stock` at
    /// best then, and an order waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<Timestamp>,
    /// Whether the carrier delivers to the address's country; `null` while that is not known.
    serviceable: Option<bool>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct QuotedLine {
    #[serde(flatten)]
    line: PricedLine,
    /// Of the quantity: `in_stock`, `low_stock`, `out_of_stock`, or `unknown`.
    availability: &'static str,
}

/// The quote of an order: two calls one after the other, each with what belongs to it at the same time.
async fn show(
    State(store): State<Store>,
    Extension(forecast): Extension<Forecast>,
    Extension(rules): Extension<OrderRules>,
    limit: Limited,
    identity: Identity,
    Body(body): Body<PlaceOrder>,
) -> Result<Json<QuoteView>, Problem> {
    let (code, skus, now) = (body.discount_code(), body.skus(), Timestamp::now());
    // The limit is checked during the read, so it costs no time. Inventory and fulfillment are called only
    // after it, because orders need their capacity.
    let lookup = store.lookup(None, &identity.user_id, &skus, code);
    let lookup = limit.take_during(&identity.user_id, lookup);
    let (found, accepts_discounts) = tokio::join!(lookup, rules.accepts(code, now));
    let found = found?;
    let (items, offer) = priced(&body, &found.prices, accepts_discounts.then_some(&found.discount), now)?;
    let quoted = quote(items, offer.as_ref()).map_err(Rejected::into_problem)?;
    let (available, serviceable) =
        tokio::join!(forecast.availabilities(body.lines(), now), forecast.serves(body.country()));
    let of = |sku: &Sku| available.get(sku).map(|line| line.availability);
    Ok(Json(QuoteView {
        availability: word(least(quoted.items.iter().map(|line| of(&line.sku)))),
        items: quoted
            .items
            .into_iter()
            .map(|line| QuotedLine { availability: word(of(&line.sku)), line })
            .collect(),
        total: quoted.total,
        // The oldest one, because the whole is no more current than its oldest part.
        as_of: available.values().filter_map(|line| line.as_of).min(),
        discount: quoted.discount,
        serviceable,
    }))
}

fn word(availability: Option<Availability>) -> &'static str {
    availability.map_or(UNKNOWN, Availability::as_str)
}

/// The availability of the whole order. One line that is out of stock decides, even when others are unknown.
fn least(lines: impl Iterator<Item = Option<Availability>> + Clone) -> Option<Availability> {
    // Stock is reserved for all lines or for none. So one line that is out of stock is enough to fail the
    // order.
    if lines.clone().any(|line| line == Some(Availability::OutOfStock)) {
        return Some(Availability::OutOfStock);
    }
    let known: Option<Vec<Availability>> = lines.collect();
    let is_low = known?.contains(&Availability::LowStock);
    Some(if is_low { Availability::LowStock } else { Availability::InStock })
}

#[cfg(test)]
mod tests;
