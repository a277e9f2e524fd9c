//! One rule for all providers (the payment gateway, e-mail, SMS, other contexts): how a call ended,
//! and what follows from it.
//!
//! | a call is | means | for its breaker | then |
//! |---|---|---|---|
//! | done | the provider did it | a success | |
//! | refused | the provider works and says no | a success | the caller's business decides |
//! | throttled | the provider works and has too many calls | nothing | the call waits, with full jitter |
//! | failed | no answer, or an answer that says that the provider does not work | a failure | the call waits, longer each time |
//!
//! A throttled call is not a failure. A breaker that counted it would stop all calls for a while and then
//! release all waiting work at once, which is throttled again. The rate that a provider allows belongs in a
//! [`Bucket`](crate::bucket::Bucket) in front of it, so that throttling is the exception.

use std::time::Duration;

/// The outcome of a provider's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The provider did what was asked.
    Done,
    /// The provider works, and does not do this call: a declined card, an invalid address.
    Refused,
    /// The provider works, and has too many calls.
    Throttled,
    /// No answer, or one that says that the provider does not work.
    Failed,
}

/// The error of a provider's call; it says how the call ended.
pub trait ProviderError {
    /// `Refused`, `Throttled` or `Failed`.
    fn outcome(&self) -> CallOutcome;
}

/// The outcome of a call with this result.
pub fn outcome_of<T, E: ProviderError>(result: &Result<T, E>) -> CallOutcome {
    result.as_ref().map_or_else(ProviderError::outcome, |_| CallOutcome::Done)
}

/// Full jitter: a wait drawn uniformly from zero up to `ceiling`, so that callers that were refused together
/// do not return together.
pub fn full_jitter(ceiling: Duration) -> Duration {
    // Ceilings are seconds or minutes: their microseconds fit.
    Duration::from_micros(fastrand::u64(..=u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX)))
}
