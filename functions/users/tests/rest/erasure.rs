//! Deleting one's account.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::fixture::{TestApi, anna};

async fn logged_in() -> (TestApi, Value) {
    let api = TestApi::new().await;
    api.post("/v1/auth/register", &anna()).await;
    let tokens = api.login().await;
    (api, tokens)
}

#[tokio::test]
async fn a_deleted_user_cannot_log_in_refresh_or_read_the_profile_and_the_address_is_free() {
    let (api, tokens) = logged_in().await;
    let token = tokens["access_token"].as_str().unwrap();
    let deleted = api.delete(token).await;
    assert_eq!((deleted.status, deleted.bytes.len()), (StatusCode::ACCEPTED, 0));

    let login = json!({"email": "anna@example.com", "password": "blue mug 42"});
    assert_eq!(api.post("/v1/auth/login", &login).await.status, StatusCode::UNAUTHORIZED);
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    assert_eq!(api.post("/v1/auth/refresh", &refresh).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(api.get("/v1/users/me", Some(token)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.patch(token, &json!({"name": "Anna B"})).await.status, StatusCode::NOT_FOUND);

    let [event] = &api.events().await[..] else { panic!("one event") };
    assert_eq!((event.event_type.as_str(), event.sequence), ("user.deleted", 2));
    let stored = api.stored().await.join("\n");
    for personal in ["anna", "Anna", "+1415", "argon2"] {
        assert!(!stored.contains(personal), "{stored}");
    }
    assert_eq!(api.post("/v1/auth/register", &anna()).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_repeated_deletion_is_accepted_and_does_not_touch_the_new_owner_of_the_address() {
    let (api, tokens) = logged_in().await;
    let token = tokens["access_token"].as_str().unwrap();
    api.faults.lose_answers("TransactWriteItems", 1);
    assert_eq!(api.delete(token).await.status, StatusCode::ACCEPTED);
    api.post("/v1/auth/register", &anna()).await;
    assert_eq!(api.delete(token).await.status, StatusCode::ACCEPTED);
    api.login().await;
    let deletions = api.events().await.iter().filter(|event| event.event_type == "user.deleted").count();
    assert_eq!(deletions, 1);
}

#[tokio::test]
async fn a_deletion_that_meets_other_transactions_is_made_nevertheless() {
    let (api, tokens) = logged_in().await;
    api.faults.conflict(2);
    assert_eq!(api.delete(tokens["access_token"].as_str().unwrap()).await.status, StatusCode::ACCEPTED);
    assert_eq!(api.events().await[0].event_type, "user.deleted");
}

#[tokio::test]
async fn a_deletion_needs_a_token() {
    let (api, _) = logged_in().await;
    assert_eq!(api.delete("nonsense").await.status, StatusCode::UNAUTHORIZED);
    api.login().await;
}
