//! `/v1/inventory/{sku}` with a real table: its responses, and that a refused request writes nothing.

use axum::http::StatusCode;
use contracts::{Position, Switch, UserId};
use lambda_kit::{
    aws::MAX_ATTEMPTS,
    dynamodb::{Table, key, string},
    testing::{self, App, Faults, Response, Tokens},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

struct TestApi {
    app: App,
    table: Table,
    faults: Faults,
    tokens: Tokens,
    limited_stock: FeatureSwitch,
    /// An administrator, for several requests of the same person.
    admin: String,
}

impl TestApi {
    async fn open() -> Self {
        let (table, faults) = testing::table(&[]).await;
        let tokens = Tokens::new();
        let limited_stock = FeatureSwitch::fixed(Switch::LimitedStock, Position::On);
        let routes = routes(crate::testing::store(table.clone()), limited_stock.clone());
        let app = App::new(routes, tokens.verifier());
        let admin = tokens.admin();
        Self { app, table, faults, tokens, limited_stock, admin }
    }

    async fn get(&self, path: &str) -> Response {
        self.app.get(path, "").await
    }

    async fn set(&self, sku: &str, body: Value) -> Response {
        let headers = [("authorization", &*self.tokens.admin()), ("content-type", JSON)];
        self.app.call("PUT", &format!("/v1/inventory/{sku}"), &headers, body.to_string()).await
    }

    async fn adjust(&self, sku: &str, key: &str, body: Value) -> Response {
        let headers = [("authorization", &*self.admin), ("content-type", JSON), ("idempotency-key", key)];
        let path = format!("/v1/inventory/{sku}/adjustments");
        self.app.call("POST", &path, &headers, body.to_string()).await
    }

    /// The number of items whose sort key has this prefix.
    async fn count(&self, sk: &str) -> usize {
        let all = self.table.client.scan().table_name(&self.table.name).send().await.unwrap();
        all.items().iter().filter(|item| item["sk"].as_s().unwrap().starts_with(sk)).count()
    }
}

#[rstest]
#[case(0, "out_of_stock")]
#[case(5, "low_stock")]
#[case(1_000_000, "in_stock")]
#[tokio::test]
async fn what_is_set_is_what_everybody_sees(#[case] available: u32, #[case] availability: &str) {
    let api = TestApi::open().await;
    let seen = json!({"sku": "MUG", "available": available, "availability": availability});
    let set = api.set("MUG", json!({"available": available, "shards": 1})).await;
    assert_eq!((set.status, &set.body), (StatusCode::OK, &seen));
    let got = api.get("/v1/inventory/MUG").await;
    assert_eq!((got.status, &got.body), (StatusCode::OK, &seen));
    assert!(got.headers.contains_key("x-correlation-id"));
}

#[tokio::test]
async fn every_setting_that_changes_something_leaves_a_trace() {
    let api = TestApi::open().await;
    for available in [5, 9, 9, 2] {
        assert_eq!(api.set("MUG", json!({"available": available})).await.status, StatusCode::OK);
    }
    assert_eq!((api.count("ADJUSTMENT#").await, api.count("STOCK").await), (3, 1));
}

#[tokio::test]
async fn a_setting_whose_answer_is_lost_is_done_once() {
    let api = TestApi::open().await;
    api.faults.lose_answers("TransactWriteItems", MAX_ATTEMPTS);
    let lost = api.set("MUG", json!({"available": 5})).await;
    assert_eq!(
        (lost.status, &lost.headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert_eq!(api.set("MUG", json!({"available": 5})).await.status, StatusCode::OK);
    assert_eq!(api.count("ADJUSTMENT#").await, 1);
}

#[tokio::test]
async fn a_setting_that_meets_another_transaction_is_tried_again() {
    let api = TestApi::open().await;
    api.faults.conflict(2);
    assert_eq!(api.set("MUG", json!({"available": 5})).await.status, StatusCode::OK);
}

#[rstest]
#[case::a_sku_never_set("/v1/inventory/NEVER")]
#[case::what_cannot_be_a_sku("/v1/inventory/a%20b")]
#[case::no_sku("/v1/inventory")]
#[case::deeper("/v1/inventory/MUG/more")]
#[tokio::test]
async fn what_is_not_there_is_404(#[case] path: &str) {
    let answer = TestApi::open().await.get(path).await;
    answer.assert_problem(StatusCode::NOT_FOUND);
}

#[rstest]
#[case::no_token(401, "PUT", None, JSON, r#"{"available":1}"#)]
#[case::a_forged_token(401, "PUT", Some("Bearer a.b.c"), JSON, r#"{"available":1}"#)]
#[case::a_customer(403, "PUT", Some("customer"), JSON, r#"{"available":1}"#)]
#[case::another_method(405, "POST", Some("admin"), JSON, r#"{"available":1}"#)]
#[case::deleting(405, "DELETE", Some("admin"), JSON, "")]
#[case::too_much(413, "PUT", Some("admin"), JSON, &"x".repeat(64 * 1024 + 1))]
#[case::another_type(415, "PUT", Some("admin"), "text/plain", r#"{"available":1}"#)]
#[case::no_type(415, "PUT", Some("admin"), "", r#"{"available":1}"#)]
#[case::no_json(400, "PUT", Some("admin"), JSON, "{")]
#[case::two_values(400, "PUT", Some("admin"), JSON, r#"{"available":1} {}"#)]
#[case::nothing(400, "PUT", Some("admin"), JSON, "")]
#[tokio::test]
async fn a_request_that_cannot_be_taken_is_a_problem_and_writes_nothing(
    #[case] status: u16,
    #[case] method: &str,
    #[case] who: Option<&str>,
    #[case] content_type: &str,
    #[case] body: &str,
) {
    let api = TestApi::open().await;
    let bearer = match who {
        Some("admin") => Some(api.tokens.admin()),
        Some("customer") => Some(api.tokens.user(&UserId::generate())),
        other => other.map(str::to_owned),
    };
    let mut headers = Vec::new();
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    headers.extend((!content_type.is_empty()).then_some(("content-type", content_type)));
    let answer = api.app.call(method, "/v1/inventory/MUG", &headers, body.to_owned()).await;
    answer.assert_problem(StatusCode::from_u16(status).unwrap());
    assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    assert_eq!(api.count("").await, 0);
}

const JSON: &str = "application/json";

#[rstest]
#[case::missing(json!({}), "available")]
#[case::negative(json!({"available": -1}), "available")]
#[case::too_many(json!({"available": 1_000_001}), "available")]
#[case::a_fraction(json!({"available": 1.5}), "available")]
#[case::text(json!({"available": "1"}), "available")]
#[case::nothing(json!({"available": null}), "available")]
#[case::no_shard(json!({"available": 1, "shards": 0}), "shards")]
#[case::too_many_shards(json!({"available": 1, "shards": 65}), "shards")]
#[case::a_negative_threshold(json!({"available": 1, "low_stock": -1}), "low_stock")]
#[case::a_slip(json!({"available": 1, "shard": 1}), "shard")]
#[tokio::test]
async fn a_body_that_cannot_be_accepted_names_the_field_and_writes_nothing(
    #[case] body: Value,
    #[case] field: &str,
) {
    let api = TestApi::open().await;
    let answer = api.set("MUG", body).await;
    answer.assert_problem(StatusCode::UNPROCESSABLE_ENTITY);
    let named = answer.body["errors"][0]["field"].as_str().unwrap_or_default();
    assert!(named.starts_with(field), "{}", answer.body);
    assert_eq!(api.count("").await, 0);
}

#[tokio::test]
async fn a_malformed_sku_cannot_be_set() {
    let api = TestApi::open().await;
    api.set("a%20b", json!({"available": 1})).await.assert_problem(StatusCode::NOT_FOUND);
    assert_eq!(api.count("").await, 0);
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_503_and_says_nothing_internal() {
    let api = TestApi::open().await;
    api.faults.refuse("BatchGetItem", MAX_ATTEMPTS);
    let answer = api.get("/v1/inventory/MUG").await;
    answer.assert_problem(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(!answer.body.to_string().contains("BatchGetItem"));
}

#[tokio::test]
async fn while_the_table_does_not_answer_the_last_known_stock_is_shown_and_low_at_best() {
    let api = TestApi::open().await;
    api.set("MUG", json!({"available": 40})).await;
    api.set("CUP", json!({"available": 0})).await;
    let current = api.get("/v1/inventory/MUG").await;
    assert_eq!(current.body, json!({"sku": "MUG", "available": 40, "availability": "in_stock"}));
    assert_eq!(current.headers["cache-control"], "public, max-age=0, stale-if-error=1800");
    api.get("/v1/inventory/CUP").await;

    api.faults.refuse("BatchGetItem", 3 * MAX_ATTEMPTS);
    let last_known_at = api.get("/v1/inventory/MUG").await;
    assert_eq!((last_known_at.status, &last_known_at.body["available"]), (StatusCode::OK, &json!(40)));
    assert_eq!(last_known_at.body["availability"], "low_stock");
    assert!(last_known_at.body["as_of"].is_string());
    assert_eq!(api.get("/v1/inventory/CUP").await.body["availability"], "out_of_stock");
    api.get("/v1/inventory/TEA").await.assert_problem(StatusCode::SERVICE_UNAVAILABLE);

    let back = api.get("/v1/inventory/MUG").await;
    assert_eq!(back.body, current.body);
}

#[tokio::test]
async fn with_limited_stock_off_stock_that_cannot_be_read_is_refused() {
    let api = TestApi::open().await;
    api.limited_stock.set(Position::Off);
    api.set("MUG", json!({"available": 40})).await;
    assert_eq!(api.get("/v1/inventory/MUG").await.body["availability"], "in_stock");
    api.faults.refuse("BatchGetItem", MAX_ATTEMPTS);
    api.get("/v1/inventory/MUG").await.assert_problem(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.get("/v1/inventory/MUG").await.status, StatusCode::OK, "when the table is back");
}

#[tokio::test]
async fn what_is_known_replaces_no_other_error_than_an_outage() {
    let api = TestApi::open().await;
    api.set("MUG", json!({"available": 40})).await;
    api.get("/v1/inventory/MUG").await;
    let mut damaged = key("STOCK#MUG#0", "STOCK");
    damaged.insert("available".to_owned(), string("many"));
    let put = api.table.client.put_item().table_name(&api.table.name).set_item(Some(damaged));
    put.send().await.unwrap();
    api.get("/v1/inventory/MUG").await.assert_problem(StatusCode::INTERNAL_SERVER_ERROR);

    api.faults.refuse("BatchGetItem", MAX_ATTEMPTS);
    api.get("/v1/inventory/a%20b").await.assert_problem(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn shards_are_added_and_never_taken_away() {
    let api = TestApi::open().await;
    for shards in [1, 4, 64] {
        let set = api.set("MUG", json!({"available": 100, "shards": shards})).await;
        assert_eq!((set.status, &set.body["available"]), (StatusCode::OK, &json!(100)), "{shards}");
    }
    let fewer = api.set("MUG", json!({"available": 100, "shards": 63})).await;
    fewer.assert_problem(StatusCode::UNPROCESSABLE_ENTITY);
    let message = "never shrinks: the stock is spread over 64 shards already";
    assert_eq!(fewer.body["errors"], json!([{"field": "shards", "message": message}]));
    assert_eq!(api.get("/v1/inventory/MUG").await.body["available"], 100);
    assert_eq!(api.count("STOCK").await, 65);
}

#[tokio::test]
async fn what_is_called_low_is_set_for_each_sku() {
    let api = TestApi::open().await;
    let wary = api.set("MUG", json!({"available": 10, "low_stock": 10})).await;
    assert_eq!(wary.body["availability"], "low_stock");
    assert_eq!(api.set("MUG", json!({"available": 11})).await.body["availability"], "in_stock");
    assert_eq!(api.set("MUG", json!({"available": 9})).await.body["availability"], "low_stock");
    assert_eq!(api.set("CUP", json!({"available": 9})).await.body["availability"], "in_stock");
}

#[tokio::test]
async fn an_adjustment_is_made_once_and_a_repeat_is_answered_as_the_first() {
    let api = TestApi::open().await;
    api.set("MUG", json!({"available": 10})).await;
    let broken = json!({"delta": -4, "reason": "broken"});
    let first = api.adjust("MUG", "a", broken.clone()).await;
    let seen = json!({"sku": "MUG", "available": 6, "availability": "in_stock"});
    assert_eq!((first.status, &first.body), (StatusCode::OK, &seen));
    assert!(!first.headers.contains_key("idempotent-replayed"));

    api.adjust("MUG", "b", json!({"delta": 1, "reason": "found"})).await;
    let again = api.adjust("MUG", "a", broken).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &seen), "whatever changed since");
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(api.get("/v1/inventory/MUG").await.body["available"], 7);
    assert_eq!(api.count("ADJUSTMENT#").await, 3);

    let other = api.adjust("MUG", "a", json!({"delta": -5, "reason": "broken"})).await;
    other.assert_problem(StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(api.get("/v1/inventory/MUG").await.body["available"], 7);
}

#[rstest]
#[case::seen_by_the_client_alone(1, StatusCode::OK)]
#[case::seen_by_the_administrator(MAX_ATTEMPTS, StatusCode::SERVICE_UNAVAILABLE)]
#[tokio::test]
async fn an_adjustment_whose_answer_is_lost_is_made_once(#[case] lost: u32, #[case] status: StatusCode) {
    let api = TestApi::open().await;
    api.set("MUG", json!({"available": 10, "shards": 4})).await;
    api.faults.lose_answers("TransactWriteItems", lost);
    let found = json!({"delta": 3, "reason": "found"});
    assert_eq!(api.adjust("MUG", "a", found.clone()).await.status, status);
    let again = api.adjust("MUG", "a", found).await;
    assert_eq!((again.status, &again.body["available"]), (StatusCode::OK, &json!(13)));
    assert_eq!(api.get("/v1/inventory/MUG").await.body["available"], 13);
}

#[tokio::test]
async fn adjustments_at_once_are_all_made() {
    let api = TestApi::open().await;
    api.set("MUG", json!({"available": 10, "shards": 2})).await;
    let keys: Vec<String> = (0..10).map(|n| format!("key-{n}")).collect();
    let one = || json!({"delta": -1, "reason": "count"});
    let answers = futures::future::join_all(keys.iter().map(|key| api.adjust("MUG", key, one()))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    assert_eq!(api.get("/v1/inventory/MUG").await.body["available"], 0);
    api.adjust("MUG", "more", one()).await.assert_problem(StatusCode::UNPROCESSABLE_ENTITY);
}

#[rstest]
#[case::more_than_there_is(422, "MUG", Some("k"), json!({"delta": -4, "reason": "r"}))]
#[case::more_than_fits(422, "MUG", Some("k"), json!({"delta": 1_000_000, "reason": "r"}))]
#[case::nothing(422, "MUG", Some("k"), json!({"delta": 0, "reason": "r"}))]
#[case::no_reason(422, "MUG", Some("k"), json!({"delta": 1}))]
#[case::an_empty_reason(422, "MUG", Some("k"), json!({"delta": 1, "reason": ""}))]
#[case::a_slip(422, "MUG", Some("k"), json!({"delta": 1, "reason": "r", "shard": 1}))]
#[case::no_key(400, "MUG", None, json!({"delta": 1, "reason": "r"}))]
#[case::an_empty_key(400, "MUG", Some(""), json!({"delta": 1, "reason": "r"}))]
#[case::a_sku_never_set(404, "NEVER", Some("k"), json!({"delta": 1, "reason": "r"}))]
#[tokio::test]
async fn an_adjustment_that_cannot_be_made_is_a_problem_and_changes_nothing(
    #[case] status: u16,
    #[case] sku: &str,
    #[case] key: Option<&str>,
    #[case] body: Value,
) {
    let api = TestApi::open().await;
    api.set("MUG", json!({"available": 3})).await;
    let admin = api.tokens.admin();
    let mut headers = vec![("authorization", &*admin), ("content-type", JSON)];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    let path = format!("/v1/inventory/{sku}/adjustments");
    let answer = api.app.call("POST", &path, &headers, body.to_string()).await;
    answer.assert_problem(StatusCode::from_u16(status).unwrap());
    assert_eq!(api.get("/v1/inventory/MUG").await.body["available"], 3);
    assert_eq!(api.count("ADJUSTMENT#").await, 1);
}

#[tokio::test]
async fn only_administrators_adjust() {
    let api = TestApi::open().await;
    for (bearer, status) in [
        (api.tokens.user(&UserId::generate()), StatusCode::FORBIDDEN),
        ("Bearer a.b.c".to_owned(), StatusCode::UNAUTHORIZED),
    ] {
        let headers = [("authorization", &*bearer), ("idempotency-key", "k")];
        let answer = api.app.call("POST", "/v1/inventory/MUG/adjustments", &headers, "").await;
        answer.assert_problem(status);
    }
}
