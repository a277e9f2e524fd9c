//! What the judge reads from more than one store: the gateway's books beside the payments, what was published beside what
//! was stored, the customers' mailbox, and what their clients saw, and what
//! is left of them.

mod erasure;
mod feedback;
mod frames;
mod letters;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use verify::events_of;

use crate::{fault::contexts, judge::table, world::world};

/// What is wrong; nothing, when all is right.
pub fn violations() -> Vec<String> {
    let mut found = of_intents();
    let stored = stored();
    found.extend(of_published(&stored));
    found.extend(of_order(&stored));
    found.extend(letters::violations());
    found.extend(feedback::violations());
    found.extend(frames::violations());
    found.extend(erasure::violations());
    found
}

/// A charge is made once. A second one is made only when the first key holds an error of the gateway's.
fn of_intents() -> Vec<String> {
    let mut made: BTreeMap<String, u64> = BTreeMap::new();
    for intent in world().gateway.intents() {
        *made.entry(intent.order_id).or_default() += 1;
    }
    let mut found = Vec::new();
    for payment in world().tables.items(&table("payments")) {
        let Some(order) = payment["pk"]["S"].as_str().and_then(|pk| pk.strip_prefix("PAYMENT#")) else {
            continue;
        };
        let keys = payment["attempts"]["M"]["create"]["N"].as_str().and_then(|keys| keys.parse().ok());
        let (made, right) = (made.get(order).copied().unwrap_or_default(), keys.unwrap_or(1));
        if made > right {
            found.push(format!(
                "order {order} has {made} intents at the gateway, and {right} at most is right"
            ));
        }
    }
    found
}

/// All events that were ever stored, by their ids, with the order in which they were written to their table.
fn stored() -> BTreeMap<String, Value> {
    let mut stored = BTreeMap::new();
    for context in contexts() {
        for record in world().tables.history(&table(context)) {
            for event in events_of(&record["dynamodb"]["NewImage"]) {
                stored.entry(event["event_id"].as_str().unwrap_or_default().to_owned()).or_insert(event);
            }
        }
    }
    stored
}

/// What was published had been stored before: a subscriber may act on it at once, and a write may fail.
fn of_published(stored: &BTreeMap<String, Value>) -> Vec<String> {
    let published = world().topics.published();
    let said = |event: &Value| {
        let is_stored = stored.contains_key(event["event_id"].as_str().unwrap_or_default());
        format!(
            "{} published {} of {}, and {} stored it",
            event["source"],
            event["event_type"],
            event["subject"],
            if is_stored { "only then" } else { "never" }
        )
    };
    let early = published.iter().filter(|one| !one.is_stored);
    early.map(|one| said(&one.event)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// An order is paid when its payment is: not before the payment's own record says so.
fn of_order(stored: &BTreeMap<String, Value>) -> Vec<String> {
    // By clocks that are wrong there is no before.
    if world().network.faults().has_wrong_clocks() {
        return Vec::new();
    }
    let times = |event_type: &str| -> BTreeMap<String, jiff::Timestamp> {
        let of_type = stored.values().filter(|event| event["event_type"] == event_type);
        of_type
            .filter_map(|event| {
                let at = event["occurred_at"].as_str()?.parse().ok()?;
                Some((event["subject"].as_str()?.to_owned(), at))
            })
            .collect()
    };
    let paid = times("payment.succeeded");
    let mut found = Vec::new();
    for (order, at) in times("order.payment_succeeded") {
        match paid.get(&order) {
            Some(before) if *before <= at => {}
            Some(after) => {
                found.push(format!("order {order} was paid at {at}, and its payment succeeded at {after}"));
            }
            None if has_charge(&order) => found.push(format!("order {order} was paid, and has no payment")),
            None => {}
        }
    }
    found
}

/// Whether an order has a charge. One with a total of nothing has none.
fn has_charge(order: &str) -> bool {
    let items = world().tables.items(&table("payments"));
    items.iter().any(|item| item["pk"]["S"] == format!("PAYMENT#{order}") && !item["charge"].is_null())
}
