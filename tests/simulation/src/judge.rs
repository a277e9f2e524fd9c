//! Whether a run ended well: reads only the tables, the gateway's books, the queues and the published events. The rules
//! over the tables and the books are those of `cargo ops verify`; the others need what only a simulation sees.

use verify::{End, Intent, IntentStatus, Policy, Report, Snapshot};

use crate::{services::queues::has_dead_letters, world::world};

/// The contexts that the simulation runs.
fn contexts() -> impl Iterator<Item = &'static str> {
    env!("SIMULATED_CONTEXTS").split(',')
}

/// The tables by their contexts.
pub fn table(context: &str) -> String {
    format!("ordersaga-local-{context}")
}

/// What is wrong at the end of a run; nothing, when it ended well.
pub fn violations() -> Vec<String> {
    let report = report();
    let mut found: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    // Every fault of a run ends, so no undo fails for good; but a refund that the customer's bank returns.
    let attention = report.counts.orders.iter().find(|(end, _)| **end == End::NeedsAttention);
    let (orders, returned) =
        (attention.map_or(0, |(_, orders)| *orders), world().gateway.orders_with_returns());
    if u64::try_from(returned) != Ok(orders) {
        found.push(format!("{orders} orders need attention, and {returned} had a refund returned"));
    }
    if report.counts.orders.is_empty() {
        found.push("there is no order".to_owned());
    }
    found.extend(of_events());
    for (queue, messages) in world().queues.messages() {
        let name = queue.rsplit(':').next().unwrap_or_default();
        let kind = if has_dead_letters(queue) { "dead letters" } else { "messages" };
        found.push(format!("{} {kind} are left in {name}: {}", messages.len(), messages[0]));
    }
    for name in world().machines.failed() {
        found.push(format!("the execution {name} failed"));
    }
    found
}

/// The last event of each order.
pub fn endings() -> Vec<String> {
    last_events().into_iter().map(|(_, _, event_type)| event_type).collect()
}

/// Each order, with the version and the type of its last event.
pub fn last_events() -> Vec<(String, u64, String)> {
    let mut commits: Vec<_> = world()
        .tables
        .items(&table("orders"))
        .into_iter()
        .filter(|item| item["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with("COMMIT#")))
        .filter_map(|item| {
            let last = verify::events_of(&item).pop()?;
            let subject = last["subject"].as_str()?.to_owned();
            Some((subject, last["sequence"].as_u64()?, last["event_type"].as_str()?.to_owned()))
        })
        .collect();
    // The last commit of each order comes first of its own.
    commits.sort_by(|one, other| (&one.0, other.1).cmp(&(&other.0, one.1)));
    commits.dedup_by(|one, other| one.0 == other.0);
    commits
}

fn report() -> Report {
    let mut snapshot = Snapshot::default();
    for context in contexts() {
        for item in world().tables.items(&table(context)) {
            snapshot.add(context, &item);
        }
    }
    let books = world().gateway.intents().into_iter().map(|intent| Intent {
        status: IntentStatus::of(intent.status),
        order_id: intent.order_id,
        amount: intent.amount,
        refunded: intent.refunded,
    });
    snapshot.add_books(books.collect());
    snapshot.verify(&Policy::at_rest())
}

/// The events of a subject were published in their order, and all that were ever stored were published.
fn of_events() -> Vec<String> {
    let published = world().topics.published();
    // A later write may have replaced the item, and its outbox with it.
    let stored = contexts().flat_map(|context| {
        let history = world().tables.history(&table(context));
        history.into_iter().flat_map(|record| verify::events_of(&record["dynamodb"]["NewImage"]))
    });
    let mut found = verify::unpublished(published.iter().map(|published| &published.event), stored);
    // A FIFO topic keeps the order of a message group.
    let of_another = published.iter().filter(|published| published.event["subject"] != *published.subject);
    found.extend(of_another.map(|published| {
        format!("{} is published in the group {}", published.event["event_id"], published.subject)
    }));
    found
}
