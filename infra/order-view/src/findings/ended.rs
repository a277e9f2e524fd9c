//! An order that has ended: what is still owed for it.

use contracts::OrderStatus;

use super::{Finding, GRACE, Urgency, age, open, section, status};
use crate::sources::{Message, Sources};

/// What the other contexts still hold of an order that has ended.
pub fn owed(sources: &Sources) -> Vec<Finding> {
    let Some(ended) = sources.events().last().map(|event| event.occurred_at) else { return Vec::new() };
    if age(sources, ended) < GRACE {
        return Vec::new();
    }
    let completed = status(sources) == Some(OrderStatus::OrderCompleted);
    let found = [stock(sources, completed), money(sources, completed), shipment(sources, completed)];
    found.into_iter().flatten().map(|finding| finding.since(Some(ended))).collect()
}

fn stock(sources: &Sources, completed: bool) -> Option<Finding> {
    let reservation = sources.reservation.as_ref()?.as_ref()?;
    if reservation.status != "held" {
        return None;
    }
    let title = if completed {
        "The order has completed, and its stock is not booked as sold"
    } else {
        "The order is cancelled, and its stock is still held"
    };
    let finding = Finding::new(Urgency::Owed, title, section::STOCK)
        .because("inventory-sweeper settles it when it is held for more than half an hour");
    let function = if completed { "inventory-consumer" } else { "inventory-commands" };
    let finding = open::obstacle(sources, function, finding).logged_by(sources, function);
    Some(finding.run(format!("cargo ops dlq list{}", sources.option)))
}

fn money(sources: &Sources, completed: bool) -> Option<Finding> {
    let payment = sources.payment.as_ref()?.as_ref()?;
    let (order, option) = (&sources.order_id, &sources.option);
    if payment.status == "refund_failed" || payment.returned > 0 {
        let title = "A refund was returned by the customer's bank, and the money is owed to the customer";
        let finding = Finding::new(Urgency::Owed, title, section::REFUND);
        return Some(finding.run(format!("cargo ops saga retry {order}{option}")));
    }
    if completed || !["pending", "succeeded", "refunding"].contains(&payment.status.as_str()) {
        return None;
    }
    let title = format!("The order is cancelled, and its payment is {}", payment.status);
    let finding = Finding::new(Urgency::Owed, title, section::STUCK);
    let finding =
        open::obstacle(sources, "payments-commands", finding).logged_by(sources, "payments-commands");
    Some(finding.run(format!("cargo ops saga check --older-than 0{option}")))
}

fn shipment(sources: &Sources, completed: bool) -> Option<Finding> {
    let shipment = sources.shipment.as_ref()?.as_ref()?;
    if completed || ["rejected", "cancelled"].contains(&shipment.status.as_str()) {
        return None;
    }
    let title = format!("The order is cancelled, and its shipment is {}", shipment.status);
    let finding =
        Finding::new(Urgency::Owed, title, section::STUCK).logged_by(sources, "fulfillment-commands");
    Some(finding.run(format!("cargo ops saga list --attention{}", sources.option)))
}

/// Messages to the customer that were not sent.
pub fn messages(sources: &Sources) -> Vec<Finding> {
    sources.messages.iter().flatten().filter_map(|message| unsent(sources, message)).collect()
}

fn unsent(sources: &Sources, message: &Message) -> Option<Finding> {
    const FUNCTION: &str = "notifications-consumer";
    let Message { event_type, channel, state, reason, .. } = message;
    let reason = reason.clone().unwrap_or_default();
    let titled = |urgency, verb: &str| {
        let title = format!("The customer was not told of {event_type} by {channel}: {verb}");
        Finding::new(urgency, title, section::NOT_TOLD).because(reason.clone())
    };
    let queue = format!("notifications-{channel}-dlq");
    match state.as_str() {
        "given_up" => {
            let finding = titled(Urgency::Owed, "every try failed").since(message.ended_at);
            let finding = finding.logged_by(sources, FUNCTION);
            Some(finding.run(format!("cargo ops dlq redrive {queue}{}", sources.option)))
        }
        // The address does not exist, or its owner complained. Only the customer can change that.
        "failed" => {
            let finding = titled(Urgency::Waits, "it cannot be delivered").since(message.ended_at);
            let user = sources.events().first().and_then(|event| event.metadata.user_id.as_ref());
            Some(match user {
                Some(user) => finding.run(format!("cargo ops users show {user}{}", sources.option)),
                None => finding,
            })
        }
        "waiting" | "sending" => {
            if state == "sending" && message.lease_until.is_some_and(|until| until > sources.read_at) {
                return None;
            }
            let finding = open::breaker(sources, &format!("notifications/{channel}"), "the message")
                .unwrap_or_else(|| {
                    titled(Urgency::Waits, "it is tried again")
                        .run(format!("cargo ops dlq list{}", sources.option))
                });
            Some(finding.logged_by(sources, FUNCTION))
        }
        _ => None,
    }
}
