//! Pauses between tries, with full jitter and within a time budget.

use std::time::{Duration, Instant};

use crate::provider::full_jitter;

/// The ceiling of the first wait.
// A wait of two or three transactions is enough for the other transaction to end.
const FIRST_CEILING: Duration = Duration::from_millis(25);
/// The ceiling of every wait.
// A transaction is over long before, so longer waits bring nothing.
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

    /// Sleeps, unless the budget would be spent by then. Returns whether there is time for another try.
    pub async fn pause(&mut self) -> bool {
        let wait = full_jitter(self.ceiling);
        if self.started.elapsed() + wait > self.budget {
            return false;
        }
        tokio::time::sleep(wait).await;
        self.ceiling = (self.ceiling * 2).min(CEILING);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_are_given_up_before_the_budget_is_spent() {
        let budget = Duration::from_millis(60);
        let mut backoff = Backoff::within(budget);
        let started = Instant::now();
        let mut waits = 0;
        while backoff.pause().await {
            waits += 1;
        }
        // Drawn from below 25 ms, then 50: one fits almost always, and no wait begins that would end too late.
        assert!(waits < 60, "{waits} waits");
        assert!(started.elapsed() < budget * 2, "{:?}", started.elapsed());
    }

    #[test]
    fn a_wait_is_drawn_from_zero_up_to_its_ceiling() {
        let waits: Vec<Duration> = (0..200).map(|_| full_jitter(FIRST_CEILING)).collect();
        assert!(waits.iter().all(|wait| *wait <= FIRST_CEILING));
        assert!(waits.iter().any(|wait| *wait < FIRST_CEILING / 4));
        assert!(waits.iter().any(|wait| *wait > FIRST_CEILING * 3 / 4));
    }
}
