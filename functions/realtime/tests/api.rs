//! Tickets: who gets one, and its content.

use axum::http::{HeaderMap, StatusCode};
use contracts::UserId;
use lambda_kit::{
    jwt::Signer,
    testing::{self, App, Tokens},
};
use realtime::routes;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

/// An API whose KMS gives this response.
async fn api(kms: ResponseTemplate, tokens: &Tokens) -> (App, MockServer) {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(kms).mount(&server).await;
    let (sdk, _) = testing::sdk_config(&server.uri());
    let signer = Signer::new(aws_sdk_kms::Client::new(&sdk), "arn:aws:kms:::key/test".to_owned());
    let tickets = realtime::Tickets::new(signer, "wss://shop.example/live".to_owned());
    (App::new(routes(tickets), tokens.verifier()), server)
}

fn signature() -> ResponseTemplate {
    // SEQUENCE { INTEGER 1, INTEGER 1 }: what matters here is what is signed.
    ResponseTemplate::new(200).set_body_json(json!({"KeyId": "test", "Signature": "MAYCAQECAQE="}))
}

async fn post(app: &App, bearer: &str) -> (StatusCode, HeaderMap, Value) {
    let response = app.call("POST", "/v1/realtime/tickets", &[("authorization", bearer)], "").await;
    (response.status, response.headers, response.body)
}

fn claims(ticket: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = ticket.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_user_gets_a_ticket_for_the_websocket_that_lives_a_minute() {
    let (tokens, user) = (Tokens::new(), UserId::generate());
    let (app, _kms) = api(signature(), &tokens).await;
    let (status, headers, answer) = post(&app, &tokens.user(&user)).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!((&answer["expires_in"], &answer["url"]), (&json!(60), &json!("wss://shop.example/live")));
    let claims = claims(answer["ticket"].as_str().unwrap());
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!(user), &json!("ordersaga-realtime")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
    assert_eq!(claims["roles"], json!([]));
}

#[tokio::test]
async fn the_ticket_of_an_administrator_says_so() {
    let tokens = Tokens::new();
    let (app, _kms) = api(signature(), &tokens).await;
    let (_, _, answer) = post(&app, &tokens.admin()).await;
    assert_eq!(claims(answer["ticket"].as_str().unwrap())["roles"], json!(["admin"]));
}

#[tokio::test]
async fn without_a_good_access_token_there_is_no_ticket() {
    let tokens = Tokens::new();
    let (app, _kms) = api(signature(), &tokens).await;
    for bearer in ["", "Bearer x", &tokens.expired(&UserId::generate())] {
        assert_eq!(post(&app, bearer).await.0, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn when_the_key_cannot_sign_the_client_gets_a_retryable_error() {
    let tokens = Tokens::new();
    let (app, _kms) = api(ResponseTemplate::new(500), &tokens).await;
    let (status, headers, _) = post(&app, &tokens.user(&UserId::generate())).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key("retry-after"));
}
