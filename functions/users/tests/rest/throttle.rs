//! Logins that fail too often.

use axum::http::StatusCode;

use lambda_kit::testing::Response;

use crate::fixture::{TestApi, anna};

const HOME: &str = "192.0.2.1";
const ELSEWHERE: &str = "2001:db8::7";
const RIGHT: &str = "blue mug 42";
const WRONG: &str = "green mug 42";

async fn with_anna() -> TestApi {
    let api = TestApi::new().await;
    api.post("/v1/auth/register", &anna()).await;
    api
}

async fn fail(api: &TestApi, times: usize, address: &str, email: &str) {
    for _ in 0..times {
        assert_eq!(api.login_from(address, email, WRONG).await.status, StatusCode::UNAUTHORIZED);
    }
}

fn is_throttled(answer: &Response) -> bool {
    if answer.status != StatusCode::TOO_MANY_REQUESTS {
        return false;
    }
    let seconds: i64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((890..=900).contains(&seconds), "{seconds}");
    true
}

#[tokio::test]
async fn after_five_failures_for_an_address_the_right_password_has_to_wait_too() {
    let api = with_anna().await;
    fail(&api, 5, HOME, "anna@example.com").await;
    assert!(is_throttled(&api.login_from(HOME, "anna@example.com", RIGHT).await));
    // However it is written, and from wherever.
    assert!(is_throttled(&api.login_from(ELSEWHERE, " ANNA@Example.com", RIGHT).await));
    fail(&api, 1, HOME, "ben@example.com").await;
}

#[tokio::test]
async fn an_unknown_address_is_counted_like_a_known_one() {
    let api = with_anna().await;
    fail(&api, 5, HOME, "nobody@example.com").await;
    assert!(is_throttled(&api.login_from(HOME, "nobody@example.com", WRONG).await));
}

#[tokio::test]
async fn a_login_resets_the_failures_before_it() {
    let api = with_anna().await;
    for _ in 0..2 {
        fail(&api, 3, HOME, "anna@example.com").await;
        assert_eq!(api.login_from(HOME, "anna@example.com", RIGHT).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_client_that_tries_many_accounts_is_stopped_and_a_login_of_its_own_does_not_help() {
    let api = with_anna().await;
    for n in 0..8 {
        fail(&api, 1, HOME, &format!("someone{n}@example.com")).await;
        if n == 6 {
            assert_eq!(api.login_from(HOME, "anna@example.com", RIGHT).await.status, StatusCode::OK);
        }
    }
    assert!(is_throttled(&api.login_from(HOME, "anna@example.com", RIGHT).await));
    assert_eq!(api.login_from(ELSEWHERE, "anna@example.com", RIGHT).await.status, StatusCode::OK);
}

#[tokio::test]
async fn failures_with_an_invalid_address_are_counted_too() {
    let api = with_anna().await;
    fail(&api, 8, HOME, "no address").await;
    assert!(is_throttled(&api.login_from(HOME, "no address", WRONG).await));
}

#[tokio::test]
async fn the_table_does_not_name_the_source_of_a_failure() {
    let api = TestApi::new().await;
    fail(&api, 1, HOME, "typo@example.com").await;
    let stored = api.stored().await.join("\n");
    assert!(stored.contains("LOGIN#") && !stored.contains("typo") && !stored.contains(HOME), "{stored}");
}
