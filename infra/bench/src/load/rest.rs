//! The wait until what the customers started is done. They have left by then, but letters may wait in queues.

use std::time::Duration;

use local_stack::{Emulator, Outputs, Progress};
use shop_client::{NotYet, eventually_with_pauses};

use crate::error::Result;

/// A throttled batch returns to its queue for the queue's visibility timeout of minutes, a few times before it succeeds.
const WITHIN: Duration = Duration::from_secs(20 * 60);
/// Between two looks at the queues. In this time a message may be on its way from one queue to the next.
const PAUSE: Duration = Duration::from_secs(5);
/// Looks in a row that find no message.
const LOOKS: u32 = 3;

/// Waits until no message waits in a queue; dead letters do not count.
///
/// # Errors
/// The emulator does not answer, or messages still wait at the deadline.
pub async fn at_rest(outputs: &Outputs, progress: &Progress) -> Result<()> {
    let step = progress.step("waiting for the queues");
    let emulator = Emulator::new(&outputs.aws_endpoint_url);
    let mut empty = 0;
    let looks = eventually_with_pauses("the queues are empty", PAUSE, WITHIN, async || {
        let waiting = emulator.queued().await?.waiting;
        let number: usize = waiting.values().sum();
        empty = if number == 0 { empty + 1 } else { 0 };
        if empty >= LOOKS {
            return Ok(());
        }
        step.at(format!("{number} messages wait"));
        Err(NotYet::from(format!("{waiting:?}")))
    });
    looks.await?;
    step.done("the queues are empty");
    Ok(())
}
