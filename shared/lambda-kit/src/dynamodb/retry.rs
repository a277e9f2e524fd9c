//! Repeats what was decided on items that another writer changed meanwhile (optimistic locking).

use std::time::Duration;

use super::Conflict;
use crate::backoff::Backoff;

/// How often a conflict is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// This many tries in all, each directly after the other. For items with few writers: of the writers that
    /// conflict, one has succeeded, so each try meets fewer of them.
    Tries(u32),
    /// Tries for this long, with pauses of full jitter between them. No try starts later. For items with many
    /// writers, and for transactions, which conflict while another one is only under way.
    Time(Duration),
}

/// Repeats `attempt` until it does not end with [`Conflict`], or the budget is spent. `attempt` reads, decides
/// and writes; whatever an earlier attempt read is outdated.
///
/// Returns [`Conflict`] when the budget is spent.
///
/// # Errors
/// Those of `attempt`, which are not retried.
pub async fn retry_on_conflict<T, E, F>(
    budget: Budget,
    mut attempt: impl FnMut() -> F,
) -> Result<Result<T, Conflict>, E>
where
    F: Future<Output = Result<Result<T, Conflict>, E>>,
{
    retry_on_conflict_with(budget, Conflict, |Conflict| attempt()).await
}

/// Like [`retry_on_conflict`], with a state that each attempt gets from the one before: an attempt that meets
/// a conflict returns the state for the next one.
///
/// # Errors
/// Those of `attempt`, which are not retried.
pub async fn retry_on_conflict_with<S, T, E, F>(
    budget: Budget,
    mut state: S,
    mut attempt: impl FnMut(S) -> F,
) -> Result<Result<T, Conflict>, E>
where
    F: Future<Output = Result<Result<T, S>, E>>,
{
    // Not an async closure that changes its captures: the compiler cannot prove yet that its future is `Send`
    // (https://github.com/rust-lang/rust/issues/102211).
    let mut pauses = match budget {
        Budget::Tries(tries) => Pauses::None { left: tries.saturating_sub(1) },
        Budget::Time(time) => Pauses::Jittered(Backoff::within(time)),
    };
    loop {
        match attempt(state).await? {
            Ok(value) => return Ok(Ok(value)),
            Err(next) => state = next,
        }
        if !pauses.next().await {
            return Ok(Err(Conflict));
        }
    }
}

/// What is left of a budget.
enum Pauses {
    None { left: u32 },
    Jittered(Backoff),
}

impl Pauses {
    /// Returns whether there may be another try, after the pause before it.
    async fn next(&mut self) -> bool {
        match self {
            Self::None { left: 0 } => false,
            Self::None { left } => {
                *left -= 1;
                true
            }
            Self::Jittered(backoff) => backoff.pause().await,
        }
    }
}
