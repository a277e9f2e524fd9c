//! REST: products for everyone, changes for administrators (DESIGN.md section 3).

#[cfg(feature = "openapi")]
mod describe;
mod related;

use std::borrow::Cow;

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::{Money, Sku};
use garde::Validate;
use jiff::Timestamp;
use lambda_kit::{
    http::{Admin, Body, Correlation, EntityTags, Problem, conditional},
    text::{Block, Line, normalized},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    availability::Availabilities,
    domain::{self, ChangeError, Details, Known, Product, Rejected, words::normalize},
    stock::Stock,
    store::{Filter, ListError, Store, Written},
};

#[cfg(feature = "openapi")]
pub use describe::operations;

/// Clients and caches may keep a product for so long (DESIGN.md section 10: product reads 5 s).
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=5");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const DEFAULT_LIMIT: usize = 20;
const TAKEN: &str = "A product with this SKU exists. Change it with PUT.";
/// As a category may have, and as a name may have.
const CATEGORY_MAX: usize = 100;
const NAME_MAX: usize = 200;
const DESCRIPTION_MAX: usize = 4000;

pub fn routes(store: Store) -> Router {
    let availabilities = Availabilities::new(store.clone());
    Router::new()
        .route("/v1/products", get(list).post(create))
        .route("/v1/products/{sku}/related", get(related::related))
        .route("/v1/products/{sku}", get(show).put(change).delete(discontinue))
        .with_state(Catalog { store, availabilities })
}

#[derive(Clone)]
struct Catalog {
    store: Store,
    availabilities: Availabilities,
}

#[derive(Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct NewProduct {
    #[garde(skip)]
    sku: Sku,
    // As in `DetailsBody`, and not flattened out of it: serde would lose the path of a field that it cannot read.
    #[garde(dive)]
    name: Line<NAME_MAX>,
    #[garde(dive)]
    #[serde(default)]
    description: Block<DESCRIPTION_MAX>,
    #[garde(dive)]
    category: Line<CATEGORY_MAX>,
    #[garde(custom(is_price))]
    price: Money,
}

impl NewProduct {
    fn details(self) -> (Sku, Details) {
        let Self { sku, name, description, category, price } = self;
        (sku, DetailsBody { name, description, category, price }.into())
    }
}

#[derive(Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "ProductDetails"))]
struct DetailsBody {
    #[garde(dive)]
    name: Line<NAME_MAX>,
    #[garde(dive)]
    #[serde(default)]
    description: Block<DESCRIPTION_MAX>,
    #[garde(dive)]
    category: Line<CATEGORY_MAX>,
    #[garde(custom(is_price))]
    price: Money,
}

fn is_price(price: &Money, _: &()) -> garde::Result {
    price.check_price().map_err(garde::Error::new)
}

impl From<DetailsBody> for Details {
    fn from(DetailsBody { name, description, category, price }: DetailsBody) -> Self {
        Self { name: name.into(), description: description.into(), category: category.into(), price }
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct ProductView {
    sku: Sku,
    name: String,
    description: String,
    category: String,
    price: Money,
    availability: &'static str,
    version: u64,
}

impl ProductView {
    fn new(product: Product, stock: Stock) -> Self {
        let Product { sku, name, description, category, price, version, .. } = product;
        Self { sku, name, description, category, price, availability: stock.as_str(), version }
    }
}

/// The tag of what is shown: the product's version, and that of its stock.
fn etag(product: &Product, stock: Stock) -> String {
    format!("\"{}.{}\"", product.version, stock.version)
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "{T}List"))]
struct List<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Listing {
    category: Option<String>,
    q: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Listing {
    fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if (1..=100).contains(&limit) {
            Ok(limit)
        } else {
            Err(Problem::field("limit", "must be from 1 to 100"))
        }
    }

    /// An empty parameter, as a form sends it, filters nothing.
    fn filter(&self) -> Result<Filter, Problem> {
        let given = |name: &str, value: &Option<String>, max: usize| {
            let value = value.as_deref().map(normalized).filter(|value| !value.is_empty());
            match value {
                Some(value) if value.chars().count() > max => {
                    Err(Problem::field(name, format!("must have at most {max} characters")))
                }
                value => Ok(value.map(Cow::into_owned)),
            }
        };
        let text = given("q", &self.q, NAME_MAX)?.map(|q| normalize(&q));
        Ok(Filter { category: given("category", &self.category, CATEGORY_MAX)?, text })
    }
}

async fn list(
    State(catalog): State<Catalog>,
    query: Result<Query<Listing>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::query(&error))?;
    let (filter, limit) = (query.filter()?, query.limit()?);
    let page = catalog.store.list(&filter, limit, query.cursor.as_deref()).await?;
    catalog.show(&headers, page.products, page.next_cursor).await
}

impl Catalog {
    /// A list of products with what is known of their stock, or 304 for whoever has the same.
    async fn show(
        &self,
        headers: &HeaderMap,
        products: Vec<Product>,
        next_cursor: Option<String>,
    ) -> Result<Response, Problem> {
        let skus = products.iter().map(|product| product.sku.clone());
        let stocks = self.availabilities.of(skus, Timestamp::now()).await;
        let view = |product: Product| {
            let stock = stocks.get(&product.sku).copied().unwrap_or_default();
            ProductView::new(product, stock)
        };
        let list = List { items: products.into_iter().map(view).collect(), next_cursor };
        let body = serde_json::to_vec(&list).map_err(|e| Problem::internal(&e))?;
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&body)));
        let body = ([(header::CONTENT_TYPE, JSON)], body);
        let mut response = conditional(headers, &tag, body);
        response.headers_mut().insert(header::CACHE_CONTROL, CACHE);
        Ok(response)
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Cursor => Self::field("cursor", error.to_string()),
            ListError::Table(error) => Self::unavailable(&error),
        }
    }
}

async fn show(
    State(Catalog { store, availabilities }): State<Catalog>,
    Path(sku): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (product, stock) = tokio::join!(on_sale(&store, &sku), stock_of(&availabilities, &sku));
    let product = product?;
    let tag = etag(&product, stock);
    let mut response = conditional(&headers, &tag, Json(ProductView::new(product, stock)));
    response.headers_mut().insert(header::CACHE_CONTROL, CACHE);
    Ok(response)
}

async fn create(
    State(Catalog { store, availabilities }): State<Catalog>,
    Admin(_): Admin,
    Correlation(correlation_id): Correlation,
    Body(body): Body<NewProduct>,
) -> Result<Response, Problem> {
    let (sku, details) = body.details();
    let now = Timestamp::now();
    let mut change = domain::create(sku.clone(), details.clone(), &correlation_id, now)?;
    let mut written = store.create(&change).await.map_err(|e| Problem::unavailable(&e))?;
    if written == Written::Conflict {
        // A SKU that was sold before is sold again: its versions go on, which is what the copies of its price go by.
        let before = store.get(&sku).await.map_err(|e| Problem::unavailable(&e))?;
        if let Some(before) = before.filter(|before| before.discontinued) {
            change = domain::resume(before, details, &correlation_id, now)?;
            written = store.update(&change).await.map_err(|e| Problem::unavailable(&e))?;
        }
    }
    match written {
        Written::Done => {
            let location = format!("/v1/products/{}", change.product.sku);
            let stock = availabilities.of_one(&change.product.sku, Timestamp::now()).await;
            let product = tagged(change.product, stock);
            Ok((StatusCode::CREATED, [(header::LOCATION, location)], product).into_response())
        }
        Written::Conflict => Err(Problem::conflict(TAKEN)),
    }
}

async fn change(
    State(Catalog { store, availabilities }): State<Catalog>,
    Admin(_): Admin,
    Correlation(correlation_id): Correlation,
    Path(sku): Path<String>,
    headers: HeaderMap,
    Body(body): Body<DetailsBody>,
) -> Result<Response, Problem> {
    let known = known(&headers)?;
    let product = on_sale(&store, &sku).await?;
    let change = domain::update(product, &known, body.into(), &correlation_id, Timestamp::now())?;
    match store.update(&change).await.map_err(|e| Problem::unavailable(&e))? {
        Written::Done => {
            let stock = availabilities.of_one(&change.product.sku, Timestamp::now()).await;
            Ok(tagged(change.product, stock).into_response())
        }
        Written::Conflict => Err(ChangeError::from(Rejected::VersionMismatch).into()),
    }
}

async fn discontinue(
    State(Catalog { store, .. }): State<Catalog>,
    Admin(_): Admin,
    Correlation(correlation_id): Correlation,
    Path(sku): Path<String>,
) -> Result<Response, Problem> {
    let product = on_sale(&store, &sku).await?;
    let change = domain::discontinue(product, &correlation_id, Timestamp::now())?;
    match store.update(&change).await.map_err(|e| Problem::unavailable(&e))? {
        Written::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        Written::Conflict => Err(Problem::conflict("The product changed at this moment. Try again.")),
    }
}

async fn on_sale(store: &Store, sku: &str) -> Result<Product, Problem> {
    let not_found = || Problem::not_found("There is no such product.");
    let sku = Sku::try_from(sku).map_err(|_| not_found())?;
    let product = store.get(&sku).await.map_err(|e| Problem::unavailable(&e))?;
    product.filter(|product| !product.discontinued).ok_or_else(not_found)
}

/// What is known of the stock; nothing of what cannot be a SKU.
async fn stock_of(availabilities: &Availabilities, sku: &str) -> Stock {
    match Sku::try_from(sku) {
        Ok(sku) => availabilities.of_one(&sku, Timestamp::now()).await,
        Err(_) => Stock::default(),
    }
}

/// The product's versions in `If-Match`: the product as the caller knows it, whatever became of its stock.
fn known(headers: &HeaderMap) -> Result<Known, Problem> {
    let missing =
        || Problem::new(StatusCode::PRECONDITION_REQUIRED, "Send the product's ETag in `If-Match`.");
    let tags = EntityTags::read(headers, &header::IF_MATCH).ok_or_else(missing)?;
    let version = |tag: &str| {
        let tag = tag.trim_matches('"');
        tag.split_once('.').map_or(tag, |(product, _)| product).parse().ok()
    };
    Ok(match tags.strong() {
        None => Known::Any,
        Some(strong) => Known::Versions(strong.filter_map(version).collect()),
    })
}

fn tagged(product: Product, stock: Stock) -> impl IntoResponse {
    ([(header::ETAG, etag(&product, stock))], Json(ProductView::new(product, stock)))
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Rejected(Rejected::Discontinued) => Self::not_found("There is no such product."),
            ChangeError::Rejected(Rejected::OnSale) => Self::conflict(TAKEN),
            ChangeError::Rejected(Rejected::VersionMismatch) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "The product has changed since. Read it again and decide anew.",
            ),
            ChangeError::Event(_) => Self::internal(&error),
        }
    }
}
