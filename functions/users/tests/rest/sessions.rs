//! Refresh tokens: good once, gone with their family.

use axum::http::StatusCode;
use serde_json::{Value, json};

use lambda_kit::testing::Response;

use crate::fixture::{TestApi, anna};

async fn logged_in() -> (TestApi, Value) {
    let api = TestApi::new().await;
    api.post("/v1/auth/register", &anna()).await;
    let tokens = api.login().await;
    (api, tokens)
}

async fn refresh(api: &TestApi, tokens: &Value) -> Response {
    api.post("/v1/auth/refresh", &json!({"refresh_token": tokens["refresh_token"]})).await
}

#[tokio::test]
async fn a_refresh_token_brings_new_tokens_with_the_roles_of_now() {
    let (api, first) = logged_in().await;
    api.make_admin("anna@example.com").await;
    let second = refresh(&api, &first).await;
    assert_eq!(second.status, StatusCode::OK);
    assert_eq!(second.headers["cache-control"], "no-store");
    assert_ne!(second.body["refresh_token"], first["refresh_token"]);
    let (before, after) = (api.claims(&first).await, api.claims(&second.body).await);
    assert_eq!((after.sub, after.roles.len()), (before.sub, 1));
    assert_eq!(refresh(&api, &second.body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_reused_token_revokes_its_family_and_no_other() {
    let (api, first) = logged_in().await;
    let other = api.login().await;
    let second = refresh(&api, &first).await.body;
    assert_eq!(refresh(&api, &first).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&api, &second).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&api, &other).await.status, StatusCode::OK);
}

#[tokio::test]
async fn of_two_refreshes_at_once_at_most_one_succeeds() {
    let (api, first) = logged_in().await;
    let (a, b) = tokio::join!(refresh(&api, &first), refresh(&api, &first));
    let mut statuses = [a.status, b.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::UNAUTHORIZED]);
}

#[tokio::test]
async fn a_refresh_that_fails_halfway_leaves_the_token_good() {
    let (api, first) = logged_in().await;
    api.faults.refuse("PutItem", 3);
    assert_eq!(refresh(&api, &first).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refresh(&api, &first).await.status, StatusCode::OK);
}

#[tokio::test]
async fn logging_out_ends_the_family_and_may_be_repeated() {
    let (api, first) = logged_in().await;
    let second = refresh(&api, &first).await.body;
    for _ in 0..2 {
        let answer = api.post("/v1/auth/logout", &json!({"refresh_token": second["refresh_token"]})).await;
        assert_eq!((answer.status, answer.bytes.len()), (StatusCode::NO_CONTENT, 0));
    }
    assert_eq!(refresh(&api, &second).await.status, StatusCode::UNAUTHORIZED);
    let unknown = api.post("/v1/auth/logout", &json!({"refresh_token": "unknown"})).await;
    assert_eq!(unknown.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_unknown_token_is_refused() {
    let (api, _) = logged_in().await;
    for wrong in ["", "unknown", &"A".repeat(43)] {
        let answer = refresh(&api, &json!({"refresh_token": wrong})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
}

#[tokio::test]
async fn neither_password_nor_token_is_stored() {
    let (api, tokens) = logged_in().await;
    let stored = api.stored().await.join("\n");
    assert!(stored.contains("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert!(!stored.contains("blue mug 42"));
    assert!(!stored.contains(tokens["refresh_token"].as_str().unwrap()));
}

#[tokio::test]
async fn the_sessions_that_go_on_are_shown_when_they_are_asked_for() {
    let (api, first) = logged_in().await;
    let (second, third) = (api.login().await, refresh(&api, &first).await.body);
    api.post("/v1/auth/logout", &json!({"refresh_token": second["refresh_token"]})).await;
    let me = api.get("/v1/users/me?include=sessions", third["access_token"].as_str()).await.body;
    let sessions = me["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1, "one was spent, one was ended: {sessions:?}");
    assert!(sessions[0]["opened_at"].as_str().unwrap() < sessions[0]["expires_at"].as_str().unwrap());
    let me = api.get("/v1/users/me", third["access_token"].as_str()).await.body;
    assert!(me.get("sessions").is_none());
}
