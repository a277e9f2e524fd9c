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
    bucket::{Bucket, Turn},
    numbers::{EMAIL_CALL, SEND},
};
use tokio::time::sleep;

use crate::provider::SendError;

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
    /// Nor was it called: others' messages take all the turns that could be waited for.
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
        let sent = self.breaker.guard(Box::pin(self.tries(clock, call)), SendError::is_outage).await;
        sent.map_err(|error| match error {
            Guarded::Open(open) => NotSent::Closed(open),
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
                Err(error @ SendError::Unavailable(_)) => error,
                end => return end,
            };
            sleep(jittered(pause)).await;
            pause *= 2;
            if self.turn(clock).await.is_err() {
                return Err(error);
            }
        }
        call().await
    }

    async fn turn(&self, clock: &Clock) -> Result<(), SignedDuration> {
        let patience = SignedDuration::try_from(clock.left()).unwrap_or(SignedDuration::ZERO);
        let asked = clock.elapsed();
        match self.bucket.turn(clock.now(), patience).await {
            Turn::After(wait) => {
                // From when it was asked for: the answer took some of it.
                sleep((asked + wait.unsigned_abs()).saturating_sub(clock.elapsed())).await;
                Ok(())
            }
            Turn::TooFar(wait) => Err(wait),
        }
    }
}

/// Full jitter: messages that were refused together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let most = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(fastrand::u64(0..=most))
}
