use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;

/// A fake localstripe that counts requests and delays them on demand.
#[derive(Clone, Default)]
struct Upstream {
    charged: Arc<AtomicUsize>,
    go: Arc<Notify>,
}

struct Bench {
    url: String,
    upstream: Upstream,
    http: reqwest::Client,
}

impl Bench {
    async fn new() -> Self {
        let upstream = Upstream::default();
        let charge = |State(upstream): State<Upstream>| async move {
            let count = upstream.charged.fetch_add(1, Ordering::SeqCst) + 1;
            (StatusCode::PAYMENT_REQUIRED, [("x-count", count.to_string())], format!("{{\"count\":{count}}}"))
        };
        let slow = |State(upstream): State<Upstream>| async move {
            upstream.charged.fetch_add(1, Ordering::SeqCst);
            upstream.go.notified().await;
            "slow"
        };
        let unknown = |State(upstream): State<Upstream>| async move {
            upstream.charged.fetch_add(1, Ordering::SeqCst);
            StatusCode::UNAUTHORIZED
        };
        let routes = Router::new()
            .route("/v1/charges", post(charge).get(charge))
            .route("/v1/slow", post(slow))
            .route("/v1/unauthorized", post(unknown))
            .route("/v1/payment_intents", post(|| async { StatusCode::NOT_FOUND }))
            .route("/v1/payment_intents/{id}/confirm", post(|| async { "confirmed" }))
            .with_state(upstream.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(Proxy::new(&format!("http://{address}")).serve(listener));
        Self { url, upstream, http: crate::emulator::client() }
    }

    fn post(&self, path: &str, key: &str, body: &'static str) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}{path}", self.url))
            .header("authorization", "Bearer sk_test_one")
            .header("idempotency-key", key)
            .body(body)
    }

    async fn fault(&self, path_prefix: &str, mode: &str, count: u32) {
        let body = json!({"path_prefix": path_prefix, "mode": mode, "count": count});
        let answer = self.http.post(format!("{}/_faults", self.url)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }

    fn charged(&self) -> usize {
        self.upstream.charged.load(Ordering::SeqCst)
    }
}

async fn kind_of_error(answer: reqwest::Response) -> String {
    answer.json::<Value>().await.unwrap()["error"]["type"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_repeated_key_gets_the_first_answer_and_charges_once() {
    let bench = Bench::new().await;
    let first = bench.post("/v1/charges", "k", "amount=1").send().await.unwrap();
    assert!(!first.headers().contains_key("idempotent-replayed"));
    let again = bench.post("/v1/charges", "k", "amount=1").send().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.headers()["x-count"], "1");
    assert_eq!(
        (again.status(), first.status()),
        (StatusCode::PAYMENT_REQUIRED, StatusCode::PAYMENT_REQUIRED)
    );
    assert_eq!(again.bytes().await.unwrap(), first.bytes().await.unwrap());
    assert_eq!(bench.charged(), 1);
}

#[tokio::test]
async fn a_key_with_other_parameters_or_another_endpoint_is_refused() {
    let bench = Bench::new().await;
    bench.post("/v1/charges", "k", "amount=1").send().await.unwrap();
    for other in [bench.post("/v1/charges", "k", "amount=2"), bench.post("/v1/slow", "k", "amount=1")] {
        let answer = other.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(kind_of_error(answer).await, "idempotency_error");
    }
    assert_eq!(bench.charged(), 1);
}

#[tokio::test]
async fn keys_of_two_accounts_are_two_keys() {
    let bench = Bench::new().await;
    bench.post("/v1/charges", "k", "amount=1").send().await.unwrap();
    let other = bench
        .http
        .post(format!("{}/v1/charges", bench.url))
        .header("authorization", "Bearer sk_test_two")
        .header("idempotency-key", "k")
        .body("amount=2");
    assert_eq!(other.send().await.unwrap().headers()["x-count"], "2");
}

#[tokio::test]
async fn without_a_key_and_for_get_every_request_counts() {
    let bench = Bench::new().await;
    let url = format!("{}/v1/charges", bench.url);
    for _ in 0..2 {
        bench.http.post(&url).body("amount=1").send().await.unwrap();
        bench.http.get(&url).header("idempotency-key", "k").send().await.unwrap();
    }
    assert_eq!(bench.charged(), 4);
}

#[tokio::test]
async fn a_second_request_while_the_first_is_on_its_way_is_a_conflict() {
    let bench = Bench::new().await;
    let first = tokio::spawn(bench.post("/v1/slow", "k", "a=1").send());
    while bench.charged() == 0 {
        tokio::task::yield_now().await;
    }
    let second = bench.post("/v1/slow", "k", "a=1").send().await.unwrap();
    assert_eq!(second.status(), StatusCode::CONFLICT);
    bench.upstream.go.notify_one();
    assert_eq!(first.await.unwrap().unwrap().text().await.unwrap(), "slow");
    let third = bench.post("/v1/slow", "k", "a=1").send().await.unwrap();
    assert_eq!(third.headers()["idempotent-replayed"], "true");
    assert_eq!(bench.charged(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_still_leaves_its_answer() {
    let bench = Bench::new().await;
    let impatient = bench.post("/v1/slow", "k", "a=1").timeout(Duration::from_millis(100)).send().await;
    assert!(impatient.is_err());
    bench.upstream.go.notify_one();
    let again = async {
        loop {
            let answer = bench.post("/v1/slow", "k", "a=1").send().await.unwrap();
            if answer.status() != StatusCode::CONFLICT {
                return answer;
            }
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(5), again).await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(bench.charged(), 1);
}

#[tokio::test]
async fn a_refusal_that_executed_nothing_is_not_kept() {
    let bench = Bench::new().await;
    for _ in 0..2 {
        let answer = bench.post("/v1/unauthorized", "k", "a=1").send().await.unwrap();
        assert!(!answer.headers().contains_key("idempotent-replayed"));
    }
    assert_eq!(bench.charged(), 2);
}

#[tokio::test]
async fn a_dropped_answer_happened_and_is_replayed_to_the_retry() {
    let bench = Bench::new().await;
    bench.fault("/v1/charges", "drop_answer", 1).await;
    assert!(bench.post("/v1/charges", "k", "a=1").send().await.is_err());
    assert_eq!(bench.charged(), 1);
    let retry = bench.post("/v1/charges", "k", "a=1").send().await.unwrap();
    assert_eq!(retry.headers()["idempotent-replayed"], "true");
    assert_eq!(bench.charged(), 1);
}

#[tokio::test]
async fn a_refused_request_did_not_happen_and_its_key_is_free() {
    let bench = Bench::new().await;
    bench.fault("/v1/charges", "refuse", 2).await;
    for _ in 0..2 {
        assert!(bench.post("/v1/charges", "k", "a=1").send().await.is_err());
    }
    assert_eq!(bench.charged(), 0);
    assert_eq!(bench.post("/v1/charges", "k", "a=1").send().await.unwrap().headers()["x-count"], "1");
}

#[tokio::test]
async fn a_server_error_is_kept_whether_or_not_anything_happened() {
    for (mode, charged) in [("error_500_before", 0), ("error_500_after", 1)] {
        let bench = Bench::new().await;
        bench.fault("/v1/", mode, 1).await;
        for _ in 0..2 {
            let answer = bench.post("/v1/charges", "k", "a=1").send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "{mode}");
        }
        assert_eq!(bench.charged(), charged, "{mode}");
        bench.post("/v1/charges", "k2", "a=1").send().await.unwrap();
        assert_eq!(bench.charged(), charged + 1, "{mode}");
    }
}

#[tokio::test]
async fn a_hanging_request_gets_no_answer_and_does_not_happen() {
    let bench = Bench::new().await;
    bench.fault("/v1/charges", "hang", 1).await;
    let answer = bench.post("/v1/charges", "k", "a=1").timeout(Duration::from_millis(200)).send().await;
    assert!(answer.unwrap_err().is_timeout());
    assert_eq!(bench.charged(), 0);
}

#[tokio::test]
async fn a_fault_for_the_keys_of_one_order_leaves_other_orders_alone() {
    let bench = Bench::new().await;
    let fault = json!({"key_prefix": "ord_1.refund", "mode": "refuse", "count": 100});
    let answer = bench.http.post(format!("{}/_faults", bench.url)).json(&fault).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(bench.post("/v1/charges", "ord_1.refund.1", "a=1").send().await.is_err());
    for other in ["ord_1.create.1", "ord_2.refund.1"] {
        assert!(bench.post("/v1/charges", other, "a=1").send().await.is_ok(), "{other}");
    }
    assert!(bench.http.get(format!("{}/v1/charges", bench.url)).send().await.is_ok(), "without a key");
}

#[tokio::test]
async fn faults_concern_their_path_only_and_can_be_taken_back() {
    let bench = Bench::new().await;
    bench.fault("/v1/refunds", "refuse", 1).await;
    assert!(bench.post("/v1/charges", "k", "a=1").send().await.is_ok());
    bench.fault("/v1/charges", "refuse", 100).await;
    bench.http.delete(format!("{}/_faults", bench.url)).send().await.unwrap();
    assert!(bench.post("/v1/charges", "k2", "a=1").send().await.is_ok());
    let wrong = bench
        .http
        .post(format!("{}/_faults", bench.url))
        .body("{\"mode\":\"explode\"}")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn each_endpoint_gets_so_many_requests_a_second_whatever_their_ids_and_the_others_are_429() {
    let bench = Bench::new().await;
    let limit = json!({"mode": "at_most", "per_second": 3});
    bench.http.post(format!("{}/_faults", bench.url)).json(&limit).send().await.unwrap();
    let mut statuses = Vec::new();
    for n in 0..5 {
        let path = format!("/v1/payment_intents/pi_{n}/confirm");
        statuses.push(bench.post(&path, &format!("k{n}"), "").send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_ne!(bench.post("/v1/charges", "k", "a=1").send().await.unwrap().status().as_u16(), 429);
    // No key keeps a 429, and a second later there is room.
    let again =
        async || bench.post("/v1/payment_intents/pi_4/confirm", "k4", "").send().await.unwrap().status();
    let room = async {
        while again().await != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), room).await.unwrap();

    let calls = bench.http.get(format!("{}/_calls", bench.url)).send().await.unwrap();
    let calls: Value = calls.json().await.unwrap();
    let refused =
        calls["calls"].as_array().unwrap().iter().filter(|call| {
            call["endpoint"] == "POST /v1/payment_intents/{id}/confirm" && call["status"] == 429
        });
    assert!(refused.count() >= 2, "{calls}");
}

#[tokio::test]
async fn a_gateway_that_is_down_closes_connections_until_its_time_is_over() {
    let bench = Bench::new().await;
    let down = json!({"mode": "down", "seconds": 1});
    bench.http.post(format!("{}/_faults", bench.url)).json(&down).send().await.unwrap();
    assert!(bench.post("/v1/charges", "k", "a=1").send().await.is_err());
    assert_eq!(bench.charged(), 0);
    let up = async {
        while bench.post("/v1/charges", "k", "a=1").send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), up).await.unwrap();
    assert_eq!(bench.charged(), 1);
}

#[tokio::test]
async fn modes_that_need_a_number_are_refused_without_one() {
    let bench = Bench::new().await;
    for wrong in [
        json!({"mode": "at_most"}),
        json!({"mode": "at_most", "per_second": 0}),
        json!({"mode": "down", "per_second": 1}),
        json!({"mode": "refuse", "seconds": 1}),
    ] {
        let answer = bench.http.post(format!("{}/_faults", bench.url)).json(&wrong).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn a_payment_method_that_does_not_exist_is_named_as_stripe_names_it() {
    let bench = Bench::new().await;
    let answer = bench.post("/v1/payment_intents", "k", "payment_method=pm_x").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let error: Value = answer.json().await.unwrap();
    let named = (&error["error"]["code"], &error["error"]["param"]);
    assert_eq!(named, (&json!("resource_missing"), &json!("payment_method")));
}
