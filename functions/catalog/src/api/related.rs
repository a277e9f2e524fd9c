//! Products that are bought together with a product.

use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use contracts::Sku;
use jiff::Timestamp;
use lambda_kit::{dynamodb::TableError, http::Problem, last_known::Read};

use super::{Catalog, not_found, parse_sku};
use crate::{
    domain::Product,
    store::{ProductPage, Store},
};

/// Shown at most.
const SHOWN: usize = 10;
/// Candidates to read for them.
// Some of them may not be sold any more. One read of twice as many mostly leaves enough.
const CANDIDATES: usize = 2 * SHOWN;

pub(super) async fn related(
    State(catalog): State<Catalog>,
    Path(sku): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let product = catalog.store.on_sale(&parse_sku(&sku)?).await.map_err(|e| Problem::unavailable(&e))?;
    let Product { sku, .. } = product.ok_or_else(not_found)?;
    let products = companions(&catalog.store, &sku).await.map_err(|e| Problem::unavailable(&e))?;
    let page = Read::Current(ProductPage { products, next_cursor: None });
    catalog.show(&headers, page, Timestamp::now()).await
}

async fn companions(store: &Store, sku: &Sku) -> Result<Vec<Product>, TableError> {
    let co_purchases = store.co_purchases(std::slice::from_ref(sku)).await?.remove(sku).unwrap_or_default();
    let candidates = co_purchases.most_frequent(CANDIDATES);
    let mut on_sale = store.products(candidates.clone()).await?;
    Ok(candidates.iter().filter_map(|sku| on_sale.remove(sku)).take(SHOWN).collect())
}
