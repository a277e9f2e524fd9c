use std::collections::HashSet;

use axum::body::Body as HttpBody;
use contracts::{Position, UserId, saga::UndoOutcome};
use futures::future::join_all;
use lambda_kit::{
    dynamodb::{Table, key, number},
    http::limit::Limits,
    jwt::Role,
    testing::{App, Faults, Response, Tokens, table},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
mod customers;
mod letters;
mod limits;
mod money;
mod switches;

use crate::testing::{cancel_after, complete, correlation_id, rules, sku, unanswered, usd};

/// The API over a table that sells mugs for 42 and cups for 5 dollars, and tea for 3 euros.
pub(super) struct TestApi {
    app: App,
    pub store: Store,
    table: Table,
    pub faults: Faults,
    pub tokens: Tokens,
    pub rules: OrderRules,
    pub limited_stock: FeatureSwitch,
    anna: UserId,
}

pub(super) async fn api() -> TestApi {
    api_with(unanswered()).await
}

/// With what answers quotes.
pub(super) async fn api_with(forecast: Forecast) -> TestApi {
    api_that(rules(), forecast).await
}

async fn api_that(rules: OrderRules, forecast: Forecast) -> TestApi {
    let (table, faults) = table(&[]).await;
    let (store, tokens) = (crate::testing::store(table.clone()), Tokens::new());
    store.record_price(&sku("MUG"), 1, Some(usd(4200))).await.unwrap().unwrap();
    store.record_price(&sku("CUP"), 1, Some(usd(500))).await.unwrap().unwrap();
    let euros = contracts::Money::new(300, contracts::Currency::EUR);
    store.record_price(&sku("TEA"), 1, Some(euros)).await.unwrap().unwrap();
    store.record_price(&sku("OLD"), 2, None).await.unwrap().unwrap();
    faults.reset();
    let limited_stock = forecast.limited_stock.clone();
    let routes = routes(store.clone(), forecast, rules.clone());
    let app = App::new(Limits::new(table.clone()).enforce(routes), tokens.verifier());
    TestApi { app, store, table, faults, tokens, rules, limited_stock, anna: UserId::generate() }
}

impl TestApi {
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<HttpBody>,
    ) -> Response {
        self.app.call(method, path, headers, body).await
    }

    /// Anna orders.
    pub async fn order(&self, key: &str, body: &Value) -> Response {
        self.order_as(&self.tokens.user(&self.anna), key, body).await
    }

    /// Orders with this access token.
    async fn order_as(&self, token: &str, key: &str, body: &Value) -> Response {
        let headers =
            [("authorization", token), ("idempotency-key", key), ("content-type", "application/json")];
        self.send("POST", "/v1/orders", &headers, body.to_string()).await
    }

    pub async fn get(&self, token: &str, path: &str) -> Response {
        self.send("GET", path, &[("authorization", token)], "").await
    }

    pub fn anna(&self) -> String {
        self.tokens.user(&self.anna)
    }

    /// Anna has ordered two mugs, and the saga came so far. The order's id.
    async fn with_order(&self, commands: Vec<Command>) -> OrderId {
        let answer = self.order("k-1", &two_mugs()).await;
        let id = OrderId::try_from(answer.body["order_id"].as_str().unwrap()).unwrap();
        for command in commands {
            crate::handler::execute(&self.store, &id, &command, &correlation_id(), Timestamp::now())
                .await
                .unwrap();
        }
        self.faults.reset();
        id
    }

    /// Empties Anna's bucket of this limit, so that it takes this many seconds to fill.
    pub async fn empty_bucket(&self, limit: &str, seconds: i64) {
        let mut empty = key(format!("BUCKET#{limit}/{}", self.anna), "BUCKET");
        let full_at = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        empty.insert("full_at".to_owned(), number(full_at.as_microsecond()));
        let put = self.table.client.put_item().table_name(&self.table.name).set_item(Some(empty));
        put.send().await.unwrap();
    }

    /// The number of commits in the table.
    pub async fn commits(&self) -> usize {
        let all = self.table.client.scan().table_name(&self.table.name).send().await.unwrap();
        all.items().iter().filter(|item| item["sk"].as_s().unwrap().starts_with("COMMIT#")).count()
    }
}

fn address() -> Value {
    json!({"name": "Anna", "line1": "Hauptstr. 1", "city": "Berlin", "postal_code": "10115", "country": "DE"})
}

fn body(items: Value) -> Value {
    json!({"items": items, "payment_method": "pm_card_visa", "shipping_address": address()})
}

pub(super) fn two_mugs() -> Value {
    body(json!([{"sku": "MUG", "quantity": 2}]))
}

/// Two mugs, with another value at this place.
pub(super) fn with(pointer: &str, value: Value) -> Value {
    let mut body = two_mugs();
    match body.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[name] = value;
        }
    }
    body
}

fn without(pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut body = two_mugs();
    body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    body
}

#[tokio::test]
async fn an_order_is_taken_by_a_read_and_a_write_and_its_limit_is_checked_during_the_read() {
    let api = api().await;
    let answer =
        api.order("k-1", &body(json!([{"sku": "MUG", "quantity": 2}, {"sku": "CUP", "quantity": 1}]))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let calls = api.faults.calls();
    assert_eq!((calls.len(), calls[2].as_str()), (3, "PutItem"));
    assert!(calls.contains(&"BatchGetItem".to_owned()) && calls.contains(&"UpdateItem".to_owned()));
    let limits =
        ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"].map(|name| answer.header(name));
    assert_eq!(limits, [Some("40"), Some("39"), Some("1")]);
    let id = answer.body["order_id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(&*format!("/v1/orders/{id}")));
    assert_eq!(answer.header("idempotent-replayed"), None);
    assert_eq!(answer.body["status"], "OrderCreated");
    assert_eq!(answer.body["total"], json!({"amount": 8900, "currency": "USD"}));
    assert_eq!(
        answer.body["items"][1],
        json!({"sku": "CUP", "quantity": 1, "unit_price": {"amount": 500, "currency": "USD"}})
    );
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_was_even_when_the_product_is_gone() {
    let api = api().await;
    let first = api.order("k-1", &two_mugs()).await;
    api.store.record_price(&sku("MUG"), 2, None).await.unwrap().unwrap();
    let id = OrderId::try_from(first.body["order_id"].as_str().unwrap()).unwrap();
    let reserved = Command::RecordReservation;
    crate::handler::execute(&api.store, &id, &reserved, &correlation_id(), Timestamp::now()).await.unwrap();
    api.faults.reset();

    // The same with other spaces, another order of fields, and a field that means nothing.
    let respelled = format!(
        r#"{{ "note": 1, "shipping_address": {}, "payment_method": "pm_card_visa", "items": [{{"quantity":2,"sku":"MUG"}}] }}"#,
        address()
    );
    let token = api.anna();
    let headers = [
        ("authorization", &*token),
        ("idempotency-key", "k-1"),
        ("content-type", "application/json; charset=utf-8"),
    ];
    let again = api.send("POST", "/v1/orders", &headers, respelled).await;
    assert_eq!((again.status, &again.body), (StatusCode::ACCEPTED, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("location"), first.header("location"));
    assert!(!api.faults.calls().contains(&"PutItem".to_owned()));
    assert_eq!(api.order("k-2", &two_mugs()).await.invalid_fields(), ["items[0].sku"]);
}

#[tokio::test]
async fn a_key_belongs_to_one_body() {
    let api = api().await;
    api.with_order(vec![]).await;
    for other in [with("/items/0/quantity", json!(3)), with("/shipping_address/city", json!("Bonn"))] {
        let answer = api.order("k-1", &other).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(api.commits().await, 1);
}

#[tokio::test]
async fn a_key_belongs_to_one_customer() {
    let mut api = api().await;
    let annas = api.order("k-1", &two_mugs()).await;
    api.anna = UserId::generate();
    let bens = api.order("k-1", &two_mugs()).await;
    assert_eq!(bens.status, StatusCode::ACCEPTED);
    assert_ne!(annas.body["order_id"], bens.body["order_id"]);
}

#[tokio::test]
async fn twenty_equal_requests_at_the_same_moment_are_one_order() {
    let api = api().await;
    let body = two_mugs();
    let answers = join_all((0..20).map(|_| api.order("k-1", &body))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::ACCEPTED));
    assert_eq!(answers.iter().map(|answer| answer.body.to_string()).collect::<HashSet<_>>().len(), 1);
    let new = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none());
    assert_eq!(new.count(), 1);
    assert_eq!(api.commits().await, 1);
}

#[tokio::test]
async fn different_requests_with_one_key_at_the_same_moment_are_one_order_and_a_refusal() {
    let api = api().await;
    let (mugs, cups) = (two_mugs(), body(json!([{"sku": "CUP", "quantity": 1}])));
    let (mugs, cups) = tokio::join!(api.order("k-1", &mugs), api.order("k-1", &cups));
    let statuses = HashSet::from([mugs.status, cups.status]);
    assert_eq!(statuses, HashSet::from([StatusCode::ACCEPTED, StatusCode::UNPROCESSABLE_ENTITY]));
    assert_eq!(api.commits().await, 1);
}

#[tokio::test]
async fn a_lost_answer_costs_nothing() {
    let api = api().await;
    api.faults.lose_answers("PutItem", 1);
    let answer = api.order("k-1", &two_mugs()).await;
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::ACCEPTED, &json!("OrderCreated")));
    assert_eq!(api.commits().await, 1);
}

#[tokio::test]
async fn a_table_that_is_down_is_a_503_and_the_repeat_places_the_order_once() {
    let api = api().await;
    api.faults.lose_answers("PutItem", 3);
    let down = api.order("k-1", &two_mugs()).await;
    assert_eq!((down.status, down.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
    assert!(!down.body.to_string().contains("lost by the test"));
    assert_eq!(api.order("k-1", &two_mugs()).await.status, StatusCode::ACCEPTED);
    assert_eq!(api.commits().await, 1);
}

#[rstest]
#[case::no_lines(body(json!([])), &["items"])]
#[case::too_many_lines(
    body((0..21).map(|i| json!({"sku": format!("S{i}"), "quantity": 1})).collect()), &["items"]
)]
#[case::nothing_of_it(with("/items/0/quantity", json!(0)), &["items[0].quantity"])]
#[case::too_much_of_it(with("/items/0/quantity", json!(1001)), &["items[0].quantity"])]
#[case::less_than_nothing(with("/items/0/quantity", json!(-1)), &["items[0].quantity"])]
#[case::half_a_mug(with("/items/0/quantity", json!(0.5)), &["items[0].quantity"])]
#[case::a_quantity_in_words(with("/items/0/quantity", json!("two")), &["items[0].quantity"])]
#[case::no_quantity(without("/items/0/quantity"), &["items[0].quantity"])]
#[case::twice(
    body(json!([{"sku": "MUG", "quantity": 1}, {"sku": "MUG", "quantity": 1}])), &["items[1].sku"]
)]
#[case::two_mistakes(
    body(json!([{"sku": "MUG", "quantity": 0}, {"sku": "MUG", "quantity": 1}])),
    &["items[0].quantity", "items[1].sku"]
)]
#[case::no_such_product(with("/items/0/sku", json!("NONE")), &["items[0].sku"])]
#[case::discontinued(
    body(json!([{"sku": "MUG", "quantity": 1}, {"sku": "OLD", "quantity": 1}])), &["items[1].sku"]
)]
#[case::not_a_sku(with("/items/0/sku", json!("a/b")), &["items[0].sku"])]
#[case::two_currencies(
    body(json!([{"sku": "MUG", "quantity": 1}, {"sku": "TEA", "quantity": 1}])), &["items[1].sku"]
)]
#[case::no_items(without("/items"), &["items"])]
#[case::no_payment_method(without("/payment_method"), &["payment_method"])]
#[case::not_a_payment_method(with("/payment_method", json!("4242424242424242")), &["payment_method"])]
#[case::no_address(without("/shipping_address"), &["shipping_address"])]
#[case::no_name(without("/shipping_address/name"), &["shipping_address.name"])]
#[case::a_blank_name(with("/shipping_address/name", json!("  ")), &["shipping_address.name"])]
#[case::a_long_line(with("/shipping_address/line2", json!("x".repeat(101))), &["shipping_address.line2"])]
#[case::no_such_country(with("/shipping_address/country", json!("XX")), &["shipping_address.country"])]
#[case::a_country_in_words(with("/shipping_address/country", json!("Germany")), &["shipping_address.country"])]
#[case::a_discount(with("/discount_code", json!("SPRING")), &["discount_code"])]
#[case::not_an_object(json!("two mugs"), &[])]
#[tokio::test]
async fn what_cannot_be_ordered_is_refused_field_by_field(#[case] body: Value, #[case] fields: &[&str]) {
    let api = api().await;
    let answer = api.order("k-1", &body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.invalid_fields(), fields);
    assert_eq!(api.commits().await, 0);
}

#[tokio::test]
async fn a_country_that_is_not_served_can_be_ordered_to() {
    let api = api().await;
    let answer = api.order("k-1", &with("/shipping_address/country", json!("AQ"))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

const JSON: (&str, &str) = ("content-type", "application/json");
const KEY: (&str, &str) = ("idempotency-key", "k-1");
const ME: (&str, &str) = ("authorization", "me");
const ORDER: &str = "/v1/orders/ord_0123456789abcdef0123456789abcdef";

#[rstest]
#[case::no_token("POST", "/v1/orders", &[KEY, JSON], 401)]
#[case::a_bad_token("POST", "/v1/orders", &[("authorization", "Bearer a.b.c"), KEY, JSON], 401)]
#[case::another_scheme("POST", "/v1/orders", &[("authorization", "Basic YTpi"), KEY, JSON], 401)]
#[case::an_old_token("POST", "/v1/orders", &[("authorization", "expired"), KEY, JSON], 401)]
#[case::no_key("POST", "/v1/orders", &[ME, JSON], 400)]
#[case::an_empty_key("POST", "/v1/orders", &[ME, JSON, ("idempotency-key", "")], 400)]
#[case::a_key_with_a_space("POST", "/v1/orders", &[ME, JSON, ("idempotency-key", "a b")], 400)]
#[case::no_content_type("POST", "/v1/orders", &[ME, KEY], 415)]
#[case::another_content_type("POST", "/v1/orders", &[ME, KEY, ("content-type", "text/plain")], 415)]
#[case::another_method("PUT", "/v1/orders", &[ME, KEY, JSON], 405)]
#[case::deleting_an_order("DELETE", ORDER, &[ME], 405)]
#[case::cancelling_by_get("GET", "/v1/orders/ord_0123456789abcdef0123456789abcdef/cancel", &[ME], 405)]
#[case::no_such_order("GET", ORDER, &[ME], 404)]
#[case::not_an_order_id("GET", "/v1/orders/1", &[ME], 404)]
#[case::no_such_route("GET", "/v1/orders/1/2/3", &[ME], 404)]
#[case::events_of_no_order("GET", "/v1/orders/ord_0123456789abcdef0123456789abcdef/events", &[ME], 404)]
#[case::cancel_of_no_order("POST", "/v1/orders/ord_0123456789abcdef0123456789abcdef/cancel", &[ME], 404)]
#[case::reading_without_a_token("GET", ORDER, &[], 401)]
#[case::events_without_a_token("GET", "/v1/orders/ord_0123456789abcdef0123456789abcdef/events", &[], 401)]
#[case::cancel_without_a_token("POST", "/v1/orders/ord_0123456789abcdef0123456789abcdef/cancel", &[], 401)]
#[tokio::test]
async fn bad_requests_are_problems_and_write_nothing(
    #[case] method: &str,
    #[case] path: &str,
    #[case] headers: &[(&str, &str)],
    #[case] expected: u16,
) {
    let api = api().await;
    let (me, expired) = (api.anna(), api.tokens.expired(&api.anna));
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| match *value {
            "me" => (*name, &*me),
            "expired" => (*name, &*expired),
            value => (*name, value),
        })
        .collect();
    let answer = api.send(method, path, &headers, two_mugs().to_string()).await;
    assert_eq!(answer.status.as_u16(), expected, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.body["status"], expected);
    assert_eq!(answer.body["instance"], path);
    assert_eq!(answer.body["correlation_id"].as_str(), answer.header("x-correlation-id"));
    assert_eq!(answer.header("www-authenticate").is_some(), expected == 401);
    assert!(!api.faults.calls().contains(&"PutItem".to_owned()));
}

#[rstest]
#[case::not_json("{".to_owned(), 400)]
#[case::empty(String::new(), 400)]
#[case::two_values(format!("{0}{0}", two_mugs()), 400)]
#[case::too_deep(format!("{{\"note\":{}", "[".repeat(10_000)), 400)]
#[case::too_large(format!("{}{}", two_mugs(), " ".repeat(65 * 1024)), 413)]
#[tokio::test]
async fn bodies_that_cannot_be_read_are_problems_and_write_nothing(
    #[case] body: String,
    #[case] expected: u16,
) {
    let api = api().await;
    let me = api.anna();
    let answer = api.send("POST", "/v1/orders", &[("authorization", &me), KEY, JSON], body).await;
    assert_eq!(answer.status.as_u16(), expected);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(api.faults.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn an_order_is_shown_to_its_customer_the_support_and_administrators() {
    let api = api().await;
    let id = api.with_order(vec![Command::RecordReservation, complete()]).await;
    let path = format!("/v1/orders/{id}");
    for token in [api.anna(), api.tokens.staff(Role::Support), api.tokens.admin()] {
        let answer = api.get(&token, &path).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body["status"], "OrderCompleted");
        assert_eq!((answer.header("etag"), &answer.body["version"]), (Some("\"6\""), &json!(6)));
        let timeline = answer.body["timeline"].as_array().unwrap();
        let statuses: Vec<&str> = timeline.iter().map(|event| event["status"].as_str().unwrap()).collect();
        assert_eq!(
            statuses,
            [
                "OrderCreated",
                "InventoryReserved",
                "PaymentPending",
                "PaymentSucceeded",
                "PaymentSucceeded",
                "OrderCompleted"
            ]
        );
        assert!(!answer.body.to_string().contains("Hauptstr"));
    }
    for other in [api.tokens.user(&UserId::generate()), api.tokens.staff(Role::Fulfillment)] {
        assert_eq!(api.get(&other, &path).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn an_unchanged_order_is_not_sent_again() {
    let api = api().await;
    let id = api.with_order(vec![]).await;
    let (path, me) = (format!("/v1/orders/{id}"), api.anna());
    let known = [("authorization", &*me), ("if-none-match", "\"1\"")];
    assert_eq!(api.send("GET", &path, &known, "").await.status, StatusCode::NOT_MODIFIED);
    let now = Timestamp::now();
    crate::handler::execute(&api.store, &id, &Command::RecordReservation, &correlation_id(), now)
        .await
        .unwrap();
    assert_eq!(api.send("GET", &path, &known, "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_order_is_shown_as_it_was() {
    let api = api().await;
    let id = api.with_order(vec![]).await;
    let created = api.store.load(&id).await.unwrap().unwrap().created_at;
    let later = created + std::time::Duration::from_secs(60);
    crate::handler::execute(&api.store, &id, &Command::RecordReservation, &correlation_id(), later)
        .await
        .unwrap();
    let at = async |time: &str| api.get(&api.anna(), &format!("/v1/orders/{id}?at={time}")).await;
    assert_eq!(at(&created.to_string()).await.body["status"], "OrderCreated");
    assert_eq!(at(&later.to_string()).await.body["status"], "PaymentPending");
    assert_eq!(at("2020-01-01T00:00:00Z").await.status, StatusCode::NOT_FOUND);
    assert_eq!(at("yesterday").await.invalid_fields(), ["at"]);
}

#[tokio::test]
async fn the_events_after_a_version_are_listed_and_an_open_order_says_when_to_ask_again() {
    let api = api().await;
    let id = api.with_order(vec![Command::RecordReservation]).await;
    let events = async |query: &str| api.get(&api.anna(), &format!("/v1/orders/{id}/events{query}")).await;
    let open = events("?after=2").await;
    assert_eq!((open.status, open.header("retry-after")), (StatusCode::OK, Some("5")));
    let items = open.body["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["version"]), (1, &json!(3)));
    assert_eq!(items[0]["event_type"], "order.payment_pending");
    assert_eq!(open.body["next_cursor"], Value::Null);
    assert_eq!(events("").await.body["items"][0]["data"]["total"]["amount"], 8400);
    assert_eq!(events("?after=99").await.body["items"], json!([]));
    assert_eq!(events("?after=x").await.invalid_fields(), ["after"]);

    crate::handler::execute(&api.store, &id, &complete(), &correlation_id(), Timestamp::now()).await.unwrap();
    assert_eq!(events("?after=5").await.header("retry-after"), None);
}

#[tokio::test]
async fn only_administrators_read_the_cause_of_a_failure() {
    let api = api().await;
    let failed = [UndoOutcome::NotNeeded, UndoOutcome::Failed, UndoOutcome::Released];
    let id = api
        .with_order(vec![Command::RecordReservation, cancel_after("TakePayment", "PaymentTimeout", failed)])
        .await;
    let path = format!("/v1/orders/{id}/events");
    let customers = api.get(&api.anna(), &path).await.body.to_string();
    assert!(customers.contains("PaymentTimeout") && !customers.contains("a cause for engineers"));
    assert!(api.get(&api.tokens.admin(), &path).await.body.to_string().contains("a cause for engineers"));
}

#[tokio::test]
async fn a_customer_may_cancel_as_often_as_it_takes() {
    let api = api().await;
    let id = api.with_order(vec![]).await;
    let path = format!("/v1/orders/{id}/cancel");
    for _ in 0..2 {
        let answer = api.send("POST", &path, &[("authorization", &api.anna())], "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert_eq!((&answer.body["cancel_requested"], &answer.body["version"]), (&json!(true), &json!(2)));
    }
}

#[rstest]
#[case::completed(vec![Command::RecordReservation, complete()])]
#[case::cancelled(vec![cancel_after("ReserveInventory", "InventoryNotAvailable", [UndoOutcome::NotNeeded; 3])])]
#[case::cancelled_as_asked(vec![
    Command::RequestCancel,
    cancel_after("RecordReservation", "OrderCancelRequested", [UndoOutcome::NotNeeded; 3]),
])]
#[tokio::test]
async fn an_order_that_has_ended_cannot_be_cancelled(#[case] commands: Vec<Command>) {
    let api = api().await;
    let id = api.with_order(commands).await;
    let path = format!("/v1/orders/{id}/cancel");
    let answer = api.send("POST", &path, &[("authorization", &api.anna())], "").await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(api.faults.calls(), ["Query", "Query"]);
}

#[tokio::test]
async fn an_order_that_needs_attention_is_being_cancelled_already() {
    let api = api().await;
    let failed = [UndoOutcome::NotNeeded, UndoOutcome::Failed, UndoOutcome::Released];
    let id = api
        .with_order(vec![Command::RecordReservation, cancel_after("TakePayment", "PaymentTimeout", failed)])
        .await;
    let path = format!("/v1/orders/{id}/cancel");
    let answer = api.send("POST", &path, &[("authorization", &api.anna())], "").await;
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::ACCEPTED, &json!("NeedsAttention")));
    assert_eq!(api.commits().await, 3);
}

#[tokio::test]
async fn only_its_customer_the_support_and_administrators_cancel_an_order() {
    let api = api().await;
    let id = api.with_order(vec![]).await;
    let path = format!("/v1/orders/{id}/cancel");
    let cancel =
        async |token: &str| api.send("POST", &path, &[("authorization", token)], "").await.status.as_u16();
    for other in [api.tokens.user(&UserId::generate()), api.tokens.staff(Role::Fulfillment)] {
        assert_eq!(cancel(&other).await, 404);
    }
    assert_eq!(api.commits().await, 1);
    for staff in [api.tokens.staff(Role::Support), api.tokens.admin()] {
        assert_eq!(cancel(&staff).await, 202);
    }
    assert_eq!(api.commits().await, 2);
}

#[rstest]
#[case(Rejected::NotPlaced, 404)]
#[case(Rejected::Ended(contracts::OrderStatus::OrderCompleted), 409)]
#[case(Rejected::Lines(vec![LineError::Count]), 422)]
#[case(Rejected::AlreadyPlaced, 500)]
#[case(Rejected::CancelRequested, 500)]
#[case(Rejected::NotReserved, 500)]
fn refusals_have_their_status(#[case] rejected: Rejected, #[case] expected: u16) {
    assert_eq!(rejected.into_problem().status().as_u16(), expected);
}

#[tokio::test]
async fn an_order_shows_its_address_to_its_customer_on_request_until_it_is_erased() {
    let api = api().await;
    let id = api.with_order(vec![]).await;
    let path = format!("/v1/orders/{id}?include=address");
    let answer = api.get(&api.anna(), &path).await;
    assert_eq!(
        (&answer.body["shipping_address"], &answer.body["payment_method"]),
        (&address(), &json!("pm_card_visa"))
    );
    assert_eq!(answer.body["order_id"], id.as_str());
    assert_eq!(answer.headers["cache-control"], "no-store");
    let plain = api.get(&api.anna(), &format!("/v1/orders/{id}")).await;
    assert_eq!(plain.headers["cache-control"], "private, no-cache");
    assert!(plain.body.get("shipping_address").is_none());
    assert_eq!(api.get(&api.tokens.user(&UserId::generate()), &path).await.status, 404);
    let key = lambda_kit::dynamodb::key(format!("ORDER#{id}"), "COMMIT#00000001");
    let erase = api.table.client.update_item().table_name(&api.table.name).set_key(Some(key));
    erase.update_expression("REMOVE #p").expression_attribute_names("#p", "private").send().await.unwrap();
    let answer = api.get(&api.anna(), &path).await;
    assert_eq!((answer.status, answer.body.get("shipping_address")), (StatusCode::OK, None));
}
