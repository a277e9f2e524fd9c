//! Waiting before another try, when somebody else was writing the same items.

use std::time::{Duration, Instant};

/// Below this the first wait is drawn: two or three transactions long, so the other one is over.
const FIRST_CEILING: Duration = Duration::from_millis(25);
/// Longer waits bring nothing: a transaction is over long before.
const CEILING: Duration = Duration::from_secs(1);

/// Full jitter (a wait drawn evenly from zero up to a doubling ceiling) within a time budget.
#[derive(Debug)]
pub struct Backoff {
    // Lives within one invocation, so that the process is not frozen in between.
    started: Instant,
    budget: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Lets no try start after `budget` from now.
    pub fn within(budget: Duration) -> Self {
        Self { started: Instant::now(), budget, ceiling: FIRST_CEILING }
    }

    /// Waits, and says whether there is time for another try.
    pub async fn pause(&mut self) -> bool {
        let wait = jitter(self.ceiling);
        if self.started.elapsed() + wait > self.budget {
            return false;
        }
        tokio::time::sleep(wait).await;
        self.ceiling = (self.ceiling * 2).min(CEILING);
        true
    }
}

fn jitter(ceiling: Duration) -> Duration {
    // The ceiling is at most a second: its microseconds fit.
    Duration::from_micros(fastrand::u64(..=u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX)))
}
