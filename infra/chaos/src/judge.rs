//! Whether an order ended well. Reads only the tables, the queues, the executions, the mailbox and the gateway's books, and
//! nothing that the functions say about themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::{OrderId, OrderStatus};
use serde_json::{Value, json};
use shop_client::all_mail;

use crate::lane::Lane;
use crate::platform::Platform;
use crate::scenario::Scenario;
use crate::subscriber::Subscriber;
use crate::wait::until;

/// Longer than a queue needs to deliver the last message again, after a function that ended or timed out.
const DRAINED_WITHIN: Duration = Duration::from_secs(300);

/// What is wrong with an order that should have ended. What cannot be read is wrong, too.
pub async fn order(
    platform: &Platform,
    lane: &Lane,
    scenario: Scenario,
    (order, subscriber): (&OrderId, &Subscriber),
) -> Vec<String> {
    match of_order(platform, lane, scenario, (order, subscriber)).await {
        Ok(violations) => violations,
        Err(error) => vec![error],
    }
}

async fn of_order(
    platform: &Platform,
    lane: &Lane,
    scenario: Scenario,
    (order, subscriber): (&OrderId, &Subscriber),
) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let events = events(platform, order).await?;
    let has = |event_type: &str| events.iter().any(|event| event["event_type"] == event_type);
    let (is_completed, is_cancelled) = (has("order.completed"), has("order.cancelled"));
    let should_complete = scenario.ending() == OrderStatus::OrderCompleted;
    if (is_completed, is_cancelled) != (should_complete, !should_complete) {
        let types: Vec<&str> = events.iter().filter_map(|event| event["event_type"].as_str()).collect();
        // The rest is right only once the order has ended.
        return Ok(vec![format!(
            "it should be {}, and its events are {}",
            scenario.ending(),
            types.join(", ")
        )]);
    }
    // An event is a version.
    found.extend(subscriber.violations(events.len() as u64));
    found.extend(of_money(platform, lane, scenario, &events).await?);

    let shipment =
        platform.item("fulfillment", &format!("SHIPMENT#{order}"), "SHIPMENT").await.map_err(said)?;
    let is_shipped = shipment["status"]["S"] == "scheduled";
    if is_shipped != is_completed {
        found.push(format!("it is completed: {is_completed}, and has a shipment: {is_shipped}"));
    }
    let reservation =
        platform.item("inventory", &format!("RESERVATION#{order}"), "RESERVATION").await.map_err(said)?;
    let status = reservation["status"]["S"].as_str().unwrap_or("nothing");
    if is_completed != (status == "committed") || status == "held" {
        found.push(format!("it is completed: {is_completed}, and its stock is {status}"));
    }
    let stock = platform.item("inventory", &format!("STOCK#{}#0", lane.sku), "STOCK").await.map_err(said)?;
    let right = lane.stock - scenario.pieces();
    if number(&stock["available"]) != i64::try_from(right).ok() {
        found.push(format!("{} pieces are on hand, and {right} is right", stock["available"]["N"]));
    }
    let code = platform.item("orders", &format!("DISCOUNT#{}", lane.code), "DISCOUNT").await.map_err(said)?;
    let right = lane.used + scenario.uses();
    if number(&code["used"]).unwrap_or_default() != i64::try_from(right).unwrap_or_default() {
        found.push(format!("the code is used by {} orders, and {right} is right", code["used"]["N"]));
    }
    Ok(found)
}

/// The money that was taken and not given back is the total of a completed order, or nothing. There is one live charge at
/// most, and none that may still take money.
async fn of_money(
    platform: &Platform,
    lane: &Lane,
    scenario: Scenario,
    events: &[Value],
) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let (mut kept, mut live) = (0, 0);
    for intent in platform.intents(lane).await.map_err(said)? {
        if intent.status == "succeeded" {
            let refunds = platform.gateway.refunds(&intent).await.map_err(said)?;
            let refunded: i64 = refunds.iter().filter_map(|refund| refund["amount"].as_i64()).sum();
            kept += intent.amount - refunded;
            live += usize::from(refunded < intent.amount);
        } else if ["requires_action", "processing"].contains(&intent.status.as_str()) {
            found.push(format!("{} is {}, and may still take money", intent.id, intent.status));
        }
    }
    let created = events.iter().find(|event| event["event_type"] == "order.created");
    let total = created.and_then(|event| event["data"]["total"]["amount"].as_i64()).unwrap_or_default();
    let owed = match scenario.ending() {
        OrderStatus::OrderCompleted => total,
        // The stand-in for the gateway still counts the refund that the bank has returned, and the second one, too.
        _ if scenario == Scenario::RefundFails => -total,
        _ => 0,
    };
    if kept != owed {
        found.push(format!("{kept} of the customer's money is kept, and {owed} is right"));
    }
    if live > 1 {
        found.push(format!("it has {live} live charges"));
    }
    Ok(found)
}

/// The order's events, as its commits have them.
pub async fn events(platform: &Platform, order: &OrderId) -> Result<Vec<Value>, String> {
    let items = platform.partition("orders", &format!("ORDER#{order}")).await.map_err(said)?;
    let commits =
        items.iter().filter(|item| item["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with("COMMIT#")));
    let outboxes = commits.flat_map(|commit| commit["outbox"]["L"].as_array().into_iter().flatten());
    outboxes
        .map(|event| serde_json::from_str(event["S"].as_str().unwrap_or_default()).map_err(said))
        .collect()
}

/// What is wrong with the whole stack after all runs.
pub async fn stack(platform: &Platform, orders: &[(OrderId, Scenario)]) -> Vec<String> {
    let mut found = Vec::new();
    let drained = until("the queues are empty, and no execution runs", DRAINED_WITHIN, async || {
        let queued = platform.emulator.queued().await.map_err(said)?;
        let mut left: Vec<_> = queued.waiting.into_keys().collect();
        left.extend(executions(platform, &["RUNNING"]).await?);
        if left.is_empty() { Ok(()) } else { Err(left.join(", "))? }
    });
    found.extend(drained.await.err().map(said));
    match platform.emulator.queued().await {
        Ok(queued) => found.extend(
            queued.dead_letters.iter().map(|(queue, number)| format!("{number} dead letters are in {queue}")),
        ),
        Err(error) => found.push(said(error)),
    }
    found.extend(platform.ops(&["verify", "--settle", "0"]).await.err());
    let failed = executions(platform, &["FAILED", "TIMED_OUT", "ABORTED"]).await;
    for check in [failed, of_letters(platform, orders).await] {
        found.extend(check.unwrap_or_else(|error| vec![error]));
    }
    found
}

/// The executions in one of these states.
async fn executions(platform: &Platform, statuses: &[&str]) -> Result<Vec<String>, String> {
    let json = async |target: &str, input: Value| {
        platform.emulator.json("states", &format!("AWSStepFunctions.{target}"), &input).await.map_err(said)
    };
    let machines = json("ListStateMachines", json!({})).await?;
    let mut found = Vec::new();
    for machine in machines["stateMachines"].as_array().into_iter().flatten() {
        for status in statuses {
            let input = json!({"stateMachineArn": machine["stateMachineArn"], "statusFilter": status});
            let listed = json("ListExecutions", input).await?;
            let listed = listed["executions"].as_array().into_iter().flatten();
            found.extend(listed.map(|execution| format!("the execution {} is {status}", execution["name"])));
        }
    }
    Ok(found)
}

/// Each order has one letter about each of its ends, and another one, when an answer was lost. An order that an operator
/// has refunded again ends twice.
async fn of_letters(platform: &Platform, orders: &[(OrderId, Scenario)]) -> Result<Vec<String>, String> {
    let sent = all_mail(&platform.outputs.aws_endpoint_url).await.map_err(said)?;
    let mut letters: BTreeMap<String, usize> = BTreeMap::new();
    for mail in sent {
        for end in ["is complete", "was cancelled"] {
            if mail.subject.contains(end) {
                let order = mail.subject.split(' ').find(|word| word.starts_with("ord_"));
                *letters.entry(order.unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
    }
    let of = |order: &OrderId| letters.get(order.as_str()).copied().unwrap_or_default();
    let wrong = orders.iter().filter(|(order, scenario)| {
        let ends = if *scenario == Scenario::RefundFails { 2 } else { 1 };
        !(ends..=ends + 1).contains(&of(order))
    });
    Ok(wrong
        .map(|(order, scenario)| format!("{order} ({scenario}) has {} letters about its end", of(order)))
        .collect())
}

fn number(attribute: &Value) -> Option<i64> {
    attribute["N"].as_str()?.parse().ok()
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
