//! The order in which sagas are started, and where a batch stops.
//!
//! Lambda delivers a batch again from its first failed record, and a repeated start costs a token of the
//! quota like the first one. So nothing is started after a failure, and sagas that were started concurrently
//! with it are remembered.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use futures::future::join_all;
use lambda_kit::{relay::Handled, trace::Span};

/// Starts under way at the same time.
// A call takes some 35 ms, so a shard starts up to 280 sagas a second.
const WAVE: usize = 10;
/// Orders to remember.
// At most nine of a batch are started concurrently with a failure, and a process serves several shards.
const REMEMBERED: usize = 500;

/// A saga to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The sequence number of its record.
    pub origin: String,
    pub order_id: String,
    pub correlation_id: String,
    pub input: String,
    /// The span of the start, which the input names.
    pub span: Option<Span>,
}

/// How one try to start a saga ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAttempt {
    Started,
    /// Throttled, or failed for another reason that may pass.
    Failed,
    /// Never to be started with this input.
    Rejected,
}

/// The orders whose saga this process started last.
#[derive(Debug, Default)]
pub struct RecentStarts(Mutex<(HashSet<String>, VecDeque<String>)>);

impl RecentStarts {
    fn has(&self, order_id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.contains(order_id)
    }

    fn record(&self, order_id: &str) {
        let (known, order) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(order_id.to_owned()) {
            order.push_back(order_id.to_owned());
        }
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }
}

/// Starts sagas in their order, some concurrently, and makes no call after the first failure. `turn` waits
/// until that many starts are allowed, and returns whether they are.
pub async fn start_in_order(
    starts: &[Start],
    recent: &RecentStarts,
    turn: impl AsyncFn(u32) -> bool,
    start: impl AsyncFn(&Start) -> StartAttempt,
) -> Handled {
    let waiting: Vec<&Start> = starts.iter().filter(|start| !recent.has(&start.order_id)).collect();
    let mut handled = Handled::default();
    for wave in waiting.chunks(WAVE) {
        let is_stopped = !handled.failed.is_empty();
        // The whole wave takes its tokens with one write.
        if is_stopped || !turn(u32::try_from(wave.len()).unwrap_or(u32::MAX)).await {
            handled.failed.extend(wave.iter().map(|start| start.origin.clone()));
            continue;
        }
        let ended = join_all(wave.iter().map(|each| start(each))).await;
        for (start, ended) in wave.iter().zip(ended) {
            match ended {
                StartAttempt::Started => recent.record(&start.order_id),
                StartAttempt::Failed => drop(handled.failed.insert(start.origin.clone())),
                // No reason to stop: the record is parked, and the orders behind it are started.
                StartAttempt::Rejected => drop(handled.unprocessable.insert(start.origin.clone())),
            }
        }
    }
    handled
}

#[cfg(test)]
mod tests;
