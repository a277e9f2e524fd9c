//! Callers that exceed a rate limit get 429 with the time to wait.

use std::time::{Duration, Instant};

use contracts::Sku;
use futures::{StreamExt, TryStreamExt, stream};
use lambda_kit::limits::{AUTH, EXPORT, ORDERS, RateLimit};
use reqwest::{Method, StatusCode};
use serde_json::json;
use shop_client::{Answer, Shop};

use crate::fixture::{Fixture, buy, unique};
use crate::harness::Outcome;

// They use up what other tests need: all come from one address.
crate::tests![
    alone: a_user_who_orders_too_often_is_refused, an_address_that_tries_too_often_is_refused;
    any: a_user_who_exports_too_often_is_refused
];

/// As many calls as the emulators can answer concurrently: a limiter that does not answer in time lets
/// requests through.
const AT_ONCE: usize = 4;

/// Orders of a product that does not exist: each counts, and none is placed.
async fn a_user_who_orders_too_often_is_refused(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let nothing = buy(&Sku::try_from("NO-SUCH-THING")?);
    let ask = async |shop: &Shop| {
        let call = shop.call(Method::POST, "/v1/orders").header("idempotency-key", &unique("key"));
        call.json(&nothing).send_once().await
    };
    let (open, started) = (failed_open(&fixture, "orders-api").await?, Instant::now());
    let answers: Vec<Answer> =
        stream::iter(0..60).map(|_| ask(&customer.shop)).buffered(AT_ONCE).try_collect().await?;
    let (took, open) = (started.elapsed(), failed_open(&fixture, "orders-api").await? - open);
    assert_limited(&answers, ORDERS.rate, StatusCode::UNPROCESSABLE_ENTITY, took, open);
    let other = fixture.customer().await?;
    assert_eq!(
        ask(&other.shop).await?.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "everybody has a limit each"
    );
    Ok(())
}

async fn a_user_who_exports_too_often_is_refused(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let export = async |shop: &Shop| shop.call(Method::GET, "/v1/users/me/export").send_once().await;
    let (mut answers, started) = (Vec::new(), Instant::now());
    for _ in 0..EXPORT.rate.burst + 3 {
        answers.push(export(&customer.shop).await?);
    }
    assert_limited(&answers, EXPORT.rate, StatusCode::OK, started.elapsed(), 0);
    let other = fixture.customer().await?;
    assert_eq!(export(&other.shop).await?.status, StatusCode::OK, "each user has a limit");
    Ok(())
}

async fn an_address_that_tries_too_often_is_refused(fixture: Fixture) -> Outcome {
    let open = failed_open(&fixture, "users-api").await?;
    let (mut answers, started) = (Vec::new(), Instant::now());
    while answers.len() < 1500 && !answers.iter().any(is_refused) {
        let calls = stream::iter(0..60).map(|_| {
            fixture
                .shop
                .call(Method::POST, "/v1/auth/logout")
                .json(&json!({"refresh_token": "x"}))
                .send_once()
        });
        answers.extend(calls.buffered(AT_ONCE).try_collect::<Vec<_>>().await?);
    }
    let (took, open) = (started.elapsed(), failed_open(&fixture, "users-api").await? - open);
    assert_limited(&answers, AUTH.rate, StatusCode::NO_CONTENT, took, open);
    Ok(())
}

fn is_refused(answer: &Answer) -> bool {
    answer.status == StatusCode::TOO_MANY_REQUESTS
}

/// How many requests the function has let in uncounted because its limiter did not answer in time, by its log.
async fn failed_open(fixture: &Fixture, function: &str) -> Outcome<usize> {
    Ok(fixture.log_lines(function, &["a rate limit does not answer, failing open"]).await?.len())
}

/// At most the bucket's content and its refill in that time were accepted, and those that the limiter let in uncounted,
/// which is `open` of them. All responses report the limit's state; a full bucket is reported only by the latter.
fn assert_limited(answers: &[Answer], limit: RateLimit, otherwise: StatusCode, took: Duration, open: usize) {
    let (refused, taken): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| is_refused(answer));
    let came_back = took.as_micros() / limit.interval.as_micros() + 1;
    assert!(!refused.is_empty(), "{} of {} were taken within {took:?}", taken.len(), answers.len());
    let number = |answer: &Answer, name: &str| answer.header(name).and_then(|text| text.parse::<u64>().ok());
    let left = |answer: &Answer| number(answer, "ratelimit-remaining");
    let (uncounted, counted): (Vec<_>, Vec<_>) =
        taken.iter().copied().partition(|answer: &&Answer| left(answer) == Some(u64::from(limit.burst)));
    assert!(uncounted.len() <= open, "{} were not counted, {open} by the limiter's log", uncounted.len());
    assert!(counted.len() as u128 <= u128::from(limit.burst) + came_back, "{} were taken", counted.len());
    assert!(counted.iter().all(|answer| left(answer).is_some_and(|left| left < u64::from(limit.burst))));
    for answer in taken {
        assert_eq!(answer.status, otherwise);
        assert_eq!(number(answer, "ratelimit-limit"), Some(u64::from(limit.burst)));
    }
    for answer in refused {
        assert_eq!(answer.value()["status"], 429);
        assert!(number(answer, "retry-after").is_some_and(|seconds| (1..=60).contains(&seconds)));
        assert_eq!(left(answer), Some(0));
    }
}
