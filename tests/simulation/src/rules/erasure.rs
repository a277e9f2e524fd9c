//! What is left of a customer who has deleted the account: neither the address of the e-mails nor that of a shipment.

use std::collections::BTreeSet;

use crate::{fault::contexts, judge::table, scenario::address, world::world};

/// A part of the address of all shipments.
const STREET: &str = "Main St";

/// What is wrong; nothing, when all is right.
pub fn violations() -> Vec<String> {
    let published = world().topics.published();
    let of_type = |event_type: &'static str| {
        published.iter().map(|one| &one.event).filter(move |event| event["event_type"] == event_type)
    };
    let deleted: BTreeSet<&str> =
        of_type("user.deleted").filter_map(|event| event["subject"].as_str()).collect();
    if deleted.is_empty() {
        return Vec::new();
    }
    let accounts = world().accounts.borrow();
    let gone = accounts.iter().filter(|(_, user)| deleted.contains(user.as_str()));
    let addresses: Vec<String> = gone.map(|(number, _)| address(*number)).collect();
    let mut found = Vec::new();
    for context in contexts() {
        for item in world().tables.items(&table(context)) {
            let text = item.to_string();
            found.extend(addresses.iter().filter(|address| text.contains(address.as_str())).map(|address| {
                format!("{context} still has {address}, whose account is deleted: {}", item["pk"]["S"])
            }));
        }
    }
    let shipments = world().tables.items(&table("fulfillment"));
    for order in of_type("order.created")
        .filter(|event| event["metadata"]["user_id"].as_str().is_some_and(|user| deleted.contains(user)))
    {
        let pk = format!("SHIPMENT#{}", order["subject"].as_str().unwrap_or_default());
        let of_it = shipments.iter().filter(|item| item["pk"]["S"] == pk);
        if of_it.into_iter().any(|item| item.to_string().contains(STREET)) {
            found.push(format!("{pk} still has its address, and the account is deleted"));
        }
    }
    found
}
