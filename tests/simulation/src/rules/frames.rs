//! What customers' clients saw over the WebSocket: each order's last version, and none behind a hole that was not announced.

use std::collections::BTreeMap;

use crate::{fault::Kind, judge::last_events, world::world};

/// What is wrong; nothing, when all is right.
pub fn violations() -> Vec<String> {
    let last: BTreeMap<String, u64> =
        last_events().into_iter().map(|(order, version, _)| (order, version)).collect();
    let mut found = Vec::new();
    for watcher in world().watchers.borrow().iter() {
        for (order, seen) in watcher.seen() {
            found.extend(seen.wrong.iter().map(|wrong| format!("a client of order {order} saw {wrong}")));
            let holes = seen.holes.iter().filter(|(version, _)| !was_delayed(&order, *version));
            found.extend(holes.map(|(version, after)| {
                format!("a client of order {order} saw version {version} after {after}")
            }));
            let last = last.get(&order).copied().unwrap_or_default();
            // What comes later than ten minutes after the end finds no client.
            if seen.version != last && !(watcher.has_left() && seen.has_ended) {
                found.push(format!(
                    "a client of order {order} saw version {} at last, and {last} is right",
                    seen.version
                ));
            }
        }
    }
    found
}

/// Whether a post of this version was held up: it reaches the client after the posts that repeat it, and before or after any
/// other one. API Gateway promises no order between requests to `@connections`.
fn was_delayed(order: &str, version: u64) -> bool {
    let version = format!("\"version\":{version},");
    let hits = world().network.hits();
    let mut delayed = hits.iter().filter(|hit| hit.kind == Kind::Delayed);
    delayed.any(|hit| hit.request.contains(order) && hit.request.contains(&version))
}
