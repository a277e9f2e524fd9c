use axum::http::StatusCode;
use contracts::{
    Availability::{InStock, LowStock, OutOfStock},
    Position,
};
use lambda_kit::testing::{Response, sdk_config};
use rstest::rstest;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use super::*;
use crate::{
    api::tests::{TestApi, api_with, two_mugs, with},
    testing::forecast,
};

/// An API with these answers of its peers: mugs are low, 99 mugs and cups are out of stock, and only Germany
/// is served.
async fn api(failing: &'static [&'static str]) -> (TestApi, MockServer) {
    let server = MockServer::start().await;
    let answer = move |request: &Request| {
        let body: Value = request.body_json().unwrap();
        let action = body["action"].as_str().unwrap();
        if failing.contains(&action) {
            return ResponseTemplate::new(200)
                .insert_header("X-Amz-Function-Error", "Unhandled")
                .set_body_json(json!({"errorType": "Transient", "errorMessage": "the test says so"}));
        }
        ResponseTemplate::new(200).set_body_json(match action {
            "Availabilities" => {
                let is_out = |line: &Value| line["sku"] == "CUP" || line["quantity"] == 99;
                let class = |line: &Value| if is_out(line) { "out_of_stock" } else { "low_stock" };
                let lines = body["items"].as_array().unwrap().iter();
                let items = lines.map(|line| json!({"sku": line["sku"], "availability": class(line)}));
                json!({"items": items.collect::<Vec<_>>()})
            }
            "CountryServed" => json!({"served": body["country"] == "DE"}),
            other => panic!("{other}"),
        })
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let (sdk, _) = sdk_config(&server.uri());
    (api_with(forecast(&(&sdk).into())).await, server)
}

impl TestApi {
    async fn quote(&self, body: &Value) -> Response {
        let token = self.anna();
        let headers = [("authorization", &*token), ("content-type", "application/json")];
        self.send("POST", "/v1/quotes", &headers, body.to_string()).await
    }
}

#[tokio::test]
async fn a_quote_says_what_an_order_would_be_and_writes_nothing() {
    let (api, _server) = api(&[]).await;
    api.faults.reset();
    let quote = api.quote(&two_mugs()).await;
    assert_eq!(quote.status, StatusCode::OK, "{}", quote.body);
    let mut calls = api.faults.calls();
    calls.sort();
    assert_eq!(calls, ["BatchGetItem", "UpdateItem"], "the read, and concurrently the customer's limit");
    let money = |amount: i64| json!({"amount": amount, "currency": "USD"});
    let line = json!({"sku": "MUG", "quantity": 2, "unit_price": money(4200), "availability": "low_stock"});
    let expected = json!({
        "items": [line], "total": money(8400), "availability": "low_stock", "serviceable": true
    });
    assert_eq!(quote.body, expected);
    assert_eq!(api.commits().await, 0);
    let placed = api.order("k-1", &two_mugs()).await;
    assert_eq!(placed.body["total"], quote.body["total"]);
}

#[tokio::test]
async fn a_quote_says_what_a_code_takes_off_and_leaves_its_use_to_the_order() {
    let (api, _server) = api(&[]).await;
    // An empty time is none.
    let once =
        json!({"code": "ONCE", "percentage": 10, "total_limit": 1, "valid_from": "", "valid_until": ""});
    api.make(&once).await;
    let body = with("/discount_code", json!(" once "));
    let money = |amount: i64| json!({"amount": amount, "currency": "USD"});
    for _ in 0..2 {
        let quote = api.quote(&body).await;
        assert_eq!((quote.status, &quote.body["total"]), (StatusCode::OK, &money(7560)), "{}", quote.body);
        assert_eq!(quote.body["discount"], json!({"code": "ONCE", "amount": money(840)}));
    }
    assert_eq!(api.order("k-1", &body).await.status, StatusCode::ACCEPTED, "its one use was left");
    assert_eq!(api.quote(&body).await.invalid_fields(), ["discount_code"]);
}

#[tokio::test]
async fn a_customer_who_asks_for_too_many_quotes_learns_when_to_retry() {
    let (api, server) = api(&[]).await;
    let quote = api.quote(&two_mugs()).await;
    let limits = |quote: &Response| {
        ["retry-after", "ratelimit-limit", "ratelimit-remaining"]
            .map(|name| quote.header(name).unwrap_or_default().to_owned())
    };
    assert_eq!(limits(&quote), ["", "60", "59"]);
    server.reset().await;

    api.empty_bucket("quotes", 30).await;
    let refused = api.quote(&two_mugs()).await;
    assert_eq!((refused.status, &refused.body["status"]), (StatusCode::TOO_MANY_REQUESTS, &json!(429)));
    assert_eq!(limits(&refused), ["1", "60", "0"]);
    assert!(
        server.received_requests().await.unwrap().is_empty(),
        "inventory and fulfillment are not queried"
    );
    assert_eq!(api.order("k-1", &two_mugs()).await.status, StatusCode::ACCEPTED, "orders have their own");
}

#[tokio::test]
async fn a_quote_says_that_a_country_is_not_served_and_a_line_is_sold_out() {
    let (api, _server) = api(&[]).await;
    let body = with("/shipping_address/country", json!("AQ"));
    assert_eq!(api.quote(&body).await.body["serviceable"], json!(false));
    let body = with("/items", json!([{"sku": "MUG", "quantity": 1}, {"sku": "CUP", "quantity": 1}]));
    let quote = api.quote(&body).await.body;
    assert_eq!(
        (&quote["availability"], &quote["items"][0]["availability"]),
        (&json!("out_of_stock"), &json!("low_stock"))
    );
}

#[tokio::test]
async fn a_context_that_does_not_answer_is_unknown_and_the_rest_is_shown() {
    let (api, _server) = api(&["Availabilities", "CountryServed"]).await;
    let quote = api.quote(&two_mugs()).await;
    assert_eq!(quote.status, StatusCode::OK);
    assert_eq!((&quote.body["availability"], &quote.body["serviceable"]), (&json!("unknown"), &Value::Null));
    assert_eq!(quote.body["total"]["amount"], 8400);
}

#[tokio::test]
async fn while_inventory_does_not_answer_a_quote_shows_the_last_known_values() {
    let (api, server) = api(&[]).await;
    let body = |sku: &str, quantity: u32| with("/items", json!([{"sku": sku, "quantity": quantity}]));
    api.quote(&body("CUP", 2)).await;
    let current = api.quote(&body("MUG", 2)).await.body;
    // Inventory has too little for this quantity; the last known value of smaller quantities stays.
    api.quote(&body("MUG", 99)).await;
    assert_eq!((&current["availability"], current.get("as_of")), (&json!("low_stock"), None));

    server.reset().await;
    for (sku, quantity, expected) in
        [("MUG", 2, "low_stock"), ("MUG", 1, "low_stock"), ("CUP", 2, "out_of_stock")]
    {
        let earlier = api.quote(&body(sku, quantity)).await;
        assert_eq!((earlier.status, &earlier.body["availability"]), (StatusCode::OK, &json!(expected)));
        assert_eq!(earlier.body["items"][0]["availability"], expected);
        assert!(earlier.body["as_of"].is_string());
    }
    for (sku, quantity) in [("MUG", 3), ("CUP", 1)] {
        let unknown = api.quote(&body(sku, quantity)).await.body;
        assert_eq!((&unknown["availability"], unknown.get("as_of")), (&json!("unknown"), None));
    }
    let refused = api.quote(&body("NONE", 1)).await;
    assert_eq!(
        (refused.status, refused.invalid_fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["items[0].sku"])
    );
}

#[tokio::test]
async fn with_limited_stock_off_no_last_known_values_are_shown() {
    let (api, server) = api(&[]).await;
    assert_eq!(api.quote(&two_mugs()).await.body["availability"], "low_stock");
    server.reset().await;
    api.limited_stock.set(Position::Off);
    let quote = api.quote(&two_mugs()).await;
    assert_eq!((quote.status, &quote.body["availability"]), (StatusCode::OK, &json!("unknown")));
    assert_eq!(quote.body.get("as_of"), None);
}

#[tokio::test]
async fn what_an_order_is_refused_for_a_quote_is_refused_for() {
    let (api, _server) = api(&[]).await;
    for (body, field) in [
        (with("/items/0/sku", json!("NONE")), "items[0].sku"),
        (with("/discount_code", json!("NONE")), "discount_code"),
        (with("/shipping_address/name", json!(" ")), "shipping_address.name"),
        (with("/items/0/quantity", json!("2")), "items[0].quantity"),
    ] {
        let quote = api.quote(&body).await;
        assert_eq!((quote.status, quote.invalid_fields()), (StatusCode::UNPROCESSABLE_ENTITY, vec![field]));
    }
}

#[rstest]
#[case(&[Some(InStock), Some(InStock)], Some(InStock))]
#[case(&[Some(InStock), Some(LowStock)], Some(LowStock))]
#[case(&[Some(InStock), None], None)]
#[case(&[None, Some(OutOfStock)], Some(OutOfStock))]
fn an_order_is_as_available_as_the_least_of_its_lines(
    #[case] lines: &[Option<Availability>],
    #[case] expected: Option<Availability>,
) {
    assert_eq!(least(lines.iter().copied()), expected);
}
