//! The way to a provider: no faster than it allows, not at all while it is taken to be down, and again after what it
//! surely did not take.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    breaker::{Breaker, Guarded, Open},
    bucket::Bucket,
    numbers::{EMAIL_CALL, SEND},
    provider::full_jitter,
};
use tokio::time::sleep;

use crate::provider::SendError;

/// A message that the provider had no room for, try after try, comes back within this (full jitter).
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
        // Within one invocation. A sum that is out of range would be of a clock that says nothing.
        self.at.checked_add(self.started.elapsed()).unwrap_or(self.at)
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is left of the time for sending, with one call of the provider still to fit into it.
    fn left(&self) -> Duration {
        SEND.budget.saturating_sub(self.elapsed() + EMAIL_CALL)
    }
}

/// Why nothing was sent.
#[derive(Debug)]
pub enum NotSent {
    /// The provider was not called.
    Closed(Open),
    /// Others' messages take all the turns that could be waited for, or the provider says that it has too many.
    Crowded(SignedDuration),
    Failed(SendError),
}

#[derive(Debug, Clone)]
pub struct Gate {
    breaker: Breaker,
    bucket: Arc<Bucket>,
}

impl Gate {
    pub fn new(breaker: Breaker, bucket: Bucket) -> Self {
        Self { breaker, bucket: Arc::new(bucket) }
    }

    /// Waits until a message may be sent. What follows before `send` should be short.
    pub async fn enter(&self, clock: &Clock) -> Result<(), NotSent> {
        if let Some(open) = self.breaker.refuses().await {
            return Err(NotSent::Closed(open));
        }
        self.turn(clock).await.map_err(NotSent::Crowded)
    }

    /// Calls the provider until it takes the message, as long as it surely did not and there is time. The breaker counts
    /// that as one call: of a provider that takes two messages in three, each gets through.
    pub async fn send<F, Fut>(&self, clock: &Clock, call: F) -> Result<String, NotSent>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<String, SendError>>,
    {
        let sent = self.breaker.guard(Box::pin(self.tries(clock, call))).await;
        sent.map_err(|error| match error {
            Guarded::Open(open) => NotSent::Closed(open),
            Guarded::Call(SendError::Throttled(code)) => {
                tracing::warn!(code, "the provider is busy: the message waits");
                // At least a second: what comes back at once meets the same.
                let wait = Duration::from_secs(1) + full_jitter(THROTTLED);
                NotSent::Crowded(SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO))
            }
            Guarded::Call(error) => NotSent::Failed(error),
        })
    }

    async fn tries<F, Fut>(&self, clock: &Clock, call: F) -> Result<String, SendError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<String, SendError>>,
    {
        let mut pause = SEND.first_pause;
        for _ in 1..SEND.tries {
            let error = match call().await {
                Err(error @ (SendError::Unavailable(_) | SendError::Throttled(_))) => error,
                end => return end,
            };
            sleep(full_jitter(pause)).await;
            pause *= 2;
            if self.turn(clock).await.is_err() {
                return Err(error);
            }
        }
        call().await
    }

    async fn turn(&self, clock: &Clock) -> Result<(), SignedDuration> {
        self.bucket.wait(clock.now(), clock.left()).await
    }
}
