//! REST: products for everyone, changes for administrators.

mod related;

use std::{borrow::Cow, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::{Money, Sku};
use garde::Validate;
use jiff::Timestamp;
use lambda_kit::{
    audit::Entry,
    dynamodb::TableError,
    http::{self, Admin, Body, Correlation, EntityTags, List, Problem, Query, conditional, limit},
    last_known::{LastKnown, Read, cache_control},
    limits::{CATALOG_LISTS, CATALOG_READS, LISTS, STAFF},
    switch::FeatureSwitch,
    text::{Block, Line, normalized},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    availability::AvailabilityReader,
    domain::{ChangeContext, ChangeError, Details, KnownVersions, Product, Rejected, words::normalize},
    handler::{self, ProductError},
    inventory_health::InventoryProbe,
    stock::Shown,
    store::{ListError, ProductFilter, ProductPage, Store},
};

/// Clients and caches may reuse a product for this long, then revalidate it.
const FRESH: Duration = Duration::from_secs(5);
/// How long an instance answers with a page of a list without reading it again.
// The route is public, and all lists are read from one partition of the index. So a stranger could use up the reads that
// customers need. Clients may keep the page for longer than this anyway.
pub const LISTS_KEPT: Duration = Duration::from_secs(2);
/// Last known values per instance, for times when the table does not answer.
// The longest descriptions make a page of 100 products 2 MB, and one product 20 KB: at most 60 MB of a
// function's 256.
const KEPT_PAGES: usize = 20;
const KEPT_PRODUCTS: usize = 1000;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SKU_EXISTS: &str = "A product with this SKU exists. Change it with PUT.";
// The numbers are characters. They limit what a product may have, and what a search may ask for.
const CATEGORY_MAX: usize = 100;
const NAME_MAX: usize = 200;
const DESCRIPTION_MAX: usize = 4000;

/// An instance answers with a page of a list for `lists_kept` without reading it again, unless it has changed a product.
/// While `limited_stock` is off, stock that cannot be read is unknown.
pub fn routes(
    store: Store,
    inventory: InventoryProbe,
    limited_stock: FeatureSwitch,
    lists_kept: Duration,
) -> Router {
    let availabilities = AvailabilityReader::new(store.clone(), inventory, limited_stock);
    let (pages, products) = (LastKnown::new(KEPT_PAGES), LastKnown::new(KEPT_PRODUCTS));
    Router::new()
        .route(
            "/v1/products",
            limit::before(&CATALOG_LISTS, get(list)).merge(limit::before(&STAFF, post(create))),
        )
        .route("/v1/products/{sku}/related", limit::before(&CATALOG_LISTS, get(related::related)))
        .route("/v1/products/{sku}/audit", limit::before(&LISTS, get(audit)))
        .route(
            "/v1/products/{sku}",
            limit::during(&CATALOG_READS, get(show))
                .merge(limit::before(&STAFF, put(change).delete(discontinue))),
        )
        .with_state(Catalog { store, availabilities, pages, products, lists_kept })
}

/// The routes as openapi.json describes them.
#[cfg(feature = "openapi")]
pub fn operations() -> Vec<lambda_kit::openapi::Operation> {
    use lambda_kit::openapi::{Operation, Who};
    use serde_json::json;

    let text = |max: usize| json!({"type": "string", "maxLength": max});
    let price = json!({"amount": 2100, "currency": "USD"});
    let details = json!({"name": "Blue mug", "description": "0.3 l", "category": "kitchen", "price": price});
    let mut new = details.clone();
    new["sku"] = json!("MUG-BLUE");
    let mut product = new.clone();
    product["availability"] = json!("in_stock");
    product["version"] = json!(1);
    vec![
        Operation::get(
            "/v1/products",
            "listProducts",
            Who::Public,
            "What is sold",
            "Products by name or of a category, a page at a time, with their prices and availability.",
        )
        .limited(&CATALOG_LISTS)
        .query("category", "Only products of this category. Trimmed, and composed (NFC).", text(CATEGORY_MAX))
        .query(
            "q",
            "Only products whose name has this text at the beginning of a word. Compatibility forms (NFKC), case \
             and diacritics make no difference.",
            text(NAME_MAX),
        )
        .paged()
        .answers::<List<ProductView>>(
            200,
            "A page of products. What cannot be read is shown as it was `as_of`: `low_stock` at best.",
            &["Cache-Control"],
            json!({"items": [product], "next_cursor": null}),
        ),
        Operation::post(
            "/v1/products",
            "createProduct",
            Who::Admin,
            "Sell a product",
            "Also sells a product again that was discontinued. It has no stock until `setStock` gives it some.",
        )
        .limited(&STAFF)
        .takes::<NewProduct>(new)
        .answers::<ProductView>(201, "The product is sold.", &["Location", "ETag"], product.clone())
        .problem(409, "There is a product with this SKU."),
        Operation::get(
            "/v1/products/{sku}",
            "getProduct",
            Who::Public,
            "One product",
            "With its price and availability. Its ETag is what `updateProduct` wants.",
        )
        .limited(&CATALOG_READS)
        .conditional()
        .answers::<ProductView>(
            200,
            "The product. What cannot be read is shown as it was `as_of`: `low_stock` at best.",
            &["ETag", "Cache-Control"],
            product.clone(),
        ),
        Operation::get(
            "/v1/products/{sku}/related",
            "listRelatedProducts",
            Who::Public,
            "What is bought together with a product",
            "At most ten products that were in completed orders with this one.",
        )
        .limited(&CATALOG_LISTS)
        .conditional()
        .answers::<List<ProductView>>(
            200,
            "The products, the most frequent first.",
            &["ETag", "Cache-Control"],
            json!({"items": [product], "next_cursor": null}),
        ),
        Operation::put(
            "/v1/products/{sku}",
            "updateProduct",
            Who::Admin,
            "Change a product",
            "Replaces its name, description, category and price. Orders that were placed keep their prices.",
        )
        .limited(&STAFF)
        .header("If-Match", true, "The product's ETag as the caller knows it.")
        .takes::<DetailsBody>(details.clone())
        .answers::<ProductView>(200, "The changed product.", &["ETag"], product.clone())
        .problem(412, "The product has changed since.")
        .problem(428, "`If-Match` is missing."),
        Operation::delete(
            "/v1/products/{sku}",
            "discontinueProduct",
            Who::Admin,
            "Sell a product no longer",
            "It is in no list any more, and new orders of it are refused. Orders that were placed go on.",
        )
        .limited(&STAFF)
        .answers_nothing(204, "It is sold no longer.")
        .problem(409, "The product changed at this moment."),
        lambda_kit::audit::operation(
            "/v1/products/{sku}/audit",
            "listProductChanges",
            "Who changed a product",
            json!({
                "id": "019ad0c0f00070008000000000000000", "at": "2026-11-21T12:00:00Z",
                "actor": "usr_0123456789abcdef0123456789abcdef", "action": "product.updated", "subject": "MUG-BLUE",
                "before": {"price": price}, "after": {"price": {"amount": 2300, "currency": "USD"}},
                "correlation_id": "cor_1"
            }),
        ),
    ]
}

#[derive(Clone)]
struct Catalog {
    store: Store,
    availabilities: AvailabilityReader,
    pages: LastKnown<ListRequest, ProductPage>,
    products: LastKnown<Sku, Product>,
    lists_kept: Duration,
}

/// A page of a list: its filter, the number of products, and the cursor.
type ListRequest = (ProductFilter, usize, Option<String>);

#[derive(Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct NewProduct {
    #[garde(skip)]
    sku: Sku,
    // Repeats the fields of `DetailsBody` instead of flattening it: with `flatten`, serde loses the path of a
    // malformed field.
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
    /// When this was so. Only while inventory or the product cannot be read: `availability` is `low_stock` at best then.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<Timestamp>,
    version: u64,
}

impl ProductView {
    fn new(product: Product, stock: Shown) -> Self {
        let Product { sku, name, description, category, price, version, .. } = product;
        let (availability, as_of) = (stock.as_str(), stock.as_of);
        Self { sku, name, description, category, price, availability, as_of, version }
    }
}

/// The entity tag of a product as shown: its version, its stock's version, and the time of a last known value.
// All that is shown is part of it. Otherwise a client with an outdated availability would get 304.
fn etag(product: &Product, stock: Shown) -> String {
    let (product, stock, as_of) = (product.version, stock.version, stock.as_of);
    let as_of = as_of.map(|at| format!(".{}", at.as_millisecond())).unwrap_or_default();
    format!("\"{product}.{stock}{as_of}\"")
}

#[derive(Deserialize)]
struct Listing {
    category: Option<String>,
    q: Option<String>,
}

impl Listing {
    /// An empty parameter, as a form sends it, filters nothing.
    fn filter(&self) -> Result<ProductFilter, Problem> {
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
        Ok(ProductFilter { category: given("category", &self.category, CATEGORY_MAX)?, text })
    }
}

async fn list(
    State(catalog): State<Catalog>,
    Query(listing): Query<Listing>,
    http::Page { limit, cursor }: http::Page,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (filter, now) = (listing.filter()?, Timestamp::now());
    let page = catalog.page((filter, limit, cursor), now).await?;
    catalog.show(&headers, page, now).await
}

impl Catalog {
    /// A page of a list: one that was read a moment ago, or while the table does not answer, the last known one.
    async fn page(&self, wanted: ListRequest, now: Timestamp) -> Result<Read<ProductPage>, ListError> {
        let is_fresh = |at: Timestamp| {
            // A clock that was set back makes a page old, too.
            Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < self.lists_kept)
        };
        if let Some(page) = self.pages.get(&wanted, now).filter(|page| is_fresh(page.at)) {
            return Ok(Read::Current(page.value));
        }
        let (filter, limit, cursor) = wanted.clone();
        let read = async { self.store.list(&filter, limit, cursor.as_deref()).await.map(Some) };
        // Searches are not kept: there are too many different ones, and they would displace the pages that most
        // clients read.
        let page = if filter.text.is_some() {
            read.await?.map(Read::Current)
        } else {
            self.pages.or_last(wanted, now, ListError::is_outage, read).await?
        };
        Ok(page.unwrap_or_else(|| Read::Current(ProductPage::default())))
    }

    /// A product on sale; the last known one while the table does not answer.
    async fn product(&self, sku: &str, now: Timestamp) -> Result<Read<Product>, Problem> {
        let sku = parse_sku(sku)?;
        let read = self.store.on_sale(&sku);
        let product = self.products.or_last(sku.clone(), now, TableError::is_outage, read).await;
        product.map_err(|e| Problem::unavailable(&e))?.ok_or_else(not_found)
    }

    /// A list of products with their availability, or 304 when the client has the same one.
    async fn show(
        &self,
        headers: &HeaderMap,
        page: Read<ProductPage>,
        now: Timestamp,
    ) -> Result<Response, Problem> {
        let (ProductPage { products, next_cursor }, earlier) = page.into_parts();
        let skus = products.iter().map(|product| product.sku.clone());
        let stocks = self.availabilities.of(skus, now).await;
        let view = |product: Product| {
            let stock = stocks.get(&product.sku).copied().unwrap_or_default();
            ProductView::new(product, as_of(stock, earlier))
        };
        let list = List { items: products.into_iter().map(view).collect(), next_cursor };
        let body = serde_json::to_vec(&list).map_err(|e| Problem::internal(&e))?;
        // A list has no version, so the tag is a hash of what the client gets.
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&body)));
        let body = ([(header::CONTENT_TYPE, JSON)], body);
        let mut response = conditional(headers, &tag, body);
        response.headers_mut().insert(header::CACHE_CONTROL, caching(earlier, now));
        Ok(response)
    }
}

/// The stock to show with a product that was read at an earlier time, if it was.
fn as_of(stock: Shown, earlier: Option<Timestamp>) -> Shown {
    earlier.map_or(stock, |at| stock.earlier(at))
}

/// A current response may be cached for `FRESH`. One from last known values must be revalidated each time.
fn caching(earlier: Option<Timestamp>, now: Timestamp) -> HeaderValue {
    earlier.map_or_else(|| cache_control(FRESH, now, now), |at| cache_control(Duration::ZERO, at, now))
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Cursor(invalid) => invalid.into(),
            ListError::Table(error) => Self::unavailable(&error),
        }
    }
}

async fn show(
    State(catalog): State<Catalog>,
    Path(sku): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let (product, stock) =
        // Both are read concurrently: they need only the SKU, and the client waits for both.
        tokio::join!(catalog.product(&sku, now), stock_of(&catalog.availabilities, &sku, now));
    let (product, earlier) = product?.into_parts();
    let stock = as_of(stock, earlier);
    let tag = etag(&product, stock);
    let mut response = conditional(&headers, &tag, Json(ProductView::new(product, stock)));
    response.headers_mut().insert(header::CACHE_CONTROL, caching(earlier, now));
    Ok(response)
}

async fn create(
    State(Catalog { store, availabilities, pages, .. }): State<Catalog>,
    Admin(admin): Admin,
    Correlation(correlation_id): Correlation,
    Body(body): Body<NewProduct>,
) -> Result<Response, Problem> {
    let (sku, details) = body.details();
    let context = ChangeContext { by: &admin.user_id, correlation_id: &correlation_id, at: Timestamp::now() };
    let product = handler::create(&store, &sku, details, context).await?;
    pages.clear();
    let location = format!("/v1/products/{sku}");
    // A new product may have stock: inventory counts a SKU before its product is created, and after it was
    // discontinued.
    let stock = availabilities.of_one(&sku, Timestamp::now()).await;
    let product = tagged(product, stock);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], product).into_response())
}

async fn change(
    State(Catalog { store, availabilities, pages, .. }): State<Catalog>,
    Admin(admin): Admin,
    Correlation(correlation_id): Correlation,
    Path(sku): Path<String>,
    headers: HeaderMap,
    Body(body): Body<DetailsBody>,
) -> Result<Response, Problem> {
    let (known, sku) = (known(&headers)?, parse_sku(&sku)?);
    let context = ChangeContext { by: &admin.user_id, correlation_id: &correlation_id, at: Timestamp::now() };
    let product = handler::update(&store, &sku, &known, body.into(), context).await?;
    pages.clear();
    let stock = availabilities.of_one(&sku, Timestamp::now()).await;
    Ok(tagged(product, stock).into_response())
}

async fn discontinue(
    State(Catalog { store, pages, .. }): State<Catalog>,
    Admin(admin): Admin,
    Correlation(correlation_id): Correlation,
    Path(sku): Path<String>,
) -> Result<Response, Problem> {
    let context = ChangeContext { by: &admin.user_id, correlation_id: &correlation_id, at: Timestamp::now() };
    handler::discontinue(&store, &parse_sku(&sku)?, context).await?;
    pages.clear();
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Who changed the product. Its entries stay when it is discontinued.
async fn audit(
    State(Catalog { store, .. }): State<Catalog>,
    Admin(_): Admin,
    Path(sku): Path<String>,
    page: http::Page,
) -> Result<Json<List<Entry>>, Problem> {
    Ok(Json(store.audit_entries(&parse_sku(&sku)?, page).await?))
}

fn parse_sku(sku: &str) -> Result<Sku, Problem> {
    // An invalid SKU gets 404, as any SKU that is not sold: no product can have it.
    Sku::try_from(sku).map_err(|_| not_found())
}

fn not_found() -> Problem {
    Problem::not_found("There is no such product.")
}

/// The known availability of a SKU; unknown for text that is not a valid SKU.
async fn stock_of(availabilities: &AvailabilityReader, sku: &str, now: Timestamp) -> Shown {
    match Sku::try_from(sku) {
        Ok(sku) => availabilities.of_one(&sku, now).await,
        Err(_) => Shown::default(),
    }
}

/// The product versions in `If-Match`.
fn known(headers: &HeaderMap) -> Result<KnownVersions, Problem> {
    let missing =
        || Problem::new(StatusCode::PRECONDITION_REQUIRED, "Send the product's ETag in `If-Match`.");
    let tags = EntityTags::read(headers, &header::IF_MATCH).ok_or_else(missing)?;
    let version = |tag: &str| {
        // The stock's part of the tag is ignored: a sale between the administrator's read and write is no
        // conflict.
        let tag = tag.trim_matches('"');
        tag.split_once('.').map_or(tag, |(product, _)| product).parse().ok()
    };
    Ok(match tags.strong() {
        None => KnownVersions::Any,
        Some(strong) => KnownVersions::Listed(strong.filter_map(version).collect()),
    })
}

fn tagged(product: Product, stock: Shown) -> impl IntoResponse {
    ([(header::ETAG, etag(&product, stock))], Json(ProductView::new(product, stock)))
}

impl From<ProductError> for Problem {
    fn from(error: ProductError) -> Self {
        match error {
            ProductError::NotOnSale | ProductError::Change(ChangeError::Rejected(Rejected::Discontinued)) => {
                not_found()
            }
            ProductError::Change(ChangeError::Rejected(Rejected::OnSale)) => Self::conflict(SKU_EXISTS),
            ProductError::Change(ChangeError::Rejected(Rejected::VersionMismatch)) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "The product has changed since. Read it again and decide anew.",
            ),
            ProductError::Conflict(_) => Self::conflict("The product changed at this moment. Try again."),
            ProductError::Change(ChangeError::Event(_)) => Self::internal(&error),
            ProductError::Table(error) => Self::unavailable(&error),
        }
    }
}
