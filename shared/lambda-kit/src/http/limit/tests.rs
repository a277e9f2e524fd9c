use std::sync::atomic::{AtomicU32, Ordering};

use axum::{body::Body, routing::get};
use contracts::UserId;
use http::request::Builder;
use tower::ServiceExt;

use super::*;
use crate::{
    http::app,
    limits::LIMIT_CLASSES,
    testing::{self, Faults, Tokens},
};

/// Two requests, and one more in each minute.
const RATE: RateLimit = RateLimit::every(2, std::time::Duration::from_secs(60));
const BY_USER: LimitClass = LimitClass { name: "user", by: LimitedBy::User, rate: RATE, routes: "" };
const BY_NETWORK: LimitClass = LimitClass { name: "network", by: LimitedBy::Network, rate: RATE, routes: "" };

struct Fixture {
    app: Router,
    handled: Arc<AtomicU32>,
    faults: Faults,
    tokens: Tokens,
    user: UserId,
}

impl Fixture {
    async fn new() -> Self {
        let (table, faults) = testing::table(&[]).await;
        let (tokens, handled) = (Tokens::new(), Arc::<AtomicU32>::default());
        let count = {
            let handled = handled.clone();
            move || async move { handled.fetch_add(1, Ordering::SeqCst).to_string() }
        };
        let routes = Router::new()
            .route("/user", before(&BY_USER, get(count.clone())))
            .route("/network", before(&BY_NETWORK, get(count.clone())))
            .route("/during", during(&BY_USER, get(count)));
        let app = app(Limits::new(table).enforce(routes), tokens.verifier());
        Self { app, handled, faults, tokens, user: UserId::generate() }
    }

    fn of(&self, user: &UserId) -> Builder {
        Request::builder().header(header::AUTHORIZATION, self.tokens.user(user))
    }

    /// The statuses of `count` requests from this address.
    async fn send(&self, count: usize, address: &str, path: &str, request: impl Fn() -> Builder) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(self.response(address, path, request()).await.status().as_u16());
        }
        statuses
    }

    async fn response(&self, address: &str, path: &str, request: Builder) -> Response {
        let mut request = request.uri(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(ClientAddress(address.parse().ok()));
        self.app.clone().oneshot(request).await.unwrap()
    }
}

#[tokio::test]
async fn users_behind_one_address_have_a_limit_each() {
    let fixture = Fixture::new().await;
    let other = UserId::generate();
    for path in ["/user", "/during"] {
        let anna = fixture.send(1, "192.0.2.1", path, || fixture.of(&fixture.user)).await;
        assert_eq!(anna, [200], "the routes of a class share the user's requests: {path}");
    }
    let anna = fixture.send(2, "192.0.2.2", "/during", || fixture.of(&fixture.user)).await;
    assert_eq!(anna, [429, 429], "from another address, too");
    assert_eq!(fixture.send(3, "192.0.2.1", "/user", || fixture.of(&other)).await, [200, 200, 429]);
}

#[tokio::test]
async fn an_address_has_a_limit_whoever_its_users_are() {
    let fixture = Fixture::new().await;
    let statuses = fixture.send(3, "192.0.2.1", "/network", Request::builder).await;
    assert_eq!(statuses, [200, 200, 429]);
    let other = UserId::generate();
    assert_eq!(fixture.send(1, "192.0.2.1", "/network", || fixture.of(&other)).await, [429]);
    assert_eq!(fixture.send(1, "192.0.2.2", "/network", Request::builder).await, [200]);
}

#[tokio::test]
async fn a_refused_request_is_not_handled_and_says_when_to_try_again() {
    let fixture = Fixture::new().await;
    fixture.send(2, "192.0.2.1", "/user", || fixture.of(&fixture.user)).await;
    let refused = fixture.response("192.0.2.1", "/user", fixture.of(&fixture.user)).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let header = |name: &str| refused.headers()[name].to_str().unwrap().parse::<u32>().unwrap();
    assert!((59..=60).contains(&header("retry-after")), "{}", header("retry-after"));
    assert_eq!((header("ratelimit-limit"), header("ratelimit-remaining")), (2, 0));
    assert_eq!(fixture.handled.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_caller_that_is_known_to_be_refused_costs_no_write() {
    let fixture = Fixture::new().await;
    fixture.send(3, "192.0.2.1", "/network", Request::builder).await;
    fixture.faults.reset();
    assert_eq!(fixture.send(5, "192.0.2.1", "/network", Request::builder).await, [429; 5]);
    assert!(fixture.faults.calls().is_empty());
}

#[tokio::test]
async fn a_response_says_how_many_requests_are_left() {
    let fixture = Fixture::new().await;
    for path in ["/user", "/during"] {
        let fixture = Fixture::new().await;
        let first = fixture.response("192.0.2.1", path, fixture.of(&fixture.user)).await;
        assert_eq!(first.headers()["ratelimit-remaining"], "1", "{path}");
    }
    let direct = fixture.response("", "/user", fixture.of(&fixture.user)).await;
    assert!(!direct.headers().contains_key("ratelimit-remaining"));
}

#[tokio::test]
async fn a_limit_by_user_needs_a_token_and_takes_none_without_it() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.send(1, "192.0.2.1", "/user", Request::builder).await, [401]);
    assert!(fixture.faults.calls().is_empty());
}

#[tokio::test]
async fn a_direct_invocation_has_no_limit() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.send(5, "", "/user", || fixture.of(&fixture.user)).await, [200; 5]);
    assert!(fixture.faults.calls().is_empty());
}

#[tokio::test]
async fn a_bucket_that_cannot_be_read_refuses_no_request_and_one_that_is_throttled_does() {
    let fixture = Fixture::new().await;
    fixture.faults.refuse("UpdateItem", 10);
    assert_eq!(fixture.send(3, "192.0.2.1", "/network", Request::builder).await, [200; 3]);
    let fixture = Fixture::new().await;
    fixture.faults.throttle_calls("UpdateItem", 10);
    assert_eq!(fixture.send(1, "192.0.2.1", "/network", Request::builder).await, [429]);
}

#[tokio::test]
async fn a_function_that_enforces_no_limits_serves_no_route_that_has_one() {
    let routes = Router::new().route("/network", before(&BY_NETWORK, get("served")));
    let mut request = Request::get("/network").body(Body::empty()).unwrap();
    request.extensions_mut().insert(ClientAddress("192.0.2.1".parse().ok()));
    let response = app(routes, Tokens::new().verifier()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn an_instance_remembers_a_limited_number_of_refused_callers() {
    let (refused, now) = (Refused::default(), Timestamp::from_second(1_800_000_000).unwrap());
    let add = |n: usize, at: Timestamp| refused.add(n.to_string(), at, SignedDuration::from_secs(5));
    (0..=Refused::CAPACITY).for_each(|n| add(n, now));
    assert_eq!(refused.wait("0", now), Some(SignedDuration::from_secs(5)));
    assert_eq!(refused.wait(&Refused::CAPACITY.to_string(), now), None);
    let later = now.checked_add(SignedDuration::from_secs(5)).unwrap();
    assert_eq!(refused.wait("0", later), None);
    add(Refused::CAPACITY, later);
    assert!(refused.wait(&Refused::CAPACITY.to_string(), later).is_some());
    assert_eq!(refused.lock().len(), 1, "those whose time has come are forgotten");
}

#[test]
fn waits_are_rounded_up_to_seconds() {
    assert_eq!(seconds(SignedDuration::from_millis(1)), 1);
    assert_eq!(seconds(SignedDuration::from_millis(2000)), 2);
    assert_eq!(seconds(SignedDuration::ZERO), 0);
}

#[test]
fn no_name_contains_the_separator_of_the_buckets_keys() {
    assert!(LIMIT_CLASSES.iter().all(|class| !class.name.contains('/')));
}
