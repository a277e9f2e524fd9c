//! `/v1/inventory/{sku}` with a real table: its responses, and that a refused request writes nothing.

use axum::{
    body::{Body as RawBody, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use contracts::UserId;
use lambda_kit::{
    aws::MAX_ATTEMPTS,
    dynamodb::{Table, key, string},
    http::app,
    testing::{self, Faults, Tokens},
};
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

struct Shop {
    app: Router,
    table: Table,
    faults: Faults,
    tokens: Tokens,
    /// An administrator, for several requests of the same person.
    admin: String,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

impl Shop {
    async fn open() -> Self {
        let (table, faults) = testing::table(&[]).await;
        let tokens = Tokens::new();
        let app = app(routes(crate::testing::store(table.clone())), tokens.verifier());
        let admin = tokens.admin();
        Self { app, table, faults, tokens, admin }
    }

    async fn send(&self, request: Request<RawBody>) -> Answer {
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, json }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(RawBody::empty()).unwrap()).await
    }

    async fn set(&self, sku: &str, body: Value) -> Answer {
        let request = Request::put(format!("/v1/inventory/{sku}"))
            .header("authorization", self.tokens.admin())
            .header("content-type", "application/json")
            .body(RawBody::from(body.to_string()))
            .unwrap();
        self.send(request).await
    }

    async fn adjust(&self, sku: &str, key: &str, body: Value) -> Answer {
        let request = Request::post(format!("/v1/inventory/{sku}/adjustments"))
            .header("authorization", self.admin.as_str())
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(RawBody::from(body.to_string()))
            .unwrap();
        self.send(request).await
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
    let shop = Shop::open().await;
    let seen = json!({"sku": "MUG", "available": available, "availability": availability});
    let set = shop.set("MUG", json!({"available": available, "shards": 1})).await;
    assert_eq!((set.status, &set.json), (StatusCode::OK, &seen));
    let got = shop.get("/v1/inventory/MUG").await;
    assert_eq!((got.status, &got.json), (StatusCode::OK, &seen));
    assert!(got.headers.contains_key("x-correlation-id"));
}

#[tokio::test]
async fn every_setting_that_changes_something_leaves_a_trace() {
    let shop = Shop::open().await;
    for available in [5, 9, 9, 2] {
        assert_eq!(shop.set("MUG", json!({"available": available})).await.status, StatusCode::OK);
    }
    assert_eq!((shop.count("ADJUSTMENT#").await, shop.count("STOCK").await), (3, 1));
}

#[tokio::test]
async fn a_setting_whose_answer_is_lost_is_done_once() {
    let shop = Shop::open().await;
    shop.faults.lose_answers("TransactWriteItems", MAX_ATTEMPTS);
    let lost = shop.set("MUG", json!({"available": 5})).await;
    assert_eq!(
        (lost.status, &lost.headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert_eq!(shop.set("MUG", json!({"available": 5})).await.status, StatusCode::OK);
    assert_eq!(shop.count("ADJUSTMENT#").await, 1);
}

#[tokio::test]
async fn a_setting_that_meets_another_transaction_is_tried_again() {
    let shop = Shop::open().await;
    shop.faults.conflict(2);
    assert_eq!(shop.set("MUG", json!({"available": 5})).await.status, StatusCode::OK);
}

#[rstest]
#[case::a_sku_never_set("/v1/inventory/NEVER")]
#[case::what_cannot_be_a_sku("/v1/inventory/a%20b")]
#[case::no_sku("/v1/inventory")]
#[case::deeper("/v1/inventory/MUG/more")]
#[tokio::test]
async fn what_is_not_there_is_404(#[case] path: &str) {
    let answer = Shop::open().await.get(path).await;
    assert_problem(&answer, StatusCode::NOT_FOUND);
}

fn assert_problem(answer: &Answer, status: StatusCode) {
    assert_eq!(answer.status, status, "{}", answer.json);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.json["status"], status.as_u16());
    assert_eq!(answer.json["correlation_id"], answer.headers["x-correlation-id"].to_str().unwrap());
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
    let shop = Shop::open().await;
    let mut request = Request::builder().method(method).uri("/v1/inventory/MUG");
    let bearer = match who {
        Some("admin") => Some(shop.tokens.admin()),
        Some("customer") => Some(shop.tokens.user(&UserId::generate())),
        other => other.map(str::to_owned),
    };
    if let Some(bearer) = bearer {
        request = request.header("authorization", bearer);
    }
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    let answer = shop.send(request.body(RawBody::from(body.to_owned())).unwrap()).await;
    assert_problem(&answer, StatusCode::from_u16(status).unwrap());
    assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    assert_eq!(shop.count("").await, 0);
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
    let shop = Shop::open().await;
    let answer = shop.set("MUG", body).await;
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY);
    let named = answer.json["errors"][0]["field"].as_str().unwrap_or_default();
    assert!(named.starts_with(field), "{}", answer.json);
    assert_eq!(shop.count("").await, 0);
}

#[tokio::test]
async fn a_malformed_sku_cannot_be_set() {
    let shop = Shop::open().await;
    assert_problem(&shop.set("a%20b", json!({"available": 1})).await, StatusCode::NOT_FOUND);
    assert_eq!(shop.count("").await, 0);
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_503_and_says_nothing_internal() {
    let shop = Shop::open().await;
    shop.faults.refuse("BatchGetItem", MAX_ATTEMPTS);
    let answer = shop.get("/v1/inventory/MUG").await;
    assert_problem(&answer, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(!answer.json.to_string().contains("BatchGetItem"));
}

#[tokio::test]
async fn while_the_table_does_not_answer_the_last_known_stock_is_shown_and_low_at_best() {
    let shop = Shop::open().await;
    shop.set("MUG", json!({"available": 40})).await;
    shop.set("CUP", json!({"available": 0})).await;
    let current = shop.get("/v1/inventory/MUG").await;
    assert_eq!(current.json, json!({"sku": "MUG", "available": 40, "availability": "in_stock"}));
    assert_eq!(current.headers["cache-control"], "public, max-age=0, stale-if-error=1800");
    shop.get("/v1/inventory/CUP").await;

    shop.faults.refuse("BatchGetItem", 3 * MAX_ATTEMPTS);
    let last_known_at = shop.get("/v1/inventory/MUG").await;
    assert_eq!((last_known_at.status, &last_known_at.json["available"]), (StatusCode::OK, &json!(40)));
    assert_eq!(last_known_at.json["availability"], "low_stock");
    assert!(last_known_at.json["as_of"].is_string());
    assert_eq!(shop.get("/v1/inventory/CUP").await.json["availability"], "out_of_stock");
    assert_problem(&shop.get("/v1/inventory/TEA").await, StatusCode::SERVICE_UNAVAILABLE);

    let back = shop.get("/v1/inventory/MUG").await;
    assert_eq!(back.json, current.json);
}

#[tokio::test]
async fn what_is_known_replaces_no_other_error_than_an_outage() {
    let shop = Shop::open().await;
    shop.set("MUG", json!({"available": 40})).await;
    shop.get("/v1/inventory/MUG").await;
    let mut damaged = key("STOCK#MUG#0", "STOCK");
    damaged.insert("available".to_owned(), string("many"));
    let put = shop.table.client.put_item().table_name(&shop.table.name).set_item(Some(damaged));
    put.send().await.unwrap();
    assert_problem(&shop.get("/v1/inventory/MUG").await, StatusCode::INTERNAL_SERVER_ERROR);

    shop.faults.refuse("BatchGetItem", MAX_ATTEMPTS);
    assert_problem(&shop.get("/v1/inventory/a%20b").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn shards_are_added_and_never_taken_away() {
    let shop = Shop::open().await;
    for shards in [1, 4, 64] {
        let set = shop.set("MUG", json!({"available": 100, "shards": shards})).await;
        assert_eq!((set.status, &set.json["available"]), (StatusCode::OK, &json!(100)), "{shards}");
    }
    let fewer = shop.set("MUG", json!({"available": 100, "shards": 63})).await;
    assert_problem(&fewer, StatusCode::UNPROCESSABLE_ENTITY);
    let message = "never shrinks: the stock is spread over 64 shards already";
    assert_eq!(fewer.json["errors"], json!([{"field": "shards", "message": message}]));
    assert_eq!(shop.get("/v1/inventory/MUG").await.json["available"], 100);
    assert_eq!(shop.count("STOCK").await, 65);
}

#[tokio::test]
async fn what_is_called_low_is_set_for_each_sku() {
    let shop = Shop::open().await;
    let wary = shop.set("MUG", json!({"available": 10, "low_stock": 10})).await;
    assert_eq!(wary.json["availability"], "low_stock");
    assert_eq!(shop.set("MUG", json!({"available": 11})).await.json["availability"], "in_stock");
    assert_eq!(shop.set("MUG", json!({"available": 9})).await.json["availability"], "low_stock");
    assert_eq!(shop.set("CUP", json!({"available": 9})).await.json["availability"], "in_stock");
}

#[tokio::test]
async fn an_adjustment_is_made_once_and_a_repeat_is_answered_as_the_first() {
    let shop = Shop::open().await;
    shop.set("MUG", json!({"available": 10})).await;
    let broken = json!({"delta": -4, "reason": "broken"});
    let first = shop.adjust("MUG", "a", broken.clone()).await;
    let seen = json!({"sku": "MUG", "available": 6, "availability": "in_stock"});
    assert_eq!((first.status, &first.json), (StatusCode::OK, &seen));
    assert!(!first.headers.contains_key("idempotent-replayed"));

    shop.adjust("MUG", "b", json!({"delta": 1, "reason": "found"})).await;
    let again = shop.adjust("MUG", "a", broken).await;
    assert_eq!((again.status, &again.json), (StatusCode::OK, &seen), "whatever changed since");
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(shop.get("/v1/inventory/MUG").await.json["available"], 7);
    assert_eq!(shop.count("ADJUSTMENT#").await, 3);

    let other = shop.adjust("MUG", "a", json!({"delta": -5, "reason": "broken"})).await;
    assert_problem(&other, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(shop.get("/v1/inventory/MUG").await.json["available"], 7);
}

#[rstest]
#[case::seen_by_the_client_alone(1, StatusCode::OK)]
#[case::seen_by_the_administrator(MAX_ATTEMPTS, StatusCode::SERVICE_UNAVAILABLE)]
#[tokio::test]
async fn an_adjustment_whose_answer_is_lost_is_made_once(#[case] lost: u32, #[case] status: StatusCode) {
    let shop = Shop::open().await;
    shop.set("MUG", json!({"available": 10, "shards": 4})).await;
    shop.faults.lose_answers("TransactWriteItems", lost);
    let found = json!({"delta": 3, "reason": "found"});
    assert_eq!(shop.adjust("MUG", "a", found.clone()).await.status, status);
    let again = shop.adjust("MUG", "a", found).await;
    assert_eq!((again.status, &again.json["available"]), (StatusCode::OK, &json!(13)));
    assert_eq!(shop.get("/v1/inventory/MUG").await.json["available"], 13);
}

#[tokio::test]
async fn adjustments_at_once_are_all_made() {
    let shop = Shop::open().await;
    shop.set("MUG", json!({"available": 10, "shards": 2})).await;
    let keys: Vec<String> = (0..10).map(|n| format!("key-{n}")).collect();
    let one = || json!({"delta": -1, "reason": "count"});
    let answers = futures::future::join_all(keys.iter().map(|key| shop.adjust("MUG", key, one()))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    assert_eq!(shop.get("/v1/inventory/MUG").await.json["available"], 0);
    assert_problem(&shop.adjust("MUG", "more", one()).await, StatusCode::UNPROCESSABLE_ENTITY);
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
    let shop = Shop::open().await;
    shop.set("MUG", json!({"available": 3})).await;
    let mut request = Request::post(format!("/v1/inventory/{sku}/adjustments"))
        .header("authorization", shop.tokens.admin())
        .header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let answer = shop.send(request.body(RawBody::from(body.to_string())).unwrap()).await;
    assert_problem(&answer, StatusCode::from_u16(status).unwrap());
    assert_eq!(shop.get("/v1/inventory/MUG").await.json["available"], 3);
    assert_eq!(shop.count("ADJUSTMENT#").await, 1);
}

#[tokio::test]
async fn only_administrators_adjust() {
    let shop = Shop::open().await;
    let ask = |bearer: String| {
        Request::post("/v1/inventory/MUG/adjustments")
            .header("authorization", bearer)
            .header("idempotency-key", "k")
            .body(RawBody::empty())
            .unwrap()
    };
    let customer = shop.send(ask(shop.tokens.user(&UserId::generate()))).await;
    assert_problem(&customer, StatusCode::FORBIDDEN);
    assert_problem(&shop.send(ask("Bearer a.b.c".to_owned())).await, StatusCode::UNAUTHORIZED);
}
