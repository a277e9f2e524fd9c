//! Rate limits: each caller has a token bucket, which all instances share.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::{ClientAddress, Problem};
use crate::{
    bucket::{Bucket, TakeOutcome},
    dynamodb::Table,
    limits::{self, RateLimit},
};

/// Limits each caller to a rate.
#[derive(Debug, Clone)]
pub struct Limiter {
    table: Table,
    /// The name of the limit. Each caller has its own bucket under it.
    name: &'static str,
    rate: RateLimit,
}

/// The caller's remaining tokens, which every response reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowance {
    rate: RateLimit,
    remaining: u32,
    reset: SignedDuration,
}

impl Limiter {
    /// Keeps the buckets in a context's own table, which the function must be allowed to update.
    pub fn new(table: Table, name: &'static str, rate: RateLimit) -> Self {
        Self { table, name, rate }
    }

    /// Takes one of the caller's tokens. Fails open when the bucket does not answer in time.
    ///
    /// # Errors
    /// 429, when no token is left.
    async fn take(&self, caller: &str, now: Timestamp) -> Result<Allowance, Problem> {
        let RateLimit { burst, per_second } = self.rate;
        let bucket = Bucket::new(self.table.clone(), format!("{}/{caller}", self.name), burst, per_second);
        match timeout(limits::LIMITER, bucket.take(now)).await {
            Ok(TakeOutcome::Taken { remaining, reset_after }) => {
                Ok(Allowance { rate: self.rate, remaining, reset: reset_after })
            }
            Ok(TakeOutcome::Wait(wait)) => Err(self.refuse(wait)),
            Err(_) => {
                tracing::warn!(limit = self.name, "a rate limit does not answer, failing open");
                Ok(Allowance { rate: self.rate, remaining: burst, reset: SignedDuration::ZERO })
            }
        }
    }

    fn refuse(&self, wait: SignedDuration) -> Problem {
        tracing::info!(limit = self.name, "the caller is rate limited");
        let allowance = Allowance { rate: self.rate, remaining: 0, reset: self.rate.refill() };
        let problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many requests. Try again after the seconds in `Retry-After`.",
        )
        // The value is at least 1, because a client that reads 0 would try again at once.
        .with_header(header::RETRY_AFTER, number(seconds(wait).max(1)));
        allowance
            .headers()
            .into_iter()
            .fold(problem, |problem, (name, value)| problem.with_header(name, value))
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

/// A limit that a handler takes itself, concurrently with its first read. [`offer_limit`] puts it into the
/// request's extensions.
#[derive(Debug, Clone)]
pub struct Limited {
    limiter: Arc<Limiter>,
    taken: Arc<OnceLock<Allowance>>,
}

impl Limited {
    /// Takes one of the caller's tokens concurrently with `read`, which must change nothing: its result is
    /// dropped when there is no token.
    ///
    /// # Errors
    /// 429 when there is no token, else what `read` failed with.
    pub async fn take_during<T, E: Into<Problem>>(
        &self,
        caller: &str,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Problem> {
        let (allowance, read) = tokio::join!(self.limiter.take(caller, Timestamp::now()), read);
        // A request takes only one token.
        let _ = self.taken.set(allowance?);
        read.map_err(Into::into)
    }
}

/// Offers the limit to the handlers of these routes, and reports the remaining tokens in the response.
pub async fn offer_limit(State(limiter): State<Arc<Limiter>>, mut request: Request, next: Next) -> Response {
    let taken = Arc::new(OnceLock::new());
    request.extensions_mut().insert(Limited { limiter, taken: taken.clone() });
    let mut response = next.run(request).await;
    if let Some(allowance) = taken.get() {
        allowance.write(response.headers_mut());
    }
    response
}

/// Limits these routes by the client's address.
///
/// # Errors
/// 429, when no token is left.
pub async fn by_address(
    State(limiter): State<Arc<Limiter>>,
    address: ClientAddress,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    // Without a gateway, the address is unknown.
    let Some(network) = address.network() else { return Ok(next.run(request).await) };
    // The token is taken before the request is handled, because the effect of the request cannot be undone.
    let allowance = limiter.take(&caller_in(network), Timestamp::now()).await?;
    let mut response = next.run(request).await;
    allowance.write(response.headers_mut());
    Ok(response)
}

/// A hash that stands for the caller's network.
fn caller_in(network: IpAddr) -> String {
    let hash = digest(&SHA256, network.to_string().as_bytes());
    // Half of it: no two networks share a bucket by chance.
    hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_kept() {
        let caller = |address: &str| caller_in(address.parse().unwrap());
        assert_ne!(caller("192.0.2.1"), caller("192.0.2.2"));
        assert!(!caller("192.0.2.1").contains("192"));
    }

    #[test]
    fn waits_are_rounded_up_to_seconds() {
        assert_eq!(seconds(SignedDuration::from_millis(1)), 1);
        assert_eq!(seconds(SignedDuration::from_millis(2000)), 2);
        assert_eq!(seconds(SignedDuration::ZERO), 0);
    }

    #[test]
    fn an_empty_bucket_is_full_again_after_its_burst() {
        assert_eq!(limits::ORDERS_PER_USER.refill(), SignedDuration::from_secs(40));
        assert_eq!(limits::AUTH_PER_ADDRESS.refill(), SignedDuration::from_secs(20));
    }
}
