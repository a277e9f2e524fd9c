//! Against a small AWS in this process that refuses what it is told to refuse: the emulator's own root account may do
//! everything.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use local_stack::Emulator;
use serde_json::{Value, json};

use super::*;

const ORDER: &str = "ord_0123456789abcdef0123456789abcdef";

/// The tables, of which only that of orders may be read, and which throttles nothing.
async fn answer(
    State(allowed): State<&'static [&'static str]>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or(uri.path());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let what = format!("{target} {}", body["TableName"].as_str().unwrap_or_default());
    if !allowed.iter().any(|allowed| what.contains(allowed)) {
        let refusal =
            json!({"__type": "AccessDeniedException", "message": format!("not authorized: {what}")});
        return (StatusCode::BAD_REQUEST, Json(refusal)).into_response();
    }
    if what.contains("DescribeExecution") {
        let refusal = json!({"__type": "ExecutionDoesNotExist", "message": "Execution Does Not Exist"});
        return (StatusCode::BAD_REQUEST, Json(refusal)).into_response();
    }
    let example = include_str!("../../../../shared/contracts/schemas/order.created.v1.example.json");
    Json(json!({"Items": [{"outbox": {"L": [{"S": example}]}}]})).into_response()
}

async fn aws(allowed: &'static [&'static str]) -> Aws {
    let app = Router::new().fallback(answer).with_state(allowed);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    Aws::local(Emulator::new(&url))
}

#[tokio::test]
async fn what_may_not_be_read_is_left_out_with_a_warning_and_the_rest_is_shown() {
    let order = OrderId::try_from(ORDER).unwrap();
    let sources = read::sources(&aws(&["Query ordersaga-local-orders", "DescribeExecution"]).await, &order)
        .await
        .unwrap();
    let refused: Vec<&str> = sources.warnings.iter().map(|warning| warning.source.as_str()).collect();
    for source in ["the payment", "the logs", "the dead-letter queues", "the messages to the customer"] {
        assert!(refused.contains(&source), "{refused:?}");
    }
    let text = order_view::text(&OrderView::new(&sources, None), Terminal { width: 200, colour: false });
    assert!(text.contains("OrderCreated") && text.contains("The saga was never started"), "{text}");
    assert!(text.contains("not shown: the payment: ") && text.contains("AccessDenied"), "{text}");
}

#[tokio::test]
async fn credentials_that_may_read_nothing_are_an_error() {
    let order = OrderId::try_from(ORDER).unwrap();
    let refused = read::sources(&aws(&[]).await, &order).await.unwrap_err().to_string();
    assert!(refused.contains("AccessDenied"), "{refused}");
}

#[test]
fn a_subject_is_an_order_or_a_correlation_id() {
    assert_eq!(Subject::read(ORDER).unwrap(), Subject::Order(OrderId::try_from(ORDER).unwrap()));
    assert!(matches!(Subject::read("cor_1").unwrap(), Subject::Correlation(_)));
    for neither in ["ord_1", "a b", "", "anna@example.com"] {
        assert!(Subject::read(neither).unwrap_err().to_string().contains("is no order"), "{neither}");
    }
}

#[test]
fn a_time_is_absolute_or_after_the_order() {
    assert_eq!("2026-11-29T20:44:01Z".parse(), Ok(At::Time("2026-11-29T20:44:01Z".parse().unwrap())));
    for text in ["90s", "+90s", "1m30s"] {
        assert_eq!(text.parse(), Ok(At::After(SignedDuration::from_secs(90))), "{text}");
    }
    assert!("yesterday".parse::<At>().unwrap_err().contains("1.5s or 3m"));
}
