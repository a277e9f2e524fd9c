//! While a table or inventory does not answer, last known values are shown, and nothing can be changed.

use axum::http::HeaderMap;

use super::*;

impl TestApi {
    /// All reads of the table fail from now on.
    fn table_is_down(&self) {
        for operation in ["Query", "GetItem", "BatchGetItem"] {
            self.faults.refuse(operation, u32::MAX);
        }
    }
}

/// With a mug in stock.
async fn api() -> TestApi {
    let api = TestApi::open().await;
    let store = Store::new(api.table.clone());
    handle_event(&store, stock_changed("MUG", 4, Availability::InStock)).await.unwrap();
    assert_eq!(api.admin("POST", "/v1/products", &mug("MUG")).await.0, StatusCode::CREATED);
    api
}

fn caching(headers: &HeaderMap) -> (&str, u32) {
    let text = headers["cache-control"].to_str().unwrap();
    let (fresh, stale) = text.rsplit_once('=').unwrap();
    (fresh, stale.parse().unwrap())
}

#[tokio::test]
async fn while_the_table_does_not_answer_lists_and_products_are_shown_as_they_were() {
    let api = api().await;
    for path in ["/v1/products", "/v1/products/MUG"] {
        let shown = |body: &Value| body.pointer("/items/0").unwrap_or(body).clone();
        let (_, headers, body) = api.get(path).await;
        let current = shown(&body);
        assert_eq!((&current["availability"], current.get("as_of")), (&json!("in_stock"), None));
        assert_eq!(caching(&headers), ("public, max-age=5, stale-if-error", 1800));

        api.table_is_down();
        let tag = headers["etag"].to_str().unwrap();
        let (status, headers, body) = api.get_if_none_match(path, Some(tag)).await;
        let mut earlier = shown(&body);
        assert_eq!((status, &earlier["availability"]), (StatusCode::OK, &json!("low_stock")), "{path}");
        let (fresh, stale) = caching(&headers);
        assert!(fresh == "public, max-age=0, stale-if-error" && (1700..=1800).contains(&stale), "{stale}");
        assert!(earlier["as_of"].take().is_string());
        assert_eq!(earlier["price"], current["price"]);

        api.faults.reset();
        assert_eq!(api.get(path).await.2, body_of(&current, path), "when the table is back");
    }
}

/// The answer that shows this product.
fn body_of(product: &Value, path: &str) -> Value {
    if path.ends_with("MUG") { product.clone() } else { json!({"items": [product], "next_cursor": null}) }
}

#[rstest]
#[case::an_unknown_product("GET", "/v1/products/CUP", 503)]
#[case::what_cannot_be_a_product("GET", "/v1/products/a%20b", 404)]
#[case::another_list("GET", "/v1/products?limit=7", 503)]
#[case::a_search("GET", "/v1/products?q=mug", 503)]
#[case::a_cursor_of_no_list("GET", "/v1/products?cursor=x", 422)]
#[case::a_limit_of_none("GET", "/v1/products?limit=0", 422)]
#[case::what_is_bought_with_it("GET", "/v1/products/MUG/related", 503)]
#[case::a_change("PUT", "/v1/products/MUG", 503)]
#[case::an_end("DELETE", "/v1/products/MUG", 503)]
#[tokio::test]
async fn a_last_known_value_replaces_no_other_answer(
    #[case] method: &str,
    #[case] path: &str,
    #[case] status: u16,
) {
    let api = api().await;
    for known in ["/v1/products", "/v1/products/MUG", "/v1/products?q=mug"] {
        assert_eq!(api.get(known).await.0, StatusCode::OK);
    }
    api.table_is_down();
    let body = json!({"name": "Mug", "category": "kitchen", "price": {"amount": 950, "currency": "USD"}});
    let mut request = json_request(method, path, &api.tokens.admin(), &body);
    request.headers_mut().insert("if-match", "*".parse().unwrap());
    assert_eq!(api.send(request).await.0.as_u16(), status);
}

#[tokio::test]
async fn a_product_that_was_seen_to_be_gone_is_not_shown_again() {
    let api = api().await;
    assert_eq!(api.get("/v1/products/MUG").await.0, StatusCode::OK);
    assert_eq!(api.admin("DELETE", "/v1/products/MUG", &Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(api.get("/v1/products/MUG").await.0, StatusCode::NOT_FOUND);
    api.table_is_down();
    assert_eq!(api.get("/v1/products/MUG").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn while_inventory_is_down_stock_is_limited_as_of_its_last_event() {
    let api = TestApi::open().await;
    api.inventory.reset().await;
    let store = Store::new(api.table.clone());
    handle_event(&store, stock_changed("MUG", 4, Availability::InStock)).await.unwrap();
    api.admin("POST", "/v1/products", &mug("MUG")).await;

    let (_, headers, product) = api.get("/v1/products/MUG").await;
    let limited = (&json!("low_stock"), &json!("1970-01-01T00:00:00Z"));
    assert_eq!((&product["availability"], &product["as_of"]), limited);
    assert_eq!(headers["etag"], "\"1.4.0\"", "another one than that of the product in stock");
    let (_, headers, list) = api.get("/v1/products").await;
    assert_eq!((&list["items"][0]["availability"], &list["items"][0]["as_of"]), limited);
    assert_eq!(caching(&headers), ("public, max-age=5, stale-if-error", 1800));
}
