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
    assert!((600..=900).contains(&seconds), "{seconds}");
    true
}

#[tokio::test]
async fn after_five_failures_in_a_network_the_right_password_has_to_wait_too() {
    let api = with_anna().await;
    fail(&api, 5, HOME, "anna@example.com").await;
    assert!(is_throttled(&api.login_from(HOME, "anna@example.com", RIGHT).await));
    assert!(is_throttled(&api.login_from(HOME, " ANNA@Example.com", RIGHT).await), "however it is written");
    fail(&api, 1, HOME, "ben@example.com").await;
}

#[tokio::test]
async fn a_stranger_in_another_network_does_not_lock_the_owner_out() {
    let api = with_anna().await;
    fail(&api, 5, ELSEWHERE, "anna@example.com").await;
    for _ in 0..100 {
        assert!(
            is_throttled(&api.login_from("2001:db8::8", "anna@example.com", WRONG).await),
            "the same /64"
        );
    }
    assert_eq!(api.login_from(HOME, "anna@example.com", RIGHT).await.status, StatusCode::OK);
}

#[tokio::test]
async fn fifty_failures_from_many_networks_stop_all_of_them_and_a_login_before_does_not_help() {
    let api = with_anna().await;
    for network in 0..10 {
        fail(&api, 5, &format!("198.51.100.{network}"), "anna@example.com").await;
        if network == 5 {
            assert_eq!(api.login_from(HOME, "anna@example.com", RIGHT).await.status, StatusCode::OK);
        }
    }
    assert!(is_throttled(&api.login_from(HOME, "anna@example.com", RIGHT).await));
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
        fail(&api, 4, HOME, "anna@example.com").await;
        assert_eq!(api.login_from(HOME, "anna@example.com", RIGHT).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn of_200_guesses_side_by_side_five_are_looked_at() {
    let api = with_anna().await;
    let guesses = (0..200).map(|n| {
        let password = if n == 100 { RIGHT } else { WRONG };
        api.login_from(HOME, "anna@example.com", password)
    });
    let answers = futures::future::join_all(guesses).await;
    let looked_at = answers.iter().filter(|answer| !is_throttled(answer)).count();
    assert!(looked_at <= 5, "{looked_at}");
    assert!(is_throttled(&answers[100]), "the right one gets the answer of the wrong ones");
}

#[tokio::test]
async fn the_table_does_not_name_the_source_of_a_failure() {
    let api = TestApi::new().await;
    fail(&api, 1, HOME, "typo@example.com").await;
    let stored = api.stored().await.join("\n");
    assert!(stored.contains("LOGIN#") && !stored.contains("typo") && !stored.contains(HOME), "{stored}");
}
