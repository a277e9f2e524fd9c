use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Short against what is waited for, and few enough calls for functions that share the machine with the one who waits.
const POLL: Duration = Duration::from_millis(150);

/// The state that a probe found instead of the expected one. Any error converts to it, so that `?` works in a
/// probe.
#[derive(Debug)]
pub struct NotYet(String);

impl<E: Display> From<E> for NotYet {
    fn from(seen: E) -> Self {
        Self(seen.to_string())
    }
}

/// Repeats the probe until it succeeds, and at the deadline reports the state that it found last. `what` is
/// the expected state as a sentence: "the stock is back".
///
/// # Errors
/// `Error::TooLate`.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    probe: impl AsyncFnMut() -> std::result::Result<T, NotYet>,
) -> Result<T> {
    eventually_with_pauses(what, POLL, within, probe).await
}

/// As [`eventually`], with these pauses between the probes.
///
/// # Errors
/// `Error::TooLate`.
pub async fn eventually_with_pauses<T>(
    what: &str,
    pause: Duration,
    within: Duration,
    mut probe: impl AsyncFnMut() -> std::result::Result<T, NotYet>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(NotYet(seen)) if Instant::now() >= deadline => {
                return Err(Error::TooLate { what: what.to_owned(), within, seen });
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_value_or_with_what_was_seen_last() {
        let mut calls = 0;
        let third = async || {
            calls += 1;
            if calls == 3 { Ok(calls) } else { Err(format!("call {calls}"))? }
        };
        assert_eq!(eventually("it is the third", Duration::from_secs(5), third).await.unwrap(), 3);
        let never = eventually::<()>("it is so", Duration::ZERO, async || Err("it is not so")?).await;
        assert_eq!(never.unwrap_err().to_string(), "it is so: not within 0 s; last seen: it is not so");
    }
}
