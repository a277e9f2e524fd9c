//! Responses that are composed of several contexts: the dashboard and the export.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use contracts::UserId;
use serde_json::{Value, json};
use wiremock::{Mock, Request as Invocation, Respond, ResponseTemplate, matchers::any};

use super::TestApi;

const ORDER: &str = "ord_0123456789abcdef0123456789abcdef";

/// The functions of all contexts: what each answers to GET of an address with its query, and which of them are down.
#[derive(Clone, Default)]
pub struct Functions(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: HashMap<String, Value>,
    down: HashMap<&'static str, Down>,
    asked: Vec<Value>,
}

#[derive(Debug, Clone, Copy)]
pub enum Down {
    Off,
    Fails,
    Answers503,
    Late,
}

impl Respond for Functions {
    fn respond(&self, request: &Invocation) -> ResponseTemplate {
        let mut state = self.0.lock().unwrap();
        let event: Value = serde_json::from_slice(&request.body).unwrap();
        let function = request.url.path().split('/').nth(3).unwrap();
        let function = function.strip_prefix("ordersaga-test-").unwrap().strip_suffix("%3Alive").unwrap();
        let (path, query) = (event["rawPath"].as_str().unwrap(), event["rawQueryString"].as_str().unwrap());
        let address = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let answer = match state.answers.get(&address) {
            Some(body) => json!({"statusCode": 200, "headers": {}, "body": body.to_string()}),
            None => json!({"statusCode": 404, "headers": {}, "body": "{}"}),
        };
        let down = state.down.get(function).copied();
        state.asked.push(event);
        match down {
            None => ResponseTemplate::new(200).set_body_json(answer),
            Some(Down::Off) => ResponseTemplate::new(429)
                .insert_header("X-Amzn-ErrorType", "TooManyRequestsException")
                .set_body_json(json!({"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"})),
            Some(Down::Fails) => ResponseTemplate::new(200)
                .insert_header("X-Amz-Function-Error", "Unhandled")
                .set_body_json(json!({"errorMessage": "secret"})),
            Some(Down::Answers503) => {
                ResponseTemplate::new(200).set_body_json(json!({"statusCode": 503, "body": "{}"}))
            }
            Some(Down::Late) => {
                ResponseTemplate::new(200).set_body_json(answer).set_delay(Duration::from_secs(30))
            }
        }
    }
}

impl Functions {
    pub fn answer(&self, address: &str, body: Value) {
        self.0.lock().unwrap().answers.insert(address.to_owned(), body);
    }

    pub fn down(&self, function: &'static str, down: Down) {
        self.0.lock().unwrap().down.insert(function, down);
    }

    pub fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

struct TestStorefront {
    api: TestApi,
    functions: Functions,
    anna: UserId,
}

pub fn list(items: &[Value], next_cursor: Value) -> Value {
    json!({"items": items, "next_cursor": next_cursor})
}

fn order() -> Value {
    json!({
        "order_id": ORDER, "status": "OrderCompleted", "items": [{"sku": "MUG", "quantity": 2}],
        "timeline": [{"event_type": "order.created"}, {"event_type": "order.shipment_scheduled"}],
    })
}

impl TestStorefront {
    /// Anna has completed one order, and others bought cups with mugs.
    async fn new() -> Self {
        let (api, functions, anna) = (TestApi::new().await, Functions::default(), UserId::generate());
        Mock::given(any()).respond_with(functions.clone()).mount(&api.lambda).await;
        let scheduled = json!({
            "event_type": "order.shipment_scheduled",
            "data": {"carrier": "local", "tracking_number": "T1", "estimated_delivery": "2026-11-25"},
        });
        let (orders, events) = (list(&[order()], Value::Null), list(&[scheduled], Value::Null));
        for (address, body) in [
            ("/v1/users/me".to_owned(), json!({"name": "Anna"})),
            ("/v1/users/me?include=sessions".to_owned(), json!({"name": "Anna", "sessions": []})),
            (format!("/v1/shipments/{ORDER}"), shipment()),
            (format!("/v1/shipments/{ORDER}?include=address"), shipment()),
            (format!("/v1/orders?limit=5&customer={anna}"), orders.clone()),
            (format!("/v1/orders?limit=50&customer={anna}"), orders),
            (format!("/v1/orders/{ORDER}/events?after=0"), events),
            (
                format!("/v1/orders/{ORDER}?include=address"),
                json!({"order_id": ORDER, "shipping_address": {"city": "Berlin"}}),
            ),
            (format!("/v1/payments/{ORDER}"), json!({"status": "succeeded"})),
            ("/v1/products/MUG/related".to_owned(), list(&[json!({"sku": "CUP"})], Value::Null)),
            ("/v1/products?limit=8".to_owned(), list(&[json!({"sku": "TEA"})], Value::Null)),
        ] {
            functions.answer(&address, body);
        }
        Self { api, functions, anna }
    }

    async fn get(&self, token: &str, path: &str) -> (u16, Value) {
        let headers = [("authorization", token), ("x-correlation-id", "cor_test")];
        let response = self.api.app.call("GET", path, &headers, "").await;
        (response.status.as_u16(), response.body)
    }

    async fn dashboard(&self) -> Value {
        let (status, dashboard) = self.get(&self.api.tokens.user(&self.anna), "/v1/dashboard").await;
        assert_eq!(status, 200);
        dashboard
    }

    async fn export(&self, query: &str) -> (u16, Value) {
        self.get(&self.api.tokens.user(&self.anna), &format!("/v1/users/me/export{query}")).await
    }
}

fn shipment() -> Value {
    json!({"order_id": ORDER, "status": "shipped", "carrier": "local", "tracking_number": "T1"})
}

#[tokio::test]
async fn a_dashboard_shows_the_customers_data_from_all_contexts() {
    let storefront = TestStorefront::new().await;
    let expected = json!({
        "customer": {"name": "Anna"}, "recent_orders": [order()], "shipments": [shipment()],
        "recommendations": [{"sku": "CUP"}], "degraded": [],
    });
    assert_eq!(storefront.dashboard().await, expected);
    let token = storefront.api.tokens.user(&storefront.anna);
    for request in storefront.functions.asked() {
        assert_eq!(request["headers"]["authorization"].as_str().map(str::len), Some(token.len()));
        assert_eq!(request["headers"]["x-correlation-id"], "cor_test");
    }
}

#[tokio::test]
async fn a_part_that_is_down_is_named_and_the_rest_is_shown() {
    for down in [Down::Off, Down::Fails, Down::Answers503, Down::Late] {
        let storefront = TestStorefront::new().await;
        storefront.functions.down("users-api", down);
        let dashboard = storefront.dashboard().await;
        assert_eq!(dashboard["degraded"], json!(["customer"]), "{down:?}");
        assert_eq!((&dashboard["customer"], &dashboard["recent_orders"]), (&Value::Null, &json!([order()])));
    }
}

#[tokio::test]
async fn without_orders_there_are_no_shipments_and_other_recommendations() {
    let storefront = TestStorefront::new().await;
    storefront.functions.down("orders-api", Down::Off);
    let dashboard = storefront.dashboard().await;
    assert_eq!(dashboard["degraded"], json!(["recent_orders", "shipments"]));
    assert_eq!(dashboard["recommendations"], json!([{"sku": "TEA"}]));
}

#[tokio::test]
async fn products_are_shown_as_they_were_while_the_catalogue_is_down() {
    let storefront = TestStorefront::new().await;
    let cold = TestStorefront::new().await;
    for storefront in [&storefront, &cold] {
        storefront
            .functions
            .answer(&format!("/v1/orders?limit=5&customer={}", storefront.anna), list(&[], Value::Null));
    }
    assert_eq!(storefront.dashboard().await["recommendations"], json!([{"sku": "TEA"}]));
    storefront.functions.down("catalog-api", Down::Off);
    cold.functions.down("catalog-api", Down::Off);
    assert_eq!(storefront.dashboard().await["recommendations"], json!([{"sku": "TEA"}]));
    let dashboard = cold.dashboard().await;
    assert_eq!(
        (&dashboard["recommendations"], &dashboard["degraded"]),
        (&json!([]), &json!(["recommendations"]))
    );
}

/// A customer's data never reaches another customer, whatever is down.
#[tokio::test]
async fn nothing_of_one_customer_is_shown_to_another() {
    let storefront = TestStorefront::new().await;
    storefront.dashboard().await;
    for function in ["users-api", "orders-api", "catalog-api"] {
        storefront.functions.down(function, Down::Off);
    }
    let ben = storefront.api.tokens.user(&UserId::generate());
    let (status, dashboard) = storefront.get(&ben, "/v1/dashboard").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&dashboard["customer"], &dashboard["recent_orders"], &dashboard["shipments"]),
        (&Value::Null, &json!([]), &json!([]))
    );
}

#[tokio::test]
async fn a_context_that_keeps_failing_is_left_alone_for_a_while() {
    let storefront = TestStorefront::new().await;
    storefront.functions.down("users-api", Down::Fails);
    for _ in 0..5 {
        storefront.dashboard().await;
    }
    storefront.functions.asked();
    assert_eq!(storefront.dashboard().await["degraded"], json!(["customer"]));
    assert!(!storefront.functions.asked().iter().any(|request| request["rawPath"] == "/v1/users/me"));
}

#[tokio::test]
async fn an_export_holds_everything_of_every_order() {
    let storefront = TestStorefront::new().await;
    let (status, export) = storefront.export("").await;
    assert_eq!(
        (status, &export["profile"], &export["next_cursor"]),
        (200, &json!({"name": "Anna", "sessions": []}), &Value::Null)
    );
    let order = &export["orders"][0];
    assert_eq!(order["order"]["shipping_address"]["city"], "Berlin");
    assert_eq!(
        (&order["payment"]["status"], &order["events"][0]["data"]["carrier"], &order["shipment"]["status"]),
        (&json!("succeeded"), &json!("local"), &json!("shipped"))
    );
}

#[tokio::test]
async fn an_export_of_many_orders_is_read_on() {
    let storefront = TestStorefront::new().await;
    let path = format!("/v1/orders?limit=50&customer={}", storefront.anna);
    storefront.functions.answer(&path, list(&[order()], json!("next-1")));
    storefront.functions.answer(&format!("{path}&cursor=next-1"), list(&[], Value::Null));
    assert_eq!(storefront.export("").await.1["next_cursor"], "next-1");
    let (status, rest) = storefront.export("?cursor=next-1").await;
    assert_eq!((status, &rest["orders"], &rest["next_cursor"]), (200, &json!([]), &Value::Null));
    assert_eq!(storefront.export("?cursor=a%26limit%3D1").await.0, 422);
}

#[tokio::test]
async fn an_export_is_whole_or_not_at_all() {
    for function in ["users-api", "orders-api", "payments-api"] {
        let storefront = TestStorefront::new().await;
        storefront.functions.down(function, Down::Fails);
        let (status, problem) = storefront.export("").await;
        assert_eq!(status, 503, "{function}");
        assert!(!problem.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn composed_routes_need_a_token() {
    let storefront = TestStorefront::new().await;
    for path in ["/v1/dashboard", "/v1/users/me/export"] {
        assert_eq!(storefront.get("", path).await.0, 401);
        assert_eq!(storefront.get(&storefront.api.tokens.expired(&storefront.anna), path).await.0, 401);
    }
    assert!(storefront.functions.asked().is_empty());
}
