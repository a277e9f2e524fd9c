//! `GET /v1/dashboard`: what a customer sees first, of several contexts side by side. A part that is down is named, and
//! the rest is shown.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use contracts::{EventPayload, events::OrderShipmentScheduled};
use futures::future::try_join_all;
use lambda_kit::error::error_chain;
use serde::Serialize;
use serde_json::Value;

use crate::upstream::{Caller, Context, Upstream, UpstreamError};

/// The customer's orders on the dashboard.
// As many as a page shows without being scrolled.
const RECENT_ORDERS: usize = 5;
const RECOMMENDATIONS: usize = 8;
/// How long products are reused without a new read.
// As long as the `Cache-Control` of catalog allows.
const FRESH: Duration = Duration::from_secs(5);
/// How long products are shown while the catalogue is down.
// Not longer, because they say what is in stock.
const STALE: Duration = Duration::from_secs(60);

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Dashboard {
    customer: Option<Value>,
    recent_orders: Vec<Value>,
    shipments: Vec<Value>,
    recommendations: Vec<Value>,
    /// The parts that are missing, or not of this moment.
    degraded: Vec<&'static str>,
}

/// Products, and the time of their read.
type CachedProducts = (Instant, Vec<Value>);

/// Composes dashboards.
#[derive(Debug, Clone)]
pub struct Composer {
    upstream: Upstream,
    /// The catalogue's first products.
    // They are the same for all customers, so they are the only part that is cached. A customer's own data is
    // not kept here, where it could reach another customer.
    products: Arc<Mutex<Option<CachedProducts>>>,
}

/// Why a part is missing.
#[derive(Debug, thiserror::Error)]
enum MissingPart {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the part that it depends on is missing")]
    Source,
}

type PartResult<T> = Result<T, MissingPart>;

impl Composer {
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, products: Arc::default() }
    }

    pub async fn dashboard(&self, caller: &Caller) -> Dashboard {
        let (customer, (orders, shipments, related), (products, are_stale)) =
            tokio::join!(self.customer(caller), self.orders(caller), self.products(caller));
        let mut degraded = vec![];
        let customer = or_degraded(&mut degraded, "customer", customer).flatten();
        let recent_orders = or_degraded(&mut degraded, "recent_orders", orders).unwrap_or_default();
        let shipments = or_degraded(&mut degraded, "shipments", shipments).unwrap_or_default();
        let related = or_degraded(&mut degraded, "recommendations", related).unwrap_or_default();
        let mut recommendations = if related.is_empty() { products } else { related };
        recommendations.truncate(RECOMMENDATIONS);
        if are_stale && !degraded.contains(&"recommendations") {
            degraded.push("recommendations");
        }
        Dashboard { customer, recent_orders, shipments, recommendations, degraded }
    }

    async fn customer(&self, caller: &Caller) -> PartResult<Option<Value>> {
        Ok(self.upstream.get(Context::Users, "/v1/users/me", caller).await?)
    }

    /// The customer's newest orders, and what is made from them: their shipments, and what was bought together with them.
    async fn orders(
        &self,
        caller: &Caller,
    ) -> (PartResult<Vec<Value>>, PartResult<Vec<Value>>, PartResult<Vec<Value>>) {
        // The customer is named, because an administrator would get the orders of all customers without it.
        let path = format!("/v1/orders?limit={RECENT_ORDERS}&customer={}", caller.user_id);
        let orders = match self.upstream.get(Context::Orders, &path, caller).await {
            Ok(orders) => items(orders),
            // The recommendations are not missing: without orders, the catalogue's first products are shown.
            Err(error) => return (Err(error.into()), Err(MissingPart::Source), Ok(vec![])),
        };
        let (shipments, related) =
            tokio::join!(self.shipments(&orders, caller), self.related(&orders, caller));
        (Ok(orders), shipments, related)
    }

    /// The shipments of those orders that have one booked.
    async fn shipments(&self, orders: &[Value], caller: &Caller) -> PartResult<Vec<Value>> {
        let is_scheduled = |order: &&Value| {
            let mut timeline = order["timeline"].as_array().into_iter().flatten();
            timeline.any(|event| event["event_type"] == OrderShipmentScheduled::TYPE)
        };
        let shipments = orders.iter().filter(is_scheduled).filter_map(|order| order["order_id"].as_str());
        let shipments = try_join_all(shipments.map(|order_id| async move {
            self.upstream.get(Context::Fulfillment, &format!("/v1/shipments/{order_id}"), caller).await
        }));
        Ok(shipments.await?.into_iter().flatten().collect())
    }

    /// Products that others bought together with the customer's last purchase; empty when there are none.
    async fn related(&self, orders: &[Value], caller: &Caller) -> PartResult<Vec<Value>> {
        let bought = orders.iter().find_map(|order| order["items"][0]["sku"].as_str());
        let Some(sku) = bought else { return Ok(vec![]) };
        let path = format!("/v1/products/{sku}/related");
        Ok(items(self.upstream.get(Context::Catalog, &path, caller).await?))
    }

    /// The catalogue's first products, and whether they are stale or missing.
    async fn products(&self, caller: &Caller) -> (Vec<Value>, bool) {
        let known = self.products.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, products)) = known.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return (products.clone(), false);
        }
        let path = format!("/v1/products?limit={RECOMMENDATIONS}");
        match self.upstream.get(Context::Catalog, &path, caller).await {
            Ok(products) => {
                let products = items(products);
                let known = (Instant::now(), products.clone());
                *self.products.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
                (products, false)
            }
            Err(error) => {
                tracing::warn!(
                    error = error_chain(&error),
                    "the catalogue cannot be read, showing cached products if there are any"
                );
                let known = known.filter(|(at, _)| at.elapsed() < STALE);
                (known.map(|(_, products)| products).unwrap_or_default(), true)
            }
        }
    }
}

/// The part; when it is missing, its name is added to `degraded`.
fn or_degraded<T>(degraded: &mut Vec<&'static str>, name: &'static str, part: PartResult<T>) -> Option<T> {
    part.inspect_err(|missing| {
        tracing::warn!(part = name, error = error_chain(missing), "a part of the dashboard is missing");
        degraded.push(name);
    })
    .ok()
}

/// The items of a list.
fn items(list: Option<Value>) -> Vec<Value> {
    match list.map(|mut list| list["items"].take()) {
        Some(Value::Array(items)) => items,
        _ => vec![],
    }
}

#[cfg(test)]
mod tests;
