//! The storefront's API, with a Lambda service that answers as the contexts would.

mod audit;
mod composed;

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, StatusCode};
use lambda_kit::testing::{self, App, Tokens};
use rstest::rstest;
use serde_json::{Value, json};
use storefront::{Composer, Page, ReadinessProbe, Storefront, Upstream, routes};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_json, method, path},
};

const FUNCTIONS: [(&str, &str); 8] = [
    ("users", "users-api"),
    ("catalog", "catalog-api"),
    ("inventory", "inventory-api"),
    ("orders", "orders-api"),
    ("payments", "payments-api"),
    ("fulfillment", "fulfillment-api"),
    ("notifications", "notifications-health"),
    ("realtime", "realtime-api"),
];

struct TestApi {
    app: App,
    lambda: MockServer,
    tokens: Tokens,
}

impl TestApi {
    async fn new() -> Self {
        let lambda = MockServer::start().await;
        let sdk = testing::sdk_config(&lambda.uri()).0;
        let (table, _) = testing::table(&[]).await;
        let contexts = ReadinessProbe::new(&(&sdk).into(), "test".to_owned());
        let upstream = Upstream::new(&(&sdk).into(), "test".to_owned(), &table);
        let page = Arc::new(Page::new("ws://127.0.0.1:4566/_aws/execute-api/w/live", None).unwrap());
        let (tokens, composer) = (Tokens::new(), Composer::new(upstream.clone()));
        let app = App::new(routes(Storefront { contexts, page, upstream, composer }), tokens.verifier());
        Self { app, lambda, tokens }
    }

    /// The function of `binary` answers a health question with this.
    async fn answers(&self, binary: &str, answer: ResponseTemplate) {
        Mock::given(method("POST"))
            .and(path(format!("/2015-03-31/functions/ordersaga-test-{binary}%3Alive/invocations")))
            .and(body_json(json!({"action": "health"})))
            .respond_with(answer)
            .mount(&self.lambda)
            .await;
    }

    async fn all_well_but(&self, sick: &str) {
        for (_, binary) in FUNCTIONS.iter().filter(|(_, binary)| *binary != sick) {
            self.answers(binary, well()).await;
        }
    }

    async fn send(&self, method: &str, path: &str) -> (StatusCode, HeaderMap, String) {
        let response = self.app.call(method, path, &[], "").await;
        (response.status, response.headers, String::from_utf8(response.bytes).unwrap())
    }

    async fn ready(&self) -> (StatusCode, HeaderMap, Value) {
        let (status, headers, body) = self.send("GET", "/health/ready").await;
        (status, headers, serde_json::from_str(&body).unwrap())
    }
}

fn well() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"status": "ok", "checks": {"table": "ok"}}))
}

#[tokio::test]
async fn a_live_function_says_that_it_is() {
    let (status, headers, body) = TestApi::new().await.send("GET", "/health/live").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"status":"ok"}"#));
    assert_eq!(headers["cache-control"], "no-store");
}

#[tokio::test]
async fn the_shop_is_ready_when_every_context_is_well() {
    let api = TestApi::new().await;
    api.all_well_but("none").await;
    let (status, _, body) = api.ready().await;
    assert_eq!((status, &body["status"]), (StatusCode::OK, &json!("ok")));
    let contexts = body["contexts"].as_object().unwrap();
    assert_eq!(contexts.len(), FUNCTIONS.len());
    for (context, _) in FUNCTIONS {
        assert_eq!(contexts[context], json!({"status": "ok", "checks": {"table": "ok"}}), "{context}");
    }
}

#[rstest]
#[case::says_so(
    ResponseTemplate::new(200).set_body_json(json!({"status": "down", "checks": {"table": "down", "key": "ok"}})),
    json!({"status": "down", "checks": {"table": "down", "key": "ok"}})
)]
#[case::fails(
    ResponseTemplate::new(200)
        .insert_header("X-Amz-Function-Error", "Unhandled")
        .set_body_json(json!({"status": "ok", "checks": {}, "errorMessage": "secret"})),
    json!({"status": "down", "checks": {}})
)]
#[case::is_throttled(
    ResponseTemplate::new(429)
        .insert_header("X-Amzn-ErrorType", "TooManyRequestsException")
        .set_body_json(json!({"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"})),
    json!({"status": "down", "checks": {}})
)]
#[case::answers_something_else(
    ResponseTemplate::new(200).set_body_json(json!({"batchItemFailures": []})),
    json!({"status": "down", "checks": {}})
)]
#[case::is_late(well().set_delay(Duration::from_secs(30)), json!({"status": "down", "checks": {}}))]
#[tokio::test]
async fn the_shop_is_not_ready_when_one_context(#[case] answer: ResponseTemplate, #[case] shown: Value) {
    let api = TestApi::new().await;
    api.answers("orders-api", answer).await;
    api.all_well_but("orders-api").await;
    let (status, headers, body) = api.ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (&headers["content-type"], &headers["retry-after"]),
        (&"application/json".parse().unwrap(), &"5".parse().unwrap())
    );
    assert_eq!((&body["status"], &body["contexts"]["orders"]), (&json!("down"), &shown));
    assert_eq!(body["contexts"]["users"]["status"], "ok");
    let asked = api.lambda.received_requests().await.unwrap();
    assert_eq!(asked.len(), FUNCTIONS.len(), "each is asked once");
}

#[tokio::test]
async fn the_page_may_run_its_own_script_only_and_talk_to_the_shop_only() {
    let (status, headers, html) = TestApi::new().await.send("GET", "/").await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(html.starts_with("<!doctype html>"));
    assert_eq!(headers["cache-control"], "no-cache", "a new version of the shop is seen at the next visit");
    let policy = headers["content-security-policy"].to_str().unwrap();
    let directives: Vec<&str> = policy.split("; ").collect();
    assert!(directives.contains(&"default-src 'none'"));
    assert!(directives.contains(&"connect-src 'self' ws://127.0.0.1:4566"));
    for (directive, element) in [("script-src", "script"), ("style-src", "style")] {
        let hash =
            directives.iter().find_map(|d| d.strip_prefix(directive)).unwrap().trim().trim_matches('\'');
        assert_eq!(hash, hash_of(&html, element));
    }
    assert!(!policy.contains("unsafe"));
}

fn hash_of(html: &str, element: &str) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::{Engine, engine::general_purpose::STANDARD};
    let start = html.find(&format!("<{element}>")).unwrap() + element.len() + 2;
    let end = html.find(&format!("</{element}>")).unwrap();
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, &html.as_bytes()[start..end])))
}

#[rstest]
#[case("GET", "/nowhere", 404)]
#[case("GET", "/v1/nothing", 404)]
#[case("GET", "/v2/orders", 404)]
#[case("POST", "/v1", 404)]
#[case("GET", "/index.html", 404)]
#[case("GET", "/health", 404)]
#[case("POST", "/", 405)]
#[case("DELETE", "/health/ready", 405)]
#[tokio::test]
async fn every_other_address_is_a_problem(#[case] method: &str, #[case] path: &str, #[case] status: u16) {
    let (answered, headers, body) = TestApi::new().await.send(method, path).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answered, status);
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!((&body["status"], &body["instance"]), (&json!(status), &json!(path)));
}
