//! Whether a run ended well: reads only the tables, the gateway's books, the queues and the published events.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    scenario::{SKU, STOCK},
    world::world,
};

/// The tables by their contexts.
fn table(context: &str) -> String {
    format!("ordersaga-local-{context}")
}

/// An order as its events tell it.
#[derive(Debug, Default)]
struct Order {
    /// In their order.
    events: Vec<Value>,
}

impl Order {
    fn has(&self, event_type: &str) -> bool {
        self.events.iter().any(|event| event["event_type"] == event_type)
    }

    fn total(&self) -> i64 {
        let created = self.events.iter().find(|event| event["event_type"] == "order.created");
        created.and_then(|event| event["data"]["total"]["amount"].as_i64()).unwrap_or_default()
    }
}

/// What is wrong at the end of a run; nothing, when it ended well.
pub fn violations() -> Vec<String> {
    let mut found = Vec::new();
    let orders = orders();
    if orders.is_empty() {
        found.push("there is no order".to_owned());
    }
    for (id, order) in &orders {
        found.extend(of_order(id, order));
    }
    found.extend(of_stock(&orders));
    found.extend(of_events());
    for (queue, messages) in world().queues.messages() {
        let name = queue.rsplit(':').next().unwrap_or_default();
        let kind = if name.ends_with("-dlq") { "dead letters" } else { "messages" };
        found.push(format!("{} {kind} are left in {name}: {}", messages.len(), messages[0]));
    }
    for name in world().machines.failed() {
        found.push(format!("the execution {name} failed"));
    }
    found
}

/// The last event of each order.
pub fn endings() -> Vec<String> {
    let last =
        |order: &Order| order.events.last().map(|event| text(&event["event_type"])).unwrap_or_default();
    orders().values().map(last).collect()
}

fn orders() -> BTreeMap<String, Order> {
    let mut commits: BTreeMap<(String, String), Value> = BTreeMap::new();
    for item in world().tables.items(&table("orders")) {
        let key = (text(&item["pk"]["S"]), text(&item["sk"]["S"]));
        if key.0.starts_with("ORDER#") && key.1.starts_with("COMMIT#") {
            commits.insert(key, item);
        }
    }
    let mut orders: BTreeMap<String, Order> = BTreeMap::new();
    for ((pk, _), commit) in commits {
        let id = pk.trim_start_matches("ORDER#").to_owned();
        orders.entry(id).or_default().events.extend(events_of(&commit));
    }
    orders
}

/// The events that an item's last write brought.
fn events_of(item: &Value) -> Vec<Value> {
    let outbox = item["outbox"]["L"].as_array().into_iter().flatten();
    outbox
        .map(|event| serde_json::from_str(event["S"].as_str().unwrap_or_default()).expect("an event is JSON"))
        .collect()
}

fn of_order(id: &str, order: &Order) -> Vec<String> {
    let mut found = Vec::new();
    let (is_completed, is_cancelled) = (order.has("order.completed"), order.has("order.cancelled"));
    if is_completed == is_cancelled {
        let types: Vec<String> = order.events.iter().map(|event| text(&event["event_type"])).collect();
        found.push(format!("order {id} is neither completed nor cancelled: {}", types.join(", ")));
    }
    let intents = world().gateway.intents();
    let intents: Vec<_> = intents.iter().filter(|intent| intent.order_id == id).collect();
    let taken = intents.iter().filter(|intent| intent.status == "succeeded");
    let kept: i64 = taken.clone().map(|intent| intent.amount - intent.refunded).sum();
    let owed = if is_completed { order.total() } else { 0 };
    if kept != owed {
        found.push(format!("order {id} kept {kept} of the customer's money, and {owed} is right"));
    }
    if taken.filter(|intent| intent.refunded < intent.amount).count() > 1 {
        found.push(format!("order {id} has more than one live charge"));
    }
    if intents.iter().any(|intent| matches!(intent.status, "requires_action" | "processing")) {
        found.push(format!("order {id} has ended, and a charge of it may still take money"));
    }
    let shipment = item("fulfillment", &format!("SHIPMENT#{id}"), "SHIPMENT");
    let is_shipped = shipment.is_some_and(|shipment| shipment["status"]["S"] == "scheduled");
    if is_shipped != is_completed {
        found.push(format!("order {id} is completed: {is_completed}, and has a shipment: {is_shipped}"));
    }
    let reservation = item("inventory", &format!("RESERVATION#{id}"), "RESERVATION");
    let status = reservation.map(|reservation| text(&reservation["status"]["S"])).unwrap_or_default();
    if is_completed != (status == "committed") || status == "held" {
        found.push(format!("order {id} is completed: {is_completed}, and its stock is {status:?}"));
    }
    found
}

/// Stock on hand, held and sold is the stock of the beginning.
fn of_stock(orders: &BTreeMap<String, Order>) -> Vec<String> {
    let items = world().tables.items(&table("inventory"));
    let on_hand = items.iter().filter(|item| text(&item["pk"]["S"]).starts_with(&format!("STOCK#{SKU}#")));
    let on_hand: i64 = on_hand.map(|item| number(&item["available"]["N"])).sum();
    let mut taken = 0;
    for item in items.iter().filter(|item| item["sk"]["S"] == "RESERVATION") {
        if matches!(item["status"]["S"].as_str(), Some("held" | "committed")) {
            let lines = item["taken"]["L"].as_array().into_iter().flatten();
            taken += lines.map(|line| number(&line["M"]["quantity"]["N"])).sum::<i64>();
        }
    }
    let right = on_hand + taken == STOCK && on_hand >= 0;
    let counted = format!("{on_hand} on hand and {taken} taken by {} orders", orders.len());
    if right { Vec::new() } else { vec![format!("of {STOCK} pieces there are {counted}")] }
}

/// The events of a subject were published in their order, and all that were ever stored were published.
fn of_events() -> Vec<String> {
    let mut found = Vec::new();
    let mut last: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for published in world().topics.published() {
        let event = &published.event;
        let sequence = event["sequence"].as_i64().unwrap_or_default();
        let subject = (text(&event["source"]), published.subject);
        let before = last.entry(subject.clone()).or_default();
        // A repeat is no error. A number may be left out: that of a change without an event.
        if ids.insert(text(&event["event_id"])) && sequence < *before {
            found.push(format!("{} {} published {sequence} after {before}", subject.0, subject.1));
        }
        *before = sequence.max(*before);
    }
    for context in env!("SIMULATED_CONTEXTS").split(',') {
        let parked =
            world().tables.items(&table(context)).iter().filter(|item| item["pk"]["S"] == "PARKED").count();
        if parked > 0 {
            found.push(format!("the relay of {context} has parked {parked} records"));
        }
        // A later write may have replaced the item, and its outbox with it.
        for record in world().tables.history(&table(context)) {
            for event in events_of(&record["dynamodb"]["NewImage"]) {
                if !ids.contains(event["event_id"].as_str().unwrap_or_default()) {
                    found.push(format!(
                        "{context} did not publish {} of {}",
                        event["event_type"], event["subject"]
                    ));
                }
            }
        }
    }
    found
}

fn item(context: &str, pk: &str, sk: &str) -> Option<Value> {
    let items = world().tables.items(&table(context));
    items.into_iter().find(|item| item["pk"]["S"] == pk && item["sk"]["S"] == sk)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> i64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}
