//! A new password for a user who has forgotten the old one.

use axum::http::StatusCode;
use contracts::{AccountContent, Recipient};
use lambda_kit::testing::Response;
use serde_json::{Value, json};

use crate::fixture::TestApi;

const EMAIL: &str = "anna@example.com";
const NEW: &str = "green mug 43";

async fn request(api: &TestApi, email: &str) -> Response {
    api.post("/v1/auth/password-reset", &json!({"email": email})).await
}

async fn confirm(api: &TestApi, token: &str, password: &str) -> Response {
    let body = json!({"token": token, "new_password": password});
    api.post("/v1/auth/password-reset/confirm", &body).await
}

async fn login(api: &TestApi, password: &str) -> StatusCode {
    api.login_from("192.0.2.1", EMAIL, password).await.status
}

fn refused_field(answer: &Response) -> &Value {
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    &answer.body["errors"][0]["field"]
}

#[tokio::test]
async fn a_token_sets_a_new_password_once_and_ends_all_sessions() {
    let api = TestApi::new().await;
    api.register(EMAIL).await;
    let (first, second) = (api.login().await, api.login().await);
    let answer = request(&api, " ANNA@example.com").await;
    assert_eq!((answer.status, answer.bytes.len()), (StatusCode::ACCEPTED, 0));
    let token = api.secret_sent_to(EMAIL).await;
    assert_eq!(refused_field(&confirm(&api, &token, "short").await), "new_password");

    let answer = confirm(&api, &token, NEW).await;
    assert_eq!((answer.status, answer.bytes.len()), (StatusCode::NO_CONTENT, 0));
    for tokens in [first, second] {
        let refresh = json!({"refresh_token": tokens["refresh_token"]});
        assert_eq!(api.post("/v1/auth/refresh", &refresh).await.status, StatusCode::UNAUTHORIZED);
    }
    let ended = api.events().await.iter().filter(|event| event.event_type == "session.ended").count();
    assert_eq!(ended, 2);
    assert_eq!(login(&api, "blue mug 42").await, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&api, NEW).await, StatusCode::OK);
    assert_eq!(refused_field(&confirm(&api, &token, "yellow mug 44").await), "token");
    let told = api.messages().await.pop().unwrap();
    assert_eq!(told.content, AccountContent::PasswordChanged);
    assert_eq!(told.recipient, Some(Recipient::Email(EMAIL.to_owned())));
}

#[tokio::test]
async fn every_token_is_void_once_the_password_has_changed() {
    let api = TestApi::new().await;
    api.register(EMAIL).await;
    request(&api, EMAIL).await;
    let first = api.secret_sent_to(EMAIL).await;
    request(&api, EMAIL).await;
    let second = api.secret_sent_to(EMAIL).await;
    assert_eq!(confirm(&api, &first, NEW).await.status, StatusCode::NO_CONTENT);
    assert_eq!(refused_field(&confirm(&api, &second, "yellow mug 44").await), "token");
    assert_eq!(login(&api, NEW).await, StatusCode::OK);
}

#[tokio::test]
async fn of_two_uses_of_a_token_at_once_one_succeeds() {
    let api = TestApi::new().await;
    api.register(EMAIL).await;
    request(&api, EMAIL).await;
    let token = api.secret_sent_to(EMAIL).await;
    let (a, b) = tokio::join!(confirm(&api, &token, NEW), confirm(&api, &token, "yellow mug 44"));
    let mut statuses = [a.status, b.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::NO_CONTENT, StatusCode::UNPROCESSABLE_ENTITY]);
}

#[tokio::test]
async fn an_owner_whose_logins_were_closed_by_guesses_is_let_in_after_the_reset() {
    let api = TestApi::new().await;
    api.register(EMAIL).await;
    for network in 0..10 {
        for _ in 0..5 {
            api.login_from(&format!("198.51.100.{network}"), EMAIL, "wrong").await;
        }
    }
    assert_eq!(login(&api, "blue mug 42").await, StatusCode::TOO_MANY_REQUESTS);
    request(&api, EMAIL).await;
    let token = api.secret_sent_to(EMAIL).await;
    confirm(&api, &token, NEW).await;
    assert_eq!(login(&api, NEW).await, StatusCode::OK);
}

#[tokio::test]
async fn an_unknown_address_costs_the_same_calls_and_gets_the_same_answer() {
    let api = TestApi::new().await;
    api.register(EMAIL).await;
    let mut seen = Vec::new();
    for email in [EMAIL, "ben@example.com"] {
        api.faults.reset();
        api.queue_faults.reset();
        let answer = request(&api, email).await;
        let (mut calls, queued) = (api.faults.calls(), api.queue_faults.calls());
        // Two of them run at the same time.
        calls.sort();
        seen.push((answer.status, answer.headers, answer.bytes, calls, queued));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].4, ["SendMessage"]);
    let messages = api.messages().await;
    assert_eq!(messages.iter().filter(|message| message.recipient.is_none()).count(), 1);
}

#[tokio::test]
async fn an_address_gets_three_tokens_and_the_answer_does_not_change() {
    let api = TestApi::new().await;
    api.register(EMAIL).await;
    for _ in 0..5 {
        assert_eq!(request(&api, EMAIL).await.status, StatusCode::ACCEPTED);
    }
    let messages = api.messages().await;
    let is_token = |content: &AccountContent| matches!(content, AccountContent::ResetPassword { .. });
    let sent = messages.iter().filter(|message| message.recipient.is_some() && is_token(&message.content));
    assert_eq!(sent.count(), 3);
    let token = api.secret_sent_to(EMAIL).await;
    assert_eq!(confirm(&api, &token, NEW).await.status, StatusCode::NO_CONTENT, "each of them is good");
}

#[tokio::test]
async fn what_is_no_address_and_no_token_is_answered_as_if_it_were_unknown() {
    let api = TestApi::new().await;
    assert_eq!(request(&api, "no address").await.status, StatusCode::ACCEPTED);
    assert!(api.messages().await.is_empty());
    for token in ["", "x", &"A".repeat(43)] {
        assert_eq!(refused_field(&confirm(&api, token, NEW).await), "token", "{token}");
    }
}

#[tokio::test]
async fn a_token_for_the_old_address_is_void_after_the_address_has_changed() {
    let (api, access_token) = TestApi::with_anna().await;
    request(&api, EMAIL).await;
    let token = api.secret_sent_to(EMAIL).await;
    api.post_as(&access_token, "/v1/users/me/email", &json!({"email": "new@example.com"})).await;
    let code = api.secret_sent_to("new@example.com").await;
    api.confirm(&access_token, contracts::events::Channel::Email, &code).await;
    assert_eq!(refused_field(&confirm(&api, &token, NEW).await), "token");
}

#[tokio::test]
async fn a_reset_that_meets_other_writes_and_lost_answers_is_made() {
    let api = TestApi::new().await;
    api.register(EMAIL).await;
    request(&api, EMAIL).await;
    let token = api.secret_sent_to(EMAIL).await;
    api.faults.conflict(1);
    api.faults.lose_answers("TransactWriteItems", 1);
    assert_eq!(confirm(&api, &token, NEW).await.status, StatusCode::NO_CONTENT);
    assert_eq!(login(&api, NEW).await, StatusCode::OK);
}

#[tokio::test]
async fn a_user_who_changes_the_password_is_told() {
    let (api, token) = TestApi::with_anna().await;
    let body = json!({"current_password": "blue mug 42", "new_password": NEW});
    let changed = api.post_as(&token, "/v1/users/me/password", &body).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT);
    let told = api.messages().await.pop().unwrap();
    assert_eq!(told.content, AccountContent::PasswordChanged);
}

#[tokio::test]
async fn a_request_without_the_queue_is_answered_with_503() {
    let api = TestApi::new().await;
    api.queue_faults.refuse("SendMessage", 3);
    assert_eq!(request(&api, EMAIL).await.status, StatusCode::SERVICE_UNAVAILABLE);
}
