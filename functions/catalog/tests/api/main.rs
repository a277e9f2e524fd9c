//! The catalogue's API with a real table: its responses, and that a refused request writes nothing.

mod audit;
mod outage;

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use catalog::{InventoryProbe, Store, handle_event, routes};
use contracts::{
    Availability, CorrelationId, Currency, Envelope, Money, NewEvent, OrderLine, Position, Sku, Switch,
    UserId,
    events::{InventoryStockChanged, OrderCompleted},
};
use lambda_kit::{
    dynamodb::{Table, string},
    switch::FeatureSwitch,
    testing::{self, App, Faults, Tokens, request},
};
use rstest::rstest;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

struct TestApi {
    app: App,
    table: Table,
    faults: Faults,
    tokens: Tokens,
    inventory: MockServer,
}

/// Inventory, which is well.
async fn inventory() -> (InventoryProbe, MockServer) {
    let server = MockServer::start().await;
    let well = ResponseTemplate::new(200).set_body_json(json!({"status": "ok", "checks": {}}));
    Mock::given(any()).respond_with(well).mount(&server).await;
    let (sdk, _) = testing::sdk_config(&server.uri());
    (InventoryProbe::new(&(&sdk).into(), "test".to_owned()), server)
}

fn limited_stock() -> FeatureSwitch {
    FeatureSwitch::fixed(Switch::LimitedStock, Position::On)
}

impl TestApi {
    async fn open() -> Self {
        Self::keeping_lists(Duration::ZERO).await
    }

    /// With pages of lists that are kept for so long.
    async fn keeping_lists(kept: Duration) -> Self {
        let (table, faults) =
            testing::table(&[("listing", "gsi1pk", "gsi1sk"), ("category", "gsi2pk", "gsi2sk")]).await;
        let tokens = Tokens::new();
        let (asked, inventory) = inventory().await;
        let app =
            App::new(routes(Store::new(table.clone()), asked, limited_stock(), kept), tokens.verifier());
        Self { app, table, faults, tokens, inventory }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
        let response = self.app.send(request).await;
        (response.status, response.headers, response.body)
    }

    async fn admin(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let (status, _, body) = self.send(json_request(method, path, &self.tokens.admin(), body)).await;
        (status, body)
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, Value) {
        self.get_if_none_match(path, None).await
    }

    async fn get_if_none_match(&self, path: &str, tags: Option<&str>) -> (StatusCode, HeaderMap, Value) {
        let known = tags.map(|tags| ("if-none-match", tags));
        self.send(request("GET", path, known.as_slice(), "")).await
    }

    /// The number of items, without audit entries.
    async fn items(&self) -> i32 {
        let scan = self.table.scan().filter_expression("NOT begins_with(pk, :audit)");
        let scan = scan.expression_attribute_values(":audit", string("AUDIT#"));
        scan.send().await.unwrap().count()
    }

    async fn put(&self, sku: &str, tag: &str, body: &Value) -> (StatusCode, Value) {
        let path = format!("/v1/products/{sku}");
        let mut request = json_request("PUT", &path, &self.tokens.admin(), body);
        request.headers_mut().insert("if-match", tag.parse().unwrap());
        let (status, _, body) = self.send(request).await;
        (status, body)
    }

    /// The SKUs of all pages of a list, and the size of each page.
    async fn walk(&self, query: &str, limit: usize) -> (Vec<String>, Vec<usize>) {
        let (mut skus, mut pages, mut cursor) = (vec![], vec![], String::new());
        loop {
            let path = format!("/v1/products?limit={limit}{query}{cursor}");
            let (status, _, page) = self.get(&path).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let items = page["items"].as_array().unwrap();
            skus.extend(items.iter().map(|item| item["sku"].as_str().unwrap().to_owned()));
            pages.push(items.len());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (skus, pages),
            }
        }
    }

    async fn found(&self, query: &str) -> Vec<String> {
        self.walk(query, 100).await.0
    }
}

fn json_request(method: &str, path: &str, bearer: &str, body: &Value) -> Request<Body> {
    let headers = [("content-type", "application/json"), ("authorization", bearer)];
    request(method, path, &headers, body.to_string())
}

fn mug(sku: &str) -> Value {
    json!({"sku": sku, "name": "Mug", "description": "Blue", "category": "kitchen", "price": {"amount": 900, "currency": "USD"}})
}

#[tokio::test]
async fn a_product_is_created_read_changed_and_discontinued() {
    let api = TestApi::open().await;
    let (status, created) = api.admin("POST", "/v1/products", &mug("MUG")).await;
    assert_eq!((status, &created["version"]), (StatusCode::CREATED, &json!(1)));
    assert_eq!(api.admin("POST", "/v1/products", &mug("MUG")).await.0, StatusCode::CONFLICT);

    let (status, headers, body) = api.get("/v1/products/MUG").await;
    assert_eq!(
        (status, &headers["etag"], &body["price"]["amount"]),
        (StatusCode::OK, &"\"1.0\"".parse().unwrap(), &json!(900))
    );
    let known = api.get_if_none_match("/v1/products/MUG", Some("\"1.0\"")).await;
    assert_eq!(known.0, StatusCode::NOT_MODIFIED);

    let dearer = json!({"name": "Mug", "category": "kitchen", "price": {"amount": 950, "currency": "USD"}});
    let change = |if_match: &'static str| {
        let mut request = json_request("PUT", "/v1/products/MUG", &api.tokens.admin(), &dearer);
        request.headers_mut().insert("if-match", if_match.parse().unwrap());
        api.send(request)
    };
    assert_eq!(change("\"1.0\"").await.2["version"], 2);
    assert_eq!(change("\"1.0\"").await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(change("\"no tag of ours\"").await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(change("\"2\"").await.2["version"], 3);
    assert_eq!(change("\"7\", \"3.0\"").await.2["version"], 4, "one of several");
    assert_eq!(change("*").await.2["version"], 5, "whatever it is now");
    assert_eq!(change("W/\"5.0\"").await.0, StatusCode::PRECONDITION_FAILED, "strong comparison");
    assert_eq!(change("5").await.0, StatusCode::PRECONDITION_FAILED, "no tag");
    assert_eq!(api.admin("PUT", "/v1/products/MUG", &dearer).await.0, StatusCode::PRECONDITION_REQUIRED);

    assert_eq!(api.admin("DELETE", "/v1/products/MUG", &Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(api.get("/v1/products/MUG").await.0, StatusCode::NOT_FOUND);
    assert_eq!(api.get("/v1/products").await.2["items"], json!([]));
}

#[tokio::test]
async fn a_discontinued_product_is_sold_again_and_its_versions_go_on() {
    let api = TestApi::open().await;
    api.admin("POST", "/v1/products", &mug("MUG")).await;
    api.admin("DELETE", "/v1/products/MUG", &Value::Null).await;
    let again = named("MUG", "Cup", "kitchen");
    let (status, created) = api.admin("POST", "/v1/products", &again).await;
    assert_eq!(
        (status, &created["version"], &created["name"]),
        (StatusCode::CREATED, &json!(3), &json!("Cup"))
    );
    assert_eq!(api.admin("POST", "/v1/products", &again).await.0, StatusCode::CONFLICT);
    assert_eq!(api.get("/v1/products/MUG").await.2["version"], 3);
    assert_eq!(api.found("&q=cup").await, ["MUG"]);
    assert!(api.found("&q=mug").await.is_empty());
}

#[rstest]
#[case(r#"W/"1.0""#, 304)]
#[case(r#""7.0", W/"1.0""#, 304)]
#[case("*", 304)]
#[case(r#""7.0""#, 200)]
#[case("1.0", 200)]
#[tokio::test]
async fn a_client_that_has_the_product_gets_nothing(#[case] tags: &str, #[case] expected: u16) {
    let api = TestApi::open().await;
    api.admin("POST", "/v1/products", &mug("MUG")).await;
    let (status, headers, _) = api.get_if_none_match("/v1/products/MUG", Some(tags)).await;
    assert_eq!(status.as_u16(), expected);
    assert_eq!(headers["etag"], "\"1.0\"");
    let (_, headers, _) = api.get("/v1/products").await;
    let weak = format!("\"x\", W/{}", headers["etag"].to_str().unwrap());
    let known = api.get_if_none_match("/v1/products", Some(&weak)).await;
    assert_eq!(known.0, StatusCode::NOT_MODIFIED);
}

#[rstest]
#[case("Café au lait", "cafe")]
#[case("Cafe\u{301} au lait", "CAFÉ")]
#[case("Straßenkreide", "strassen")]
#[tokio::test]
async fn a_product_is_found_however_its_name_is_spelled(#[case] name: &str, #[case] q: &str) {
    let api = TestApi::open().await;
    api.admin("POST", "/v1/products", &named("MUG", name, "kitchen")).await;
    assert_eq!(api.found(&format!("&q={}", percent(q))).await, ["MUG"]);
}

/// A text in a query.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[rstest]
#[case("/name", json!("   "), "name")]
#[case("/name", json!("\t"), "name")]
#[case("/name", json!("\u{a0}"), "name")]
#[case("/name", json!("\u{200b}"), "name")]
#[case("/name", json!("a\r\nb"), "name")]
#[case("/name", json!(5), "name")]
#[case("/category", json!("  "), "category")]
#[case("/description", json!("a\u{0}b"), "description")]
#[case("/price", json!({"amount": 1234, "currency": "KWD"}), "price")]
#[case("/price", json!({"amount": 500_050, "currency": "MGA"}), "price")]
#[case("/price", json!({"amount": 100, "currency": "XAU"}), "price")]
#[case("/price", json!({"amount": 100, "currency": "XYZ"}), "price.currency")]
#[case("/price", json!({"amount": "100", "currency": "USD"}), "price.amount")]
#[case("/price", json!({"amount": 100}), "price.currency")]
#[case("/price", json!("9 dollars"), "price")]
#[tokio::test]
async fn a_product_that_cannot_be_shown_or_sold_is_refused(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] field: &str,
) {
    let api = TestApi::open().await;
    let mut product = mug("MUG");
    *product.pointer_mut(pointer).unwrap() = value;
    let (status, problem) = api.admin("POST", "/v1/products", &product).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    assert_eq!(api.items().await, 0);
}

#[rstest]
#[case("/v1/products?limit=x", "limit")]
#[case("/v1/products?limit=1&limit=2", "limit")]
#[tokio::test]
async fn a_parameter_that_cannot_be_read_is_named(#[case] path: &str, #[case] field: &str) {
    let (status, _, problem) = TestApi::open().await.get(path).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)));
}

/// `inventory.stock_changed`, as inventory's relay publishes it.
fn stock_changed(sku: &str, sequence: u64, availability: Availability) -> Envelope {
    let new = NewEvent {
        source: "inventory",
        subject: sku,
        sequence,
        occurred_at: jiff::Timestamp::UNIX_EPOCH,
        correlation_id: &CorrelationId::generate(),
        causation_id: "test",
        user_id: None,
    };
    let sku = Sku::try_from(sku).unwrap();
    Envelope::new(new, &InventoryStockChanged { sku, availability }).unwrap()
}

#[tokio::test]
async fn a_product_shows_its_published_stock_and_its_tag_covers_it() {
    let api = TestApi::open().await;
    let store = Store::new(api.table.clone());
    // A stock event may arrive before its product exists.
    handle_event(&store, stock_changed("MUG", 4, Availability::LowStock)).await.unwrap();
    let (_, created) = api.admin("POST", "/v1/products", &mug("MUG")).await;
    assert_eq!(created["availability"], "low_stock");
    api.admin("POST", "/v1/products", &mug("CUP")).await;

    let (_, headers, body) = api.get("/v1/products/MUG").await;
    assert_eq!((&headers["etag"], &body["availability"]), (&"\"1.4\"".parse().unwrap(), &json!("low_stock")));
    let (_, _, list) = api.get("/v1/products").await;
    let shown: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|item| &item["availability"]).collect();
    assert_eq!(shown, ["unknown", "low_stock"], "CUP, MUG");

    // Whatever happens to the stock, a change is compared with the product's own version.
    let body = json!({"name": "Mug", "category": "kitchen", "price": {"amount": 950, "currency": "USD"}});
    let mut request = json_request("PUT", "/v1/products/MUG", &api.tokens.admin(), &body);
    request.headers_mut().insert("if-match", "\"1.3\"".parse().unwrap());
    let (status, headers, changed) = api.send(request).await;
    assert_eq!((status, &changed["version"]), (StatusCode::OK, &json!(2)));
    assert_eq!(headers["etag"], "\"2.4\"");
}

#[tokio::test]
async fn availability_that_cannot_be_read_is_unknown_and_refuses_no_request() {
    let api = TestApi::open().await;
    api.admin("POST", "/v1/products", &mug("MUG")).await;
    // Another process, with an empty cache.
    let (asked, _server) = inventory().await;
    let routes = routes(Store::new(api.table.clone()), asked, limited_stock(), Duration::ZERO);
    let app = App::new(routes, api.tokens.verifier());
    let api = TestApi { app, ..api };
    api.faults.refuse("BatchGetItem", 3);
    let (status, _, body) = api.get("/v1/products/MUG").await;
    assert_eq!((status, &body["availability"]), (StatusCode::OK, &json!("unknown")));
}

#[tokio::test]
async fn a_page_of_a_list_is_not_read_again_for_a_moment_and_a_search_is() {
    let api = TestApi::keeping_lists(Duration::from_secs(60)).await;
    api.admin("POST", "/v1/products", &mug("MUG")).await;
    let queries = async |path: &str| {
        api.faults.reset();
        let (status, _, body) = api.get(path).await;
        assert_eq!((status, body["items"].as_array().map(Vec::len)), (StatusCode::OK, Some(1)), "{path}");
        api.faults.calls().iter().filter(|call| *call == "Query").count()
    };
    assert_eq!(queries("/v1/products").await, 1);
    assert_eq!(queries("/v1/products").await, 0);
    assert_eq!(queries("/v1/products?limit=7").await, 1, "another page");
    for _ in 0..2 {
        assert!(queries("/v1/products?q=mug").await >= 1);
    }
}

#[tokio::test]
async fn a_page_of_a_list_is_read_again_after_a_change() {
    let api = TestApi::keeping_lists(Duration::from_secs(60)).await;
    let skus = async || {
        let (_, _, body) = api.get("/v1/products").await;
        body["items"].as_array().unwrap().iter().map(|item| item["sku"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(skus().await.len(), 0);
    api.admin("POST", "/v1/products", &mug("MUG")).await;
    assert_eq!(skus().await, ["MUG"]);
    let (status, _) = api.put("MUG", "*", &named("MUG", "A cup", "kitchen")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(api.get("/v1/products").await.2["items"][0]["name"], "A cup");
    api.admin("DELETE", "/v1/products/MUG", &Value::Null).await;
    assert_eq!(skus().await.len(), 0);
}

fn named(sku: &str, name: &str, category: &str) -> Value {
    json!({"sku": sku, "name": name, "category": category, "price": {"amount": 900, "currency": "USD"}})
}

async fn api_with(products: &[(&str, &str, &str)]) -> TestApi {
    let api = TestApi::open().await;
    for (sku, name, category) in products {
        let (status, body) = api.admin("POST", "/v1/products", &named(sku, name, category)).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
    }
    api
}

#[rstest]
#[case::two_and_one(2, &[2, 1])]
#[case::exactly_all(3, &[3])]
#[case::one_by_one(1, &[1, 1, 1])]
#[tokio::test]
async fn every_list_is_read_page_by_page(#[case] limit: usize, #[case] pages: &[usize]) {
    let api = api_with(&[
        ("C", "Mug, small mug", "kitchen"),
        ("A", "Blue mug", "kitchen"),
        ("D", "Lamp", "home"),
        ("B", "Mug", "kitchen"),
    ])
    .await;
    for (query, skus) in [
        ("&category=kitchen", ["A", "B", "C"]),
        ("&q=mug", ["A", "B", "C"]),
        ("&q=MU&category=kitchen", ["A", "B", "C"]),
    ] {
        let (found, sizes) = api.walk(query, limit).await;
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!((sorted, sizes), (skus.map(String::from).to_vec(), pages.to_vec()), "{query}: {found:?}");
    }
    assert_eq!(api.found("").await, ["A", "B", "C", "D"]);
    assert_eq!(api.found("&category=&q=+").await, ["A", "B", "C", "D"], "what is empty filters nothing");
}

#[rstest]
#[case::by_its_first_word("blue", &["BIG", "BLUE"])]
#[case::by_two_words("blue%20m", &["BIG", "BLUE"])]
#[case::by_a_letter("b", &["BIG", "BLUE"])]
#[case::by_other_signs("blue-mug", &["BIG", "BLUE"])]
#[case::not_inside_a_word("lue", &[])]
#[case::not_without_a_word("!%20%21", &[])]
#[case::beyond_ascii("gr%C3%B6%C3%9F", &["GREAT"])]
#[tokio::test]
async fn products_are_found_by_the_beginning_of_a_word(#[case] q: &str, #[case] expected: &[&str]) {
    let api = api_with(&[
        ("BLUE", "Blue mug", "kitchen"),
        ("BIG", "Big blue mug", "kitchen"),
        ("GREAT", "Kanne, GRÖSSTE Größe", "kitchen"),
    ])
    .await;
    let mut found = api.found(&format!("&q={q}")).await;
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_product_is_found_where_it_is_now_and_no_longer_where_it_was() {
    let api = api_with(&[("MUG", "Big blue mug", "kitchen")]).await;
    let items = api.items().await;
    api.faults.reset();

    // Another price changes no list.
    let dearer =
        json!({"name": "Big blue mug", "category": "kitchen", "price": {"amount": 950, "currency": "USD"}});
    assert_eq!(api.put("MUG", "\"1\"", &dearer).await.0, StatusCode::OK);
    assert_eq!(api.faults.calls(), ["GetItem", "TransactWriteItems"]);
    assert_eq!(api.items().await, items);

    assert_eq!(api.put("MUG", "\"2\"", &named("MUG", "Red mug", "gifts")).await.0, StatusCode::OK);
    for gone in ["&q=big", "&q=blue", "&category=kitchen", "&category=kitchen&q=mug"] {
        assert!(api.found(gone).await.is_empty(), "{gone}");
    }
    for now in ["&q=red", "&q=mug", "&category=gifts", "&category=gifts&q=red%20mug", ""] {
        assert_eq!(api.found(now).await, ["MUG"], "{now}");
    }
    assert_eq!(api.items().await, items - 1, "a word less");

    api.admin("DELETE", "/v1/products/MUG", &Value::Null).await;
    for gone in ["&q=red", "&category=gifts", ""] {
        assert!(api.found(gone).await.is_empty(), "{gone}");
    }
    assert_eq!(api.items().await, 1, "the product itself, whose SKU is never used again");
}

#[tokio::test]
async fn a_cursor_belongs_to_its_list() {
    let api = api_with(&[("A", "Mug", "kitchen"), ("B", "Mug", "kitchen"), ("C", "Mug", "home")]).await;
    let lists = ["", "&category=kitchen", "&q=mug", "&q=mu", "&category=kitchen&q=mug"];
    for list in lists {
        let (_, _, page) = api.get(&format!("/v1/products?limit=1{list}")).await;
        let cursor = page["next_cursor"].as_str().unwrap().to_owned();
        for other in lists {
            let (status, _, body) = api.get(&format!("/v1/products?limit=1{other}&cursor={cursor}")).await;
            if other == list {
                assert_eq!(status, StatusCode::OK);
            } else {
                assert_eq!(
                    (status, &body["errors"][0]["field"]),
                    (StatusCode::UNPROCESSABLE_ENTITY, &json!("cursor"))
                );
            }
        }
    }
}

#[tokio::test]
async fn a_list_that_is_the_same_is_not_sent_again() {
    let api = api_with(&[("A", "Mug", "kitchen")]).await;
    let (_, headers, _) = api.get("/v1/products?q=mug").await;
    assert_eq!(headers["cache-control"], "public, max-age=5, stale-if-error=1800");
    let tag = headers["etag"].to_str().unwrap();
    let ask = || api.get_if_none_match("/v1/products?q=mug", Some(tag));
    assert_eq!(ask().await.0, StatusCode::NOT_MODIFIED);
    api.put("A", "*", &named("A", "Mug, new", "kitchen")).await;
    assert_eq!(ask().await.0, StatusCode::OK);
}

/// An order of these products has completed.
fn completed(order: &str, skus: &[&str]) -> Envelope {
    let new = NewEvent {
        source: "orders",
        subject: order,
        sequence: 6,
        occurred_at: jiff::Timestamp::UNIX_EPOCH,
        correlation_id: &CorrelationId::generate(),
        causation_id: "test",
        user_id: None,
    };
    let items = skus.iter().map(|sku| OrderLine { sku: Sku::try_from(*sku).unwrap(), quantity: 1 });
    let total = Money::zero(Currency::USD);
    Envelope::new(new, &OrderCompleted { total, items: items.collect() }).unwrap()
}

#[tokio::test]
async fn related_are_products_on_sale_that_were_bought_together_the_most_frequent_first() {
    let api = api_with(&[("A", "Mug", "k"), ("B", "Cup", "k"), ("C", "Tea", "k"), ("D", "Pot", "k")]).await;
    let store = Store::new(api.table.clone());
    for (order, skus) in [("1", &["A", "B"][..]), ("2", &["A", "C", "GONE"]), ("3", &["A", "C", "D"])] {
        handle_event(&store, completed(order, skus)).await.unwrap();
    }
    api.admin("DELETE", "/v1/products/D", &Value::Null).await;
    let (status, headers, related) = api.get("/v1/products/A/related").await;
    assert_eq!((status, &related["next_cursor"]), (StatusCode::OK, &Value::Null));
    let skus: Vec<&Value> = related["items"].as_array().unwrap().iter().map(|item| &item["sku"]).collect();
    assert_eq!(skus, ["C", "B"]);
    assert_eq!(related["items"][0]["price"]["amount"], 900);
    assert_eq!(headers["cache-control"], "public, max-age=5, stale-if-error=1800");
    assert!(headers.contains_key("etag"));

    api.admin("POST", "/v1/products", &mug("NEW")).await;
    let (status, _, none) = api.get("/v1/products/NEW/related").await;
    assert_eq!((status, none), (StatusCode::OK, json!({"items": [], "next_cursor": null})));
}

#[tokio::test]
async fn of_two_changes_at_once_one_gets_a_precondition_error() {
    let api = api_with(&[("A", "Mug", "kitchen")]).await;
    let (left, right) = (named("A", "Left mug", "kitchen"), named("A", "Right mug", "kitchen"));
    let both = tokio::join!(api.put("A", "\"1\"", &left), api.put("A", "\"1\"", &right));
    let mut statuses = [both.0.0.as_u16(), both.1.0.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    assert_eq!(api.found("&q=left").await.len() + api.found("&q=right").await.len(), 1);
}

#[tokio::test]
async fn a_product_whose_answer_was_lost_is_created_once() {
    let api = TestApi::open().await;
    api.faults.lose_answers("TransactWriteItems", 1);
    assert_eq!(api.admin("POST", "/v1/products", &mug("MUG")).await.0, StatusCode::CREATED);
    assert_eq!(api.items().await, 2, "it and where it is found by its one word");
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_503() {
    let api = TestApi::open().await;
    api.faults.refuse("GetItem", 3);
    let (status, headers, body) = api.get("/v1/products/MUG").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key("retry-after"));
    assert!(!body["detail"].as_str().unwrap().contains("refused by the test"), "nothing internal leaks");
}

#[rstest]
#[case::no_token("POST", "/v1/products", "none", mug("A").to_string(), 401)]
#[case::bad_token("POST", "/v1/products", "bad", mug("A").to_string(), 401)]
#[case::expired_token("POST", "/v1/products", "expired", mug("A").to_string(), 401)]
#[case::customer("POST", "/v1/products", "user", mug("A").to_string(), 403)]
#[case::no_json("POST", "/v1/products", "admin", "{".to_owned(), 400)]
#[case::missing_name("POST", "/v1/products", "admin", json!({"sku": "A"}).to_string(), 422)]
#[case::bad_sku("POST", "/v1/products", "admin", mug("A B").to_string(), 422)]
#[case::bad_price("POST", "/v1/products", "admin", mug("A").to_string().replace("900", "-1"), 422)]
#[case::price_with_fraction("POST", "/v1/products", "admin", mug("A").to_string().replace("900", "9.5"), 422)]
#[case::too_large("POST", "/v1/products", "admin", format!("{{\"sku\":\"{}\"}}", "A".repeat(70_000)), 413)]
#[case::unknown_product("GET", "/v1/products/NONE", "none", String::new(), 404)]
#[case::related_to_nothing("GET", "/v1/products/NONE/related", "none", String::new(), 404)]
#[case::related_to_no_sku("GET", "/v1/products/a%20b/related", "none", String::new(), 404)]
#[case::malformed_sku("GET", "/v1/products/a%20b", "none", String::new(), 404)]
#[case::unknown_route("GET", "/v1/products/A/b/c", "none", String::new(), 404)]
#[case::wrong_method("PATCH", "/v1/products", "none", String::new(), 405)]
#[case::bad_limit("GET", "/v1/products?limit=0", "none", String::new(), 422)]
#[case::bad_cursor("GET", "/v1/products?cursor=%21", "none", String::new(), 422)]
#[case::cursor_of_nothing("GET", "/v1/products?cursor=e30", "none", String::new(), 422)]
#[case::long_text("GET", &*format!("/v1/products?q={}", "a".repeat(201)), "none", String::new(), 422)]
#[case::two_limits("GET", "/v1/products?limit=1&limit=2", "none", String::new(), 422)]
#[tokio::test]
async fn a_refusal_is_a_problem_and_writes_nothing(
    #[case] method: &str,
    #[case] path: &str,
    #[case] who: &str,
    #[case] body: String,
    #[case] expected: u16,
) {
    let api = TestApi::open().await;
    let user = UserId::generate();
    let bearer = match who {
        "admin" => Some(api.tokens.admin()),
        "user" => Some(api.tokens.user(&user)),
        "expired" => Some(api.tokens.expired(&user)),
        "bad" => Some("Bearer a.b.c".to_owned()),
        _ => None,
    };
    let mut sent = vec![("content-type", "application/json"), ("x-correlation-id", "test-1")];
    sent.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let (status, headers, problem) = api.send(request(method, path, &sent, body)).await;
    assert_eq!(status.as_u16(), expected, "{problem}");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["x-correlation-id"], "test-1");
    assert_eq!(problem["status"], expected);
    assert_eq!(problem["correlation_id"], "test-1");
    assert_eq!(problem["instance"], path.split('?').next().unwrap());
    assert_eq!(problem["errors"].is_array(), expected == 422);
    assert_eq!(headers.contains_key("www-authenticate"), expected == 401);
    assert_eq!(api.items().await, 0);
}

#[tokio::test]
async fn a_body_that_is_no_json_by_its_type_is_415() {
    let api = TestApi::open().await;
    let mut request = json_request("POST", "/v1/products", &api.tokens.admin(), &mug("A"));
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    let (status, headers, _) = api.send(request).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(headers["accept"], "application/json");
}
