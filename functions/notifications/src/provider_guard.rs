//! Guards the calls of a provider: a rate limit, a circuit breaker, and retries of calls that it certainly did not
//! accept.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    breaker::{Breaker, CircuitOpen, Guarded},
    bucket::Bucket,
    limits::SendPolicy,
    provider::full_jitter,
};
use tokio::time::sleep;

use crate::provider::SendError;

/// The retry delay of a message that the provider throttled at every try, drawn uniformly below this (full
/// jitter).
const THROTTLED: Duration = Duration::from_secs(60);

/// The time of one message's handling.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    at: Timestamp,
    started: Instant,
}

impl Clock {
    /// Starts now, which is `at`.
    pub fn start(at: Timestamp) -> Self {
        Self { at, started: Instant::now() }
    }

    pub fn now(&self) -> Timestamp {
        // Elapsed time within one invocation. A sum out of range could only come from a wrong clock.
        self.at.checked_add(self.started.elapsed()).unwrap_or(self.at)
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time left for sending, minus one more call to the provider.
    fn left(&self, policy: &SendPolicy) -> Duration {
        policy.budget.saturating_sub(self.elapsed() + policy.call)
    }
}

/// Why nothing was sent.
#[derive(Debug)]
pub enum NotSent {
    /// The provider was not called.
    CircuitOpen(CircuitOpen),
    /// Other messages use up the rate within the time that this one could wait, or the provider throttles.
    RateLimited(SignedDuration),
    /// An operator has turned the channel off.
    SwitchedOff,
    Failed(SendError),
}

#[derive(Debug, Clone)]
pub struct ProviderGuard {
    breaker: Breaker,
    bucket: Arc<Bucket>,
    policy: SendPolicy,
}

impl ProviderGuard {
    pub fn new(breaker: Breaker, bucket: Bucket, policy: SendPolicy) -> Self {
        Self { breaker, bucket: Arc::new(bucket), policy }
    }

    /// Waits until a message may be sent. Call `send` soon after it.
    pub async fn acquire(&self, clock: &Clock) -> Result<(), NotSent> {
        // The breaker is asked before the rate limit: a message that cannot be sent must take no token from one
        // that can.
        if let Some(open) = self.breaker.refuses().await {
            return Err(NotSent::CircuitOpen(open));
        }
        self.wait_for_rate(clock).await.map_err(NotSent::RateLimited)
    }

    /// Calls the provider until it accepts the message, as long as it certainly has not and there is time.
    pub async fn send<F, Fut>(&self, clock: &Clock, call: F) -> Result<String, NotSent>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<String, SendError>>,
    {
        // The breaker counts all tries as one call. With a provider that accepts two calls in three, every
        // message succeeds, and the breaker stays closed.
        let sent = self.breaker.guard(Box::pin(self.send_with_retries(clock, call))).await;
        sent.map_err(|error| match error {
            Guarded::Open(open) => NotSent::CircuitOpen(open),
            Guarded::Call(SendError::Throttled(code)) => {
                tracing::warn!(code, "the provider throttles, the message will be requeued");
                // At least a second: a message that is retried at once would be throttled again.
                let wait = Duration::from_secs(1) + full_jitter(THROTTLED);
                NotSent::RateLimited(SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO))
            }
            Guarded::Call(error) => NotSent::Failed(error),
        })
    }

    async fn send_with_retries<F, Fut>(&self, clock: &Clock, call: F) -> Result<String, SendError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<String, SendError>>,
    {
        let mut pause = self.policy.first_pause;
        for _ in 1..self.policy.tries {
            let error = match call().await {
                // The provider has answered that it did not take the message. After any other failure the
                // message may have been sent, so it is not repeated here.
                Err(error @ (SendError::Unavailable(_) | SendError::Throttled(_))) => error,
                end => return end,
            };
            sleep(full_jitter(pause)).await;
            pause *= 2;
            if self.wait_for_rate(clock).await.is_err() {
                return Err(error);
            }
        }
        call().await
    }

    async fn wait_for_rate(&self, clock: &Clock) -> Result<(), SignedDuration> {
        self.bucket.wait(clock.now(), clock.left(&self.policy)).await
    }
}
