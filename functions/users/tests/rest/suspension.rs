//! Suspended accounts.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::fixture::{TestApi, anna};

async fn suspended() -> (TestApi, Value) {
    let api = TestApi::new().await;
    api.post("/v1/auth/register", &anna()).await;
    let tokens = api.login().await;
    api.suspend(&api.claims(&tokens).await.sub).await;
    (api, tokens)
}

#[tokio::test]
async fn a_suspended_user_cannot_log_in_and_only_the_right_password_learns_why() {
    let (api, _) = suspended().await;
    let login = async |password: &str| {
        api.post("/v1/auth/login", &json!({"email": "anna@example.com", "password": password})).await
    };
    let refused = login("blue mug 42").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.body["detail"].as_str().unwrap().contains("suspended"), "{}", refused.body);
    assert_eq!(login("green mug 42").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_suspended_user_cannot_refresh() {
    let (api, tokens) = suspended().await;
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    assert_eq!(api.post("/v1/auth/refresh", &refresh).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_from_before_the_suspension_changes_nothing_of_the_account() {
    let (api, tokens) = suspended().await;
    let token = tokens["access_token"].as_str().unwrap();
    assert_eq!(api.patch(token, &json!({"name": "Ben"})).await.status, StatusCode::FORBIDDEN);
    assert_eq!(api.delete(token).await.status, StatusCode::FORBIDDEN);
    let changed = api.change_password(&tokens, "blue mug 42", "green mug 43").await;
    assert_eq!(changed.status, StatusCode::FORBIDDEN);
    let me = api.get("/v1/users/me", Some(token)).await;
    assert_eq!((me.status, &me.body["name"]), (StatusCode::OK, &json!("Anna")));
}
