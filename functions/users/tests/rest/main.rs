//! The users' API against a real table, with keys as KMS would give them.

mod codes;
mod erasure;
mod fixture;
mod password;
mod profile;
mod refusals;
mod reset;
mod rotation;
mod sessions;
mod suspension;
mod throttle;

use axum::http::StatusCode;
use fixture::{TestApi, anna};
use serde_json::json;

#[tokio::test]
async fn a_person_registers_logs_in_and_sees_their_profile() {
    let api = TestApi::new().await;
    let registered = api.post("/v1/auth/register", &anna()).await;
    assert_eq!(registered.status, StatusCode::CREATED);
    let id = registered.body["user_id"].clone();
    assert_eq!(registered.body, json!({"user_id": id, "email": "anna@example.com", "name": "Anna"}));

    let login = json!({"email": " ANNA@example.com", "password": "blue mug 42"});
    let tokens = api.post("/v1/auth/login", &login).await;
    assert_eq!(tokens.status, StatusCode::OK);
    assert_eq!(tokens.headers["cache-control"], "no-store");
    assert_eq!((&tokens.body["token_type"], &tokens.body["expires_in"]), (&json!("Bearer"), &json!(900)));

    let me = api.get("/v1/users/me", tokens.body["access_token"].as_str()).await;
    assert_eq!(me.status, StatusCode::OK);
    assert_eq!(
        me.body,
        json!({
            "user_id": id, "email": "anna@example.com", "name": "Anna", "phone": "+14155550123",
            "notification_preferences": {"email": true, "sms": true},
            "email_verified": false, "phone_verified": false,
        })
    );
}

#[tokio::test]
async fn no_user_registers_as_an_administrator_and_the_token_of_one_has_the_role() {
    let api = TestApi::new().await;
    let mut body = anna();
    body["roles"] = json!(["admin"]);
    api.post("/v1/auth/register", &body).await;
    assert_eq!(api.claims(&api.login().await).await.roles, vec![]);

    api.make_admin("anna@example.com").await;
    assert_eq!(api.claims(&api.login().await).await.roles, vec![lambda_kit::jwt::Role::Admin]);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_answered_byte_by_byte_the_same() {
    let api = TestApi::new().await;
    api.post("/v1/auth/register", &anna()).await;
    let mut answers = Vec::new();
    for (email, password) in [
        ("anna@example.com", "green mug 42"),
        ("ben@example.com", "blue mug 42"),
        ("no address", "blue mug 42"),
        (&"x".repeat(5000), ""),
    ] {
        let answer = api.post("/v1/auth/login", &json!({"email": email, "password": password})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        answers.push((answer.headers, answer.bytes));
    }
    // The tests send the same correlation id each time, so not even that differs.
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_table_that_is_down_is_answered_with_503_and_nothing_internal() {
    let api = TestApi::new().await;
    api.faults.refuse("TransactWriteItems", 99);
    let answer = api.post("/v1/auth/register", &anna()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("registering"));
}

#[tokio::test]
async fn the_keys_that_tokens_are_checked_with_are_public() {
    let api = TestApi::new().await;
    let answer = api.get("/.well-known/jwks.json", None).await;
    assert_eq!(answer.status, StatusCode::OK);
    let key = &answer.body["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("EC"), &json!("P-256"), &json!("ES256")));
    assert_eq!(key["kid"], lambda_kit::testing::kms::KEY_ID);
}
