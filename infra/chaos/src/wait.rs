use std::time::Duration;

use shop_client::{NotYet, eventually_with_pauses};

/// The pause between two looks. Short against a run, and few calls beside those of the orders: all share two cores.
const PAUSE: Duration = Duration::from_secs(1);

/// Repeats the probe until it succeeds. `what` is the expected state as a sentence.
///
/// # Errors
/// At the deadline: what was seen last.
pub async fn until<T>(
    what: &str,
    within: Duration,
    probe: impl AsyncFnMut() -> Result<T, NotYet>,
) -> shop_client::Result<T> {
    eventually_with_pauses(what, PAUSE, within, probe).await
}
