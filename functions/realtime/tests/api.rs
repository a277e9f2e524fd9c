//! Tickets: who gets one, and what it is.

use axum::http::StatusCode;
use contracts::UserId;
use lambda_kit::{
    dynamodb::{Table, key, number, string},
    jwt::{Audience, Claims, Role},
    testing::{self, App, Faults, Response, Tokens},
};
use realtime::{Store, routes};
use serde_json::json;

struct Fixture {
    app: App,
    table: Table,
    faults: Faults,
    tokens: Tokens,
}

impl Fixture {
    async fn new() -> Self {
        let ((table, faults), tokens) = (testing::table(&[]).await, Tokens::new());
        let tickets = realtime::Tickets::new(Store::new(table.clone()), "wss://shop.example/live".to_owned());
        Self { app: App::new(routes(tickets), tokens.verifier()), table, faults, tokens }
    }

    async fn post(&self, bearer: &str) -> Response {
        self.app.call("POST", "/v1/realtime/tickets", &[("authorization", bearer)], "").await
    }

    /// Stores a mark of a user or session, which expires after these seconds.
    async fn mark(&self, (pk, sk): (String, &str), state: Option<&str>, seconds: i64) {
        let mut mark = key(pk, sk);
        mark.insert("expires_at".to_owned(), number(jiff::Timestamp::now().as_second() + seconds));
        if let Some(state) = state {
            mark.insert("account_state".to_owned(), string(state));
            mark.insert("version".to_owned(), number(2));
        }
        self.table.put("marking", mark).await.unwrap();
    }

    async fn only_item(&self) -> String {
        let scan = self.table.client.scan().table_name(&self.table.name).send().await.unwrap();
        let [item] = scan.items() else { panic!("{:?}", scan.items()) };
        format!("{item:?}")
    }
}

#[tokio::test]
async fn a_user_gets_a_ticket_for_the_websocket_that_lives_a_minute() {
    let (fixture, user) = (Fixture::new().await, UserId::generate());
    let first = fixture.post(&fixture.tokens.user(&user)).await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(first.headers["cache-control"], "no-store");
    assert_eq!(
        (&first.body["expires_in"], &first.body["url"]),
        (&json!(60), &json!("wss://shop.example/live"))
    );
    let ticket = first.body["ticket"].as_str().unwrap();
    assert_eq!(ticket.len(), 43);
    let stored = fixture.only_item().await;
    assert!(stored.contains(user.as_str()) && stored.contains("Bool(false)"), "{stored}");
    assert!(!stored.contains(ticket), "only the hash is stored");
    assert_ne!(fixture.post(&fixture.tokens.user(&user)).await.body["ticket"], ticket);
}

#[tokio::test]
async fn the_ticket_of_an_administrator_says_so() {
    let fixture = Fixture::new().await;
    fixture.post(&fixture.tokens.admin()).await;
    assert!(fixture.only_item().await.contains("Bool(true)"));
    // Other staff watch their own orders.
    let fixture = Fixture::new().await;
    let roles = vec![Role::Support, Role::Fulfillment];
    fixture.post(&fixture.tokens.bearer(&UserId::generate(), roles, Audience::Api, 4_000_000_000)).await;
    assert!(fixture.only_item().await.contains("Bool(false)"));
}

#[tokio::test]
async fn without_a_good_access_token_there_is_no_ticket() {
    let fixture = Fixture::new().await;
    for bearer in ["", "Bearer x", &fixture.tokens.expired(&UserId::generate())] {
        assert_eq!(fixture.post(bearer).await.status, StatusCode::UNAUTHORIZED);
    }
    assert!(fixture.faults.calls().is_empty());
}

#[tokio::test]
async fn a_user_who_may_not_connect_gets_no_ticket() {
    for (state, status) in [
        (Some("suspended"), StatusCode::FORBIDDEN),
        (Some("deleted"), StatusCode::UNAUTHORIZED),
        (None, StatusCode::UNAUTHORIZED),
        (Some("active"), StatusCode::CREATED),
    ] {
        let (fixture, user) = (Fixture::new().await, UserId::generate());
        fixture.mark((format!("USER#{user}"), "BARRED"), state, 60).await;
        assert_eq!(fixture.post(&fixture.tokens.user(&user)).await.status, status, "{state:?}");
        fixture.mark((format!("USER#{user}"), "BARRED"), state, -1).await;
        assert_eq!(fixture.post(&fixture.tokens.user(&user)).await.status, StatusCode::CREATED, "{state:?}");
    }
}

#[tokio::test]
async fn a_session_that_has_ended_gets_no_ticket_and_another_one_does() {
    let (fixture, user) = (Fixture::new().await, UserId::generate());
    let claims = |session| {
        let claims = testing::claims(&user, vec![], Audience::Api, 4_000_000_000);
        format!("Bearer {}", fixture.tokens.sign(&Claims { sid: session, ..claims }))
    };
    let (ended, open) = (contracts::SessionId::generate(), contracts::SessionId::generate());
    fixture.mark((format!("SESSION#{ended}"), "ENDED"), None, 60).await;
    let refused = fixture.post(&claims(ended)).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.body["detail"].as_str().unwrap().contains("Log in again"));
    assert_eq!(fixture.post(&claims(open)).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_ticket_costs_one_read_and_one_write() {
    let fixture = Fixture::new().await;
    fixture.post(&fixture.tokens.user(&UserId::generate())).await;
    let mut calls = fixture.faults.calls();
    calls.sort();
    assert_eq!(calls, ["BatchGetItem", "PutItem"]);
}

#[tokio::test]
async fn when_the_table_is_down_the_client_gets_a_retryable_error() {
    let fixture = Fixture::new().await;
    fixture.faults.refuse("PutItem", lambda_kit::aws::MAX_ATTEMPTS);
    let answer = fixture.post(&fixture.tokens.user(&UserId::generate())).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));
}
