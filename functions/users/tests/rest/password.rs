//! Changing one's password.

use axum::http::StatusCode;
use lambda_kit::testing::Response;
use serde_json::{Value, json};

use crate::fixture::{TestApi, anna};

const OLD: &str = "blue mug 42";
const NEW: &str = "green mug 43";

async fn logged_in() -> (TestApi, Value) {
    let api = TestApi::new().await;
    api.post("/v1/auth/register", &anna()).await;
    let tokens = api.login().await;
    (api, tokens)
}

async fn log_in(api: &TestApi, password: &str) -> Response {
    api.post("/v1/auth/login", &json!({"email": "anna@example.com", "password": password})).await
}

async fn refresh(api: &TestApi, tokens: &Value) -> Response {
    api.post("/v1/auth/refresh", &json!({"refresh_token": tokens["refresh_token"]})).await
}

#[tokio::test]
async fn a_new_password_replaces_the_old_one_and_ends_every_other_session() {
    let (api, first) = logged_in().await;
    let second = api.login().await;
    let changed = api.change_password(&first, OLD, NEW).await;
    assert_eq!((changed.status, changed.bytes.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(log_in(&api, OLD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(log_in(&api, NEW).await.status, StatusCode::OK);
    assert_eq!(refresh(&api, &second).await.status, StatusCode::UNAUTHORIZED);
    let first = refresh(&api, &first).await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(refresh(&api, &first.body).await.status, StatusCode::OK);
    let ended = api.events().await.into_iter().filter(|event| event.event_type == "session.ended");
    assert_eq!(
        ended.map(|event| event.subject).collect::<Vec<_>>(),
        [api.claims(&second).await.sid.to_string()]
    );
}

#[tokio::test]
async fn a_login_with_the_old_password_that_was_under_way_cannot_be_refreshed() {
    let (api, first) = logged_in().await;
    api.faults.reset();
    let held = api.faults.hold("PutItem");
    let late = async {
        let tokens = log_in(&api, OLD).await;
        assert_eq!(tokens.status, StatusCode::OK);
        tokens.body
    };
    let change = async {
        while !api.faults.calls().iter().any(|call| call == "PutItem") {
            tokio::task::yield_now().await;
        }
        assert_eq!(api.change_password(&first, OLD, NEW).await.status, StatusCode::NO_CONTENT);
        drop(held);
    };
    let (late, ()) = tokio::join!(late, change);
    assert_eq!(refresh(&api, &late).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&api, &first).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_current_password_changes_nothing_and_counts_as_a_failed_login() {
    let (api, tokens) = logged_in().await;
    for _ in 0..5 {
        let refused = api.change_password(&tokens, NEW, "black mug 44").await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.invalid_fields(), ["current_password"]);
    }
    assert_eq!(api.change_password(&tokens, OLD, NEW).await.status, StatusCode::TOO_MANY_REQUESTS);
    let elsewhere = api.login_from("198.51.100.7", "anna@example.com", OLD).await;
    assert_eq!(elsewhere.status, StatusCode::OK);
}

#[tokio::test]
async fn a_right_current_password_does_not_count_as_a_failed_login() {
    let (api, tokens) = logged_in().await;
    for (current, new) in [(OLD, NEW), (NEW, OLD)].repeat(3) {
        assert_eq!(api.change_password(&tokens, current, new).await.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn a_new_password_keeps_the_rules_of_a_first_one() {
    let (api, tokens) = logged_in().await;
    for new in ["short", "password123", ""] {
        let refused = api.change_password(&tokens, OLD, new).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.invalid_fields(), ["new_password"], "{new}");
    }
    assert_eq!(log_in(&api, OLD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_change_that_cannot_be_written_changes_nothing() {
    let (api, first) = logged_in().await;
    let second = api.login().await;
    api.faults.refuse("TransactWriteItems", 99);
    assert_eq!(api.change_password(&first, OLD, NEW).await.status, StatusCode::SERVICE_UNAVAILABLE);
    api.faults.reset();
    assert_eq!(log_in(&api, OLD).await.status, StatusCode::OK);
    assert_eq!(refresh(&api, &second).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_change_that_meets_other_transactions_or_loses_its_answer_is_made() {
    let (api, first) = logged_in().await;
    api.faults.conflict(2);
    api.faults.lose_answers_after(2, "TransactWriteItems", 1);
    assert_eq!(api.change_password(&first, OLD, NEW).await.status, StatusCode::NO_CONTENT);
    assert_eq!(log_in(&api, NEW).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_change_needs_a_recent_login() {
    let (api, tokens) = logged_in().await;
    let stale = api.stale_access_token(&tokens).await;
    let headers = [("authorization", &*stale), ("content-type", "application/json")];
    let body = json!({"current_password": OLD, "new_password": NEW}).to_string();
    let refused = api.app.call("POST", "/v1/users/me/password", &headers, body).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let challenge = "Bearer error=\"insufficient_user_authentication\", max_age=900";
    assert_eq!(refused.headers["www-authenticate"], challenge);
    assert_eq!(log_in(&api, OLD).await.status, StatusCode::OK);
}
