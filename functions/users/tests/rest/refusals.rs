//! Refused requests: each gets a problem document and leaves no trace in the table, except a failed login's
//! count.

use contracts::UserId;
use lambda_kit::testing::Tokens;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixture::{TestApi, anna};

fn register_with(field: &str, value: Value) -> String {
    let mut body = anna();
    body[field] = value;
    body.to_string()
}

fn register_without(field: &str) -> String {
    let mut body = anna();
    body.as_object_mut().unwrap().remove(field);
    body.to_string()
}

const REGISTER: &str = "/v1/auth/register";
const LOGIN: &str = "/v1/auth/login";
const JSON: &str = "application/json";

#[rstest]
#[case("POST", REGISTER, JSON, "{".to_owned(), 400, None)]
#[case("POST", REGISTER, JSON, String::new(), 400, None)]
#[case("POST", REGISTER, JSON, format!("{} 1", anna()), 400, None)]
#[case("POST", LOGIN, JSON, "email=a".to_owned(), 400, None)]
#[case("GET", "/v1/users/me", JSON, String::new(), 401, None)]
#[case("POST", LOGIN, JSON, json!({"email": "a@example.com", "password": "blue mug 42"}).to_string(), 401, None)]
#[case("POST", "/v1/auth/refresh", JSON, json!({"refresh_token": "x"}).to_string(), 401, None)]
#[case("POST", "/v1/auth/reset", JSON, "{}".to_owned(), 404, None)]
#[case("POST", "/v1/auth/password-reset", JSON, "{}".to_owned(), 422, Some("email"))]
#[case("POST", "/v1/auth/password-reset", JSON, json!({"email": "a".repeat(255)}).to_string(), 422, Some("email"))]
#[case("POST", "/v1/auth/password-reset/confirm", JSON, json!({"new_password": "blue mug 42"}).to_string(), 422, Some("token"))]
#[case("POST", "/v1/users/me/verifications", JSON, json!({"channel": "email"}).to_string(), 401, None)]
#[case("POST", "/v1/users/me/verifications/confirm", JSON, json!({"channel": "email"}).to_string(), 401, None)]
#[case("POST", "/v1/users/me/email", JSON, json!({"email": "a@example.com"}).to_string(), 401, None)]
#[case("GET", "/v1/users", JSON, String::new(), 404, None)]
#[case("GET", "/v1/users/someone", JSON, String::new(), 404, None)]
#[case("GET", "/.well-known/openid-configuration", JSON, String::new(), 404, None)]
#[case("GET", REGISTER, JSON, String::new(), 405, None)]
#[case("DELETE", LOGIN, JSON, String::new(), 405, None)]
#[case("POST", "/v1/users/me", JSON, "{}".to_owned(), 405, None)]
#[case("POST", REGISTER, JSON, register_with("name", json!("x".repeat(64 * 1024))), 413, None)]
#[case("POST", REGISTER, "text/plain", anna().to_string(), 415, None)]
#[case("POST", LOGIN, "application/x-www-form-urlencoded", "email=a".to_owned(), 415, None)]
#[case("POST", REGISTER, JSON, register_without("email"), 422, Some("email"))]
#[case("POST", REGISTER, JSON, register_without("password"), 422, Some("password"))]
#[case("POST", REGISTER, JSON, register_without("name"), 422, Some("name"))]
#[case("POST", REGISTER, JSON, register_with("email", json!("anna")), 422, Some("email"))]
#[case("POST", REGISTER, JSON, register_with("email", json!(7)), 422, Some("email"))]
#[case("POST", REGISTER, JSON, register_with("password", json!("short")), 422, Some("password"))]
#[case("POST", REGISTER, JSON, register_with("password", json!("password123")), 422, Some("password"))]
#[case("POST", REGISTER, JSON, register_with("name", json!("  ")), 422, Some("name"))]
#[case("POST", REGISTER, JSON, register_with("name", json!("Win at https://evil.example/now")), 422, Some("name"))]
#[case("POST", REGISTER, JSON, register_with("phone", json!("0151 123")), 422, Some("phone"))]
#[case("POST", REGISTER, JSON, register_with("phone", json!(5)), 422, Some("phone"))]
#[case("POST", LOGIN, JSON, json!({"email": "anna@example.com"}).to_string(), 422, Some("password"))]
#[case("POST", "/v1/auth/refresh", JSON, "{}".to_owned(), 422, Some("refresh_token"))]
#[case("POST", "/v1/auth/logout", JSON, "{}".to_owned(), 422, Some("refresh_token"))]
#[tokio::test]
async fn a_refusal_is_a_problem_and_writes_nothing(
    #[case] method: &str,
    #[case] path: &str,
    #[case] content_type: &str,
    #[case] body: String,
    #[case] status: u16,
    #[case] field: Option<&str>,
) {
    let api = TestApi::new().await;
    let headers = [("content-type", content_type), ("x-correlation-id", "cor-7")];
    let answer = api.app.call(method, path, &headers, body).await;
    assert_eq!(answer.status, status);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["x-correlation-id"], "cor-7");
    assert_eq!(
        (&answer.body["status"], &answer.body["instance"], &answer.body["correlation_id"]),
        (&json!(status), &json!(path), &json!("cor-7"))
    );
    assert_eq!(answer.body["errors"][0]["field"].as_str(), field);
    assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    assert_eq!(answer.headers.contains_key("allow"), status == 405);
    let stored = api.stored().await;
    assert!(stored.iter().all(|item| item.contains("LOGIN#")), "{stored:?}");
}

#[tokio::test]
async fn a_taken_address_is_409_however_it_is_written() {
    let api = TestApi::new().await;
    api.post(REGISTER, &anna()).await;
    let mut again = anna();
    again["email"] = json!("ANNA@EXAMPLE.COM");
    again["name"] = json!("Somebody else");
    let answer = api.post(REGISTER, &again).await;
    assert_eq!((answer.status.as_u16(), &answer.body["status"]), (409, &json!(409)));
    let stored = api.stored().await;
    assert_eq!(stored.len(), 3, "the account, the profile and the code of the first");
    assert!(!stored.join("\n").contains("Somebody else"));
}

#[tokio::test]
async fn every_broken_rule_is_named_at_once_and_no_value_is_repeated() {
    let api = TestApi::new().await;
    let body = json!({"email": "anna@", "password": "hunter2", "name": "", "phone": "12"});
    let answer = api.post(REGISTER, &body).await;
    let errors = answer.body["errors"].as_array().unwrap();
    let mut fields: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["email", "name", "password", "phone"]);
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("hunter2"));
}

#[tokio::test]
async fn a_token_of_another_key_or_without_a_user_is_refused() {
    let api = TestApi::new().await;
    let foreign = Tokens::new().user(&UserId::generate());
    for token in ["", "x", foreign.trim_start_matches("Bearer ")] {
        assert_eq!(api.get("/v1/users/me", Some(token)).await.status, 401, "{token}");
    }
}

#[tokio::test]
async fn a_user_whose_account_is_gone_is_404() {
    let api = TestApi::new().await;
    api.post(REGISTER, &anna()).await;
    let tokens = api.login().await;
    api.forget_everyone().await;
    assert_eq!(api.get("/v1/users/me", tokens["access_token"].as_str()).await.status, 404);
}
