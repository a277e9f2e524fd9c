//! The catalogue's API against a real table: what it answers, and that a refusal writes nothing.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use catalog::{Store, handle_event, routes};
use contracts::{
    Availability, CorrelationId, Envelope, NewEvent, Sku, UserId, events::InventoryStockChanged,
};
use lambda_kit::{
    dynamodb::Table,
    http::app,
    testing::{self, Faults, Tokens},
};
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt;

struct Shop {
    app: Router,
    table: Table,
    faults: Faults,
    tokens: Tokens,
}

impl Shop {
    async fn open() -> Self {
        let (table, faults) = testing::table(&[("listing", "gsi1pk", "gsi1sk")]).await;
        let tokens = Tokens::new();
        let app = app(routes(Store::new(table.clone())), tokens.verifier());
        Self { app, table, faults, tokens }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, Value) {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn admin(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let (status, _, body) = self.send(json_request(method, path, Some(&self.tokens.admin()), body)).await;
        (status, body)
    }

    async fn get(&self, path: &str) -> (StatusCode, axum::http::HeaderMap, Value) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn items(&self) -> i32 {
        self.table.client.scan().table_name(&self.table.name).send().await.unwrap().count()
    }
}

fn json_request(method: &str, path: &str, bearer: Option<&str>, body: &Value) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(bearer) = bearer {
        request = request.header("authorization", bearer);
    }
    request.body(Body::from(body.to_string())).unwrap()
}

fn mug(sku: &str) -> Value {
    json!({"sku": sku, "name": "Mug", "description": "Blue", "category": "kitchen", "price": {"amount": 900, "currency": "USD"}})
}

#[tokio::test]
async fn a_product_is_created_read_changed_and_discontinued() {
    let shop = Shop::open().await;
    let (status, created) = shop.admin("POST", "/v1/products", &mug("MUG")).await;
    assert_eq!((status, &created["version"]), (StatusCode::CREATED, &json!(1)));
    assert_eq!(shop.admin("POST", "/v1/products", &mug("MUG")).await.0, StatusCode::CONFLICT);

    let (status, headers, body) = shop.get("/v1/products/MUG").await;
    assert_eq!(
        (status, &headers["etag"], &body["price"]["amount"]),
        (StatusCode::OK, &"\"1.0\"".parse().unwrap(), &json!(900))
    );
    let known =
        Request::get("/v1/products/MUG").header("if-none-match", "\"1.0\"").body(Body::empty()).unwrap();
    assert_eq!(shop.send(known).await.0, StatusCode::NOT_MODIFIED);

    let dearer = json!({"name": "Mug", "category": "kitchen", "price": {"amount": 950, "currency": "USD"}});
    let change = |if_match: &'static str| {
        let mut request = json_request("PUT", "/v1/products/MUG", Some(&shop.tokens.admin()), &dearer);
        request.headers_mut().insert("if-match", if_match.parse().unwrap());
        shop.send(request)
    };
    assert_eq!(change("\"1.0\"").await.2["version"], 2);
    assert_eq!(change("\"1.0\"").await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(change("\"no tag of ours\"").await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(change("\"2\"").await.2["version"], 3);
    assert_eq!(shop.admin("PUT", "/v1/products/MUG", &dearer).await.0, StatusCode::PRECONDITION_REQUIRED);

    assert_eq!(shop.admin("DELETE", "/v1/products/MUG", &Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(shop.get("/v1/products/MUG").await.0, StatusCode::NOT_FOUND);
    assert_eq!(shop.get("/v1/products").await.2["items"], json!([]));
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
async fn a_product_shows_what_inventory_told_of_its_stock_and_its_tag_covers_it() {
    let shop = Shop::open().await;
    let store = Store::new(shop.table.clone());
    // The stock may be told of before the product is there.
    handle_event(&store, stock_changed("MUG", 4, Availability::LowStock)).await.unwrap();
    let (_, created) = shop.admin("POST", "/v1/products", &mug("MUG")).await;
    assert_eq!(created["availability"], "low_stock");
    shop.admin("POST", "/v1/products", &mug("CUP")).await;

    let (_, headers, body) = shop.get("/v1/products/MUG").await;
    assert_eq!((&headers["etag"], &body["availability"]), (&"\"1.4\"".parse().unwrap(), &json!("low_stock")));
    let (_, _, list) = shop.get("/v1/products").await;
    let shown: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|item| &item["availability"]).collect();
    assert_eq!(shown, ["unknown", "low_stock"], "CUP, MUG");

    // Whatever became of the stock, a change is compared with the product's own version.
    let body = json!({"name": "Mug", "category": "kitchen", "price": {"amount": 950, "currency": "USD"}});
    let mut request = json_request("PUT", "/v1/products/MUG", Some(&shop.tokens.admin()), &body);
    request.headers_mut().insert("if-match", "\"1.3\"".parse().unwrap());
    let (status, headers, changed) = shop.send(request).await;
    assert_eq!((status, &changed["version"]), (StatusCode::OK, &json!(2)));
    assert_eq!(headers["etag"], "\"2.4\"");
}

#[tokio::test]
async fn availability_that_cannot_be_read_is_unknown_and_refuses_nobody() {
    let shop = Shop::open().await;
    shop.admin("POST", "/v1/products", &mug("MUG")).await;
    // Another process, that knows nothing yet.
    let app = app(routes(Store::new(shop.table.clone())), shop.tokens.verifier());
    let shop = Shop { app, ..shop };
    shop.faults.refuse("BatchGetItem", 3);
    let (status, _, body) = shop.get("/v1/products/MUG").await;
    assert_eq!((status, &body["availability"]), (StatusCode::OK, &json!("unknown")));
}

#[tokio::test]
async fn the_list_is_read_page_by_page() {
    let shop = Shop::open().await;
    for sku in ["A", "B", "C"] {
        shop.admin("POST", "/v1/products", &mug(sku)).await;
    }
    let (_, _, first) = shop.get("/v1/products?limit=2").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let (_, _, second) = shop.get(&format!("/v1/products?limit=2&cursor={cursor}")).await;
    let skus = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|p| p["sku"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((skus(&first), skus(&second)), (vec!["A".into(), "B".into()], vec!["C".into()]));
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_product_whose_answer_was_lost_is_created_once() {
    let shop = Shop::open().await;
    shop.faults.lose_answers("PutItem", 1);
    assert_eq!(shop.admin("POST", "/v1/products", &mug("MUG")).await.0, StatusCode::CREATED);
    assert_eq!(shop.items().await, 1);
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_503() {
    let shop = Shop::open().await;
    shop.faults.refuse("GetItem", 3);
    let (status, headers, body) = shop.get("/v1/products/MUG").await;
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
#[case::malformed_sku("GET", "/v1/products/a%20b", "none", String::new(), 404)]
#[case::unknown_route("GET", "/v1/products/A/b/c", "none", String::new(), 404)]
#[case::wrong_method("PATCH", "/v1/products", "none", String::new(), 405)]
#[case::bad_limit("GET", "/v1/products?limit=0", "none", String::new(), 422)]
#[case::bad_cursor("GET", "/v1/products?cursor=%21", "none", String::new(), 422)]
#[tokio::test]
async fn a_refusal_is_a_problem_and_writes_nothing(
    #[case] method: &str,
    #[case] path: &str,
    #[case] who: &str,
    #[case] body: String,
    #[case] expected: u16,
) {
    let shop = Shop::open().await;
    let user = UserId::generate();
    let bearer = match who {
        "admin" => Some(shop.tokens.admin()),
        "user" => Some(shop.tokens.user(&user)),
        "expired" => Some(shop.tokens.expired(&user)),
        "bad" => Some("Bearer a.b.c".to_owned()),
        _ => None,
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("x-correlation-id", "test-1");
    if let Some(bearer) = &bearer {
        request = request.header("authorization", bearer);
    }
    let (status, headers, problem) = shop.send(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(status.as_u16(), expected, "{problem}");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["x-correlation-id"], "test-1");
    assert_eq!(problem["status"], expected);
    assert_eq!(problem["correlation_id"], "test-1");
    assert_eq!(problem["instance"], path.split('?').next().unwrap());
    assert_eq!(problem["errors"].is_array(), expected == 422);
    assert_eq!(headers.contains_key("www-authenticate"), expected == 401);
    assert_eq!(shop.items().await, 0);
}

#[tokio::test]
async fn a_body_that_is_no_json_by_its_type_is_415() {
    let shop = Shop::open().await;
    let mut request = json_request("POST", "/v1/products", Some(&shop.tokens.admin()), &mug("A"));
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(shop.send(request).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
