//! Rate limits: each caller has a token bucket for each class of routes, which all instances share.
//!
//! A route names its class: `.route("/v1/quotes", limit::before(&limits::QUOTES, post(show)))`. [`Limits`] enforces
//! them for a function. Requests that another function of the platform makes for a user do not come through the gateway
//! and have no limit, because the route that the user called has one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use axum::{
    Extension, Router,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::MethodRouter,
};
use contracts::UserId;
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::{ClientAddress, Identity, Problem};
use crate::{
    bucket::{Bucket, TakeOutcome},
    dynamodb::Table,
    limits::{self, LimitClass, LimitedBy, RateLimit},
};

/// Takes one of the caller's tokens before the request is handled.
///
/// The route answers 401 for a class by user when there is no valid access token, 429 when no token is left.
pub fn before<S: Clone + Send + Sync + 'static>(
    class: &'static LimitClass,
    methods: MethodRouter<S>,
) -> MethodRouter<S> {
    methods.route_layer(from_fn_with_state(class, take_before))
}

/// Takes one of the caller's tokens while the request is handled, so that the limit costs no time. For requests that
/// change nothing and cost little: handling stops when there is no token.
pub fn during<S: Clone + Send + Sync + 'static>(
    class: &'static LimitClass,
    methods: MethodRouter<S>,
) -> MethodRouter<S> {
    methods.route_layer(from_fn_with_state(class, take_during))
}

/// Lets the handler take the token, as [`Limited`].
pub fn by_handler<S: Clone + Send + Sync + 'static>(
    class: &'static LimitClass,
    methods: MethodRouter<S>,
) -> MethodRouter<S> {
    methods.route_layer(from_fn_with_state(class, offer))
}

/// Enforces the limits of a function's routes.
#[derive(Debug, Clone)]
pub struct Limits {
    table: Table,
    refused: Refused,
}

/// The caller's remaining tokens, which every response reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowance {
    rate: RateLimit,
    remaining: u32,
    reset: SignedDuration,
}

impl Limits {
    /// Keeps the buckets in a context's own table, which the function must be allowed to update.
    pub fn new(table: Table) -> Self {
        Self { table, refused: Refused::default() }
    }

    /// The routes, with the limits that they name.
    pub fn enforce(self, routes: Router) -> Router {
        routes.layer(Extension(self))
    }

    /// Takes one of the caller's tokens. Fails open when the bucket does not answer in time.
    ///
    /// # Errors
    /// 429, when no token is left.
    async fn take(
        &self,
        class: &'static LimitClass,
        caller: &str,
        now: Timestamp,
    ) -> Result<Allowance, Problem> {
        let (LimitClass { name, rate, .. }, key) = (class, format!("{}/{caller}", class.name));
        if let Some(wait) = self.refused.wait(&key, now) {
            return Err(refuse(class, wait));
        }
        let bucket = Bucket::new(self.table.clone(), key.clone(), *rate);
        match timeout(limits::LIMITER, bucket.take(now)).await {
            Ok(TakeOutcome::Taken { remaining, reset_after }) => {
                Ok(Allowance { rate: *rate, remaining, reset: reset_after })
            }
            Ok(TakeOutcome::Wait(wait)) => {
                self.refused.add(key, now, wait);
                Err(refuse(class, wait))
            }
            Err(_) => {
                tracing::warn!(limit = name, "a rate limit does not answer, failing open");
                Ok(Allowance { rate: *rate, remaining: rate.burst, reset: SignedDuration::ZERO })
            }
        }
    }
}

fn refuse(class: &LimitClass, wait: SignedDuration) -> Problem {
    tracing::info!(limit = class.name, "the caller is rate limited");
    let allowance = Allowance { rate: class.rate, remaining: 0, reset: class.rate.refill() };
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "Too many requests. Try again after the seconds in `Retry-After`.",
    )
    // The value is at least 1, because a client that reads 0 would try again at once.
    .with_header(header::RETRY_AFTER, number(seconds(wait).max(1)));
    allowance.headers().into_iter().fold(problem, |problem, (name, value)| problem.with_header(name, value))
}

/// The buckets that this instance has found empty, and until when. Until then, it refuses their callers without a write.
// A bucket gains its next token at a known time, and no earlier.
#[derive(Debug, Clone, Default)]
struct Refused(Arc<Mutex<HashMap<String, Timestamp>>>);

impl Refused {
    /// Buckets that are remembered at most.
    // They take a few hundred kilobytes.
    const CAPACITY: usize = 2000;

    fn wait(&self, key: &str, now: Timestamp) -> Option<SignedDuration> {
        let until = *self.lock().get(key)?;
        (until > now).then(|| until.duration_since(now))
    }

    fn add(&self, key: String, now: Timestamp, wait: SignedDuration) {
        let mut refused = self.lock();
        if refused.len() >= Self::CAPACITY {
            refused.retain(|_, until| *until > now);
        }
        if refused.len() < Self::CAPACITY
            && let Ok(until) = now.checked_add(wait)
        {
            refused.insert(key, until);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Timestamp>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allowance {
    /// The fields of draft-ietf-httpapi-ratelimit-headers-06, the last draft whose names begin with `RateLimit-`.
    fn headers(self) -> [(HeaderName, HeaderValue); 3] {
        [
            (HeaderName::from_static("ratelimit-limit"), number(i64::from(self.rate.burst))),
            (HeaderName::from_static("ratelimit-remaining"), number(i64::from(self.remaining))),
            (HeaderName::from_static("ratelimit-reset"), number(seconds(self.reset))),
        ]
    }

    fn write(self, headers: &mut HeaderMap) {
        headers.extend(self.headers());
    }
}

/// Rounds up, so that a client that waits this long has waited long enough.
fn seconds(duration: SignedDuration) -> i64 {
    duration.as_secs() + i64::from(duration.subsec_nanos() > 0)
}

fn number(number: i64) -> HeaderValue {
    HeaderValue::from(number)
}

/// The caller of a request, as a class counts it.
struct Caller {
    limits: Limits,
    class: &'static LimitClass,
    id: String,
}

impl Caller {
    /// The caller of a request that came through the gateway.
    ///
    /// # Errors
    /// 401 for a class by user, when there is no valid access token.
    async fn of(class: &'static LimitClass, parts: &mut Parts) -> Result<Option<Self>, Problem> {
        let address = parts.extensions.get::<ClientAddress>().copied();
        let Some(network) = address.and_then(ClientAddress::digest) else { return Ok(None) };
        let id = match class.by {
            LimitedBy::Network => network,
            LimitedBy::User => {
                let identity = Identity::from_request_parts(parts, &()).await?;
                let id = identity.user_id.as_str().to_owned();
                // The handler gets it without a second verification.
                parts.extensions.insert(identity);
                id
            }
        };
        let limits = parts.extensions.get().cloned().ok_or_else(|| Problem::internal(&NoLimits))?;
        Ok(Some(Self { limits, class, id }))
    }

    async fn of_request(
        class: &'static LimitClass,
        request: Request,
    ) -> Result<(Option<Self>, Request), Problem> {
        let (mut parts, body) = request.into_parts();
        let caller = Self::of(class, &mut parts).await?;
        Ok((caller, Request::from_parts(parts, body)))
    }

    async fn take(&self) -> Result<Allowance, Problem> {
        self.limits.take(self.class, &self.id, Timestamp::now()).await
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the function enforces no limits")]
struct NoLimits;

async fn take_before(
    State(class): State<&'static LimitClass>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (caller, request) = Caller::of_request(class, request).await?;
    let Some(caller) = caller else { return Ok(next.run(request).await) };
    let allowance = caller.take().await?;
    let mut response = next.run(request).await;
    allowance.write(response.headers_mut());
    Ok(response)
}

async fn take_during(
    State(class): State<&'static LimitClass>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (caller, request) = Caller::of_request(class, request).await?;
    let Some(caller) = caller else { return Ok(next.run(request).await) };
    let handled = async { Ok(next.run(request).await) };
    let (allowance, mut response) = tokio::try_join!(caller.take(), handled)?;
    allowance.write(response.headers_mut());
    Ok(response)
}

/// A limit that a handler takes itself, concurrently with its first read.
#[derive(Debug, Clone)]
pub struct Limited {
    limits: Limits,
    class: &'static LimitClass,
    taken: Arc<OnceLock<Allowance>>,
}

impl Limited {
    /// Takes one of the user's tokens concurrently with `read`, which must change nothing: its result is
    /// dropped when there is no token.
    ///
    /// # Errors
    /// 429 when there is no token, else what `read` failed with.
    pub async fn take_during<T, E: Into<Problem>>(
        &self,
        user: &UserId,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Problem> {
        let token = self.limits.take(self.class, user.as_str(), Timestamp::now());
        let (allowance, read) = tokio::join!(token, read);
        // A request takes only one token.
        let _ = self.taken.set(allowance?);
        read.map_err(Into::into)
    }
}

impl<S: Sync> FromRequestParts<S> for Limited {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| Problem::internal(&NoLimits))
    }
}

/// Offers the limit to the handler, and reports the remaining tokens in the response.
async fn offer(State(class): State<&'static LimitClass>, mut request: Request, next: Next) -> Response {
    let taken = Arc::new(OnceLock::new());
    if let Some(limits) = request.extensions().get::<Limits>().cloned() {
        request.extensions_mut().insert(Limited { limits, class, taken: taken.clone() });
    }
    let mut response = next.run(request).await;
    if let Some(allowance) = taken.get() {
        allowance.write(response.headers_mut());
    }
    response
}

#[cfg(all(test, feature = "testing"))]
mod tests;
