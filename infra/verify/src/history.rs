//! An order's events: whether they are its own, without a gap, and in an order that the saga allows.

use std::collections::BTreeMap;

use contracts::{
    Envelope, EventPayload, Money,
    events::{
        OrderCancelRequested, OrderCancelled, OrderCompensationFailed, OrderCompleted, OrderCreated,
        OrderInventoryNotAvailable, OrderInventoryReleased, OrderInventoryReserved, OrderPaymentFailed,
        OrderPaymentPending, OrderPaymentRefunded, OrderPaymentSucceeded, OrderShipmentScheduled,
    },
};
use jiff::Timestamp;

use crate::{
    items::Commit,
    report::{End, Report, Rule},
};

/// An order as its events tell it.
#[derive(Debug)]
pub struct History {
    pub user_id: Option<String>,
    pub placed_at: Timestamp,
    pub last_at: Timestamp,
    pub version: u64,
    pub total: Money,
    /// The discount code that it was placed with.
    pub code: Option<String>,
    pub end: End,
    /// Whether it was ever cancelled. It still is when it needs attention afterwards, for a refund that failed.
    pub was_cancelled: bool,
    /// The undos that failed, while it needs attention.
    pub failed: Vec<String>,
    /// The id of the event that ended it.
    pub ended_by: Option<String>,
}

/// How far the saga is, as the rules of the next event see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Created,
    Reserved,
    PaymentPending,
    Paid,
    Shipped,
    Completed,
    NeedsAttention,
    Cancelled,
}

/// Reads an order from its commits, and reports what is wrong with them. `None` when there is nothing to go on with.
pub fn read(id: &str, commits: &BTreeMap<u64, Commit>, report: &mut Report) -> Option<History> {
    let events = events(id, commits, report)?;
    report.counts.events += u64::try_from(events.len()).unwrap_or(u64::MAX);
    let first = events.first()?;
    let created = match first.decode::<OrderCreated>() {
        Ok(created) => created,
        Err(_) => {
            report.violate(Rule::History, id, "order.created as the first event", &first.event_type);
            return None;
        }
    };
    let mut history = History {
        user_id: first.metadata.user_id.as_ref().map(ToString::to_string),
        placed_at: first.occurred_at,
        last_at: first.occurred_at,
        version: 1,
        total: created.total,
        code: created.discount.as_ref().map(|discount| discount.code.to_string()),
        end: End::Open,
        was_cancelled: false,
        failed: Vec::new(),
        ended_by: None,
    };
    let mut stage = Stage::Created;
    let mut once: Vec<&str> = Vec::new();
    let mut cancel_requested = false;
    for event in &events[1..] {
        history.version = event.sequence;
        history.last_at = event.occurred_at;
        let event_type = event.event_type.as_str();
        match follow(stage, event_type, cancel_requested) {
            Some(next) => stage = next,
            None => {
                let expected = format!("events that may follow {}", phrase(stage, cancel_requested));
                report.violate(Rule::History, id, expected, format!("{event_type} as {}", event.sequence));
            }
        }
        cancel_requested |= event_type == OrderCancelRequested::TYPE;
        if is_fact(event_type) {
            if once.contains(&event_type) {
                report.violate(Rule::History, id, format!("{event_type} once"), "it twice");
            }
            once.push(event_type);
        }
        amount(id, event, &history, report);
        match event_type {
            OrderCompleted::TYPE => end(&mut history, End::Completed, event),
            OrderCancelled::TYPE => {
                history.was_cancelled = true;
                end(&mut history, End::Cancelled, event);
            }
            OrderCompensationFailed::TYPE => {
                end(&mut history, End::NeedsAttention, event);
                history.failed = event
                    .decode::<OrderCompensationFailed>()
                    .map(|failure| failure.failed)
                    .unwrap_or_default();
                if history.failed.is_empty() {
                    report.violate(
                        Rule::History,
                        id,
                        "an undo that failed",
                        "order.compensation_failed alone",
                    );
                }
            }
            _ => {}
        }
    }
    Some(history)
}

fn end(history: &mut History, end: End, event: &Envelope) {
    history.end = end;
    history.failed.clear();
    history.ended_by = Some(event.event_id.to_string());
}

/// The events of the commits in their order, without what is not the order's.
fn events(id: &str, commits: &BTreeMap<u64, Commit>, report: &mut Report) -> Option<Vec<Envelope>> {
    let mut events: Vec<Envelope> = Vec::new();
    let mut commands: Vec<&str> = Vec::new();
    for commit in commits.values() {
        if commands.contains(&commit.command_id.as_str()) {
            report.violate(Rule::History, id, "each command once", format!("{} twice", commit.command_id));
        }
        commands.push(&commit.command_id);
        for json in &commit.outbox {
            let event: Envelope = match serde_json::from_str(json) {
                Ok(event) => event,
                Err(error) => {
                    let found = format!("{error} in the commit of version {}", commit.first_version);
                    report.violate(Rule::History, id, "events that can be read", found);
                    return None;
                }
            };
            let expected = events.last().map_or(1, |last| last.sequence + 1);
            if event.source != "orders" || event.subject != id {
                let found = format!("one of {} about {}", event.source, event.subject);
                report.violate(Rule::History, id, "events of this order", found);
            }
            if event.sequence != expected {
                let found = event.sequence.to_string();
                report.violate(Rule::History, id, format!("version {expected} as the next one"), found);
            }
            events.push(event);
        }
        let last = events.last().map_or(0, |event| event.sequence);
        if commit.outbox.is_empty() || last != commit.last_version {
            let expected = format!("events up to version {}", commit.last_version);
            report.violate(Rule::History, id, expected, format!("events up to version {last}"));
        }
    }
    Some(events)
}

/// The stage after an event, if it may follow. Events that a later release may add keep the stage.
fn follow(stage: Stage, event_type: &str, cancel_requested: bool) -> Option<Stage> {
    let is_open = !matches!(stage, Stage::Completed | Stage::Cancelled);
    let next = match event_type {
        OrderCreated::TYPE => return None,
        OrderInventoryReserved::TYPE => (stage == Stage::Created && !cancel_requested, Stage::Reserved),
        OrderPaymentPending::TYPE => (stage == Stage::Reserved, Stage::PaymentPending),
        OrderPaymentSucceeded::TYPE => (stage == Stage::PaymentPending && !cancel_requested, Stage::Paid),
        OrderShipmentScheduled::TYPE => (stage == Stage::Paid, Stage::Shipped),
        OrderCompleted::TYPE => (stage == Stage::Shipped, Stage::Completed),
        OrderCancelRequested::TYPE => (is_open && !cancel_requested, stage),
        // A retry after a failed refund of a cancelled order records that it succeeded.
        OrderInventoryNotAvailable::TYPE
        | OrderPaymentFailed::TYPE
        | OrderPaymentRefunded::TYPE
        | OrderInventoryReleased::TYPE => (is_open, stage),
        OrderCancelled::TYPE => (is_open, Stage::Cancelled),
        // Also when the bank returns the refund of a cancelled order.
        OrderCompensationFailed::TYPE => (stage != Stage::Completed, Stage::NeedsAttention),
        _ => (true, stage),
    };
    next.0.then_some(next.1)
}

/// Whether it is recorded of an order once.
fn is_fact(event_type: &str) -> bool {
    [
        OrderInventoryNotAvailable::TYPE,
        OrderPaymentFailed::TYPE,
        OrderPaymentRefunded::TYPE,
        OrderInventoryReleased::TYPE,
    ]
    .contains(&event_type)
}

/// Every amount of an order's events is its total.
fn amount(id: &str, event: &Envelope, history: &History, report: &mut Report) {
    let amount = match event.event_type.as_str() {
        OrderPaymentSucceeded::TYPE => event.decode::<OrderPaymentSucceeded>().map(|paid| paid.amount),
        OrderPaymentRefunded::TYPE => event.decode::<OrderPaymentRefunded>().map(|refund| refund.amount),
        OrderCompleted::TYPE => event.decode::<OrderCompleted>().map(|completed| completed.total),
        _ => return,
    };
    match amount {
        Ok(amount) if amount == history.total => {}
        Ok(amount) => {
            let found = format!("{amount} in {}", event.event_type);
            report.violate(Rule::History, id, format!("the order's total of {}", history.total), found);
        }
        Err(error) => report.violate(Rule::History, id, "events that can be read", error.to_string()),
    }
}

fn phrase(stage: Stage, cancel_requested: bool) -> String {
    let name = match stage {
        Stage::Created => "order.created",
        Stage::Reserved => "order.inventory_reserved",
        Stage::PaymentPending => "order.payment_pending",
        Stage::Paid => "order.payment_succeeded",
        Stage::Shipped => "order.shipment_scheduled",
        Stage::Completed => "order.completed",
        Stage::NeedsAttention => "order.compensation_failed",
        Stage::Cancelled => "order.cancelled",
    };
    let request = if cancel_requested { " after a requested cancel" } else { "" };
    format!("{name}{request}")
}
