//! A customer who follows an order on the WebSocket, and comes back when the connection ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::OrderId;
use shop_client::{Error, Frame, Live, Shop};
use tokio::task::AbortHandle;

/// A request whose answer does not come in this time is made again, on another connection.
const ANSWER: Duration = Duration::from_secs(10);
/// Without a frame for this long, the client asks whether the server is there, as the page does.
const SILENCE: Duration = Duration::from_secs(30);
/// Before another connection is opened.
const PAUSE: Duration = Duration::from_secs(1);

/// It ends when it is dropped.
#[derive(Debug)]
pub struct Subscriber {
    seen: Arc<Mutex<Seen>>,
    task: AbortHandle,
}

/// What the subscriber has seen of the order.
#[derive(Debug, Default)]
struct Seen {
    /// The last version.
    version: u64,
    /// Versions that came before an earlier one, on the same connection.
    holes: Vec<String>,
}

impl Subscriber {
    /// Follows an order that was placed.
    pub fn follow(shop: &Shop, order: &OrderId) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (shop, order, notes) = (shop.clone(), order.clone(), seen.clone());
        let task = tokio::spawn(async move {
            loop {
                // Why the connection ended is the server's business: a client opens another one.
                let _ = follow(&shop, &order, &notes).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { seen, task: task.abort_handle() }
    }

    /// What is wrong with what it has seen, when `version` is the order's.
    pub fn violations(&self, version: u64) -> Vec<String> {
        let seen = lock(&self.seen);
        let mut found = seen.holes.clone();
        if seen.version != version {
            found.push(format!("the subscriber saw version {}, and {version} is the last", seen.version));
        }
        found
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows on one connection, until it ends.
async fn follow(shop: &Shop, order: &OrderId, seen: &Mutex<Seen>) -> Result<(), Error> {
    let ticket = shop.ticket().await?;
    let mut live = Live::connect(&ticket.url, &ticket.ticket).await?;
    let after = lock(seen).version;
    live.subscribe(order, Some(after)).await?;
    let mut within = ANSWER;
    loop {
        let frame = match live.next(within).await {
            Err(Error::Silent { .. }) if within == SILENCE => {
                is_there(&mut live, seen).await?;
                continue;
            }
            frame => frame?,
        };
        match frame {
            Frame::Subscribed { .. } => within = SILENCE,
            Frame::Error { code, message } => {
                return Err(Error::Broken { reason: format!("{code}: {message}") });
            }
            // The versions that were dropped are asked for again.
            Frame::Gap { .. } => return Ok(()),
            frame => lock(seen).note(&frame),
        }
    }
}

/// Asks whether the server is there. Frames that come before its answer count.
async fn is_there(live: &mut Live, seen: &Mutex<Seen>) -> Result<(), Error> {
    live.send(&serde_json::json!({"action": "ping"})).await?;
    loop {
        match live.next(ANSWER).await? {
            Frame::Pong => return Ok(()),
            frame => lock(seen).note(&frame),
        }
    }
}

impl Seen {
    fn note(&mut self, frame: &Frame) {
        let Frame::Order(frame) = frame else { return };
        if frame.version > self.version + 1 {
            self.holes.push(format!("the subscriber saw version {} after {}", frame.version, self.version));
        }
        // A repeat is no error.
        self.version = self.version.max(frame.version);
    }
}

/// A panic elsewhere leaves it intact.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(version: u64) -> Frame {
        let text = format!(
            r#"{{"type": "order", "order_id": "ord_0123456789abcdef0123456789abcdef", "version": {version},
                "status": "OrderCreated", "event_type": "order.created", "occurred_at": "2026-11-20T12:00:00Z",
                "correlation_id": "cor_1"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn seen(versions: &[u64]) -> Seen {
        let mut seen = Seen::default();
        versions.iter().for_each(|version| seen.note(&frame(*version)));
        seen
    }

    #[test]
    fn a_version_that_is_left_out_is_a_hole_and_a_repeat_is_none() {
        assert_eq!(seen(&[1, 2, 2, 1, 3]).version, 3);
        assert!(seen(&[1, 2, 2, 1, 3]).holes.is_empty());
        assert_eq!(seen(&[1, 3]).holes, ["the subscriber saw version 3 after 1"]);
        assert_eq!(seen(&[2]).holes, ["the subscriber saw version 2 after 0"]);
    }
}
