//! The ends of orders, and the state that they leave.

use contracts::{OrderId, OrderStatus, saga};
use serde_json::{Value, json};
use shop_client::{Frame, NewOrder, card};
use std::collections::BTreeSet;

use crate::fixture::{Fixture, PRICE, WITHIN, address, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    an_order_completes_and_every_step_of_it_is_told,
    an_order_of_more_than_there_is_ends_cancelled_and_takes_no_money,
    a_declined_card_gives_the_stock_back,
    a_late_payment_completes_the_order_through_the_webhook,
    an_order_that_cannot_be_shipped_is_refunded_and_gives_the_stock_back,
    the_happy_path_enters_exactly_five_states,
];

const HAPPY_PATH: [&str; 6] = [
    "order.created",
    "order.inventory_reserved",
    "order.payment_pending",
    "order.payment_succeeded",
    "order.shipment_scheduled",
    "order.completed",
];

async fn an_order_completes_and_every_step_of_it_is_told(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(10).await?);
    let mut live = customer.shop.live().await?;

    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    assert_eq!((placed.status, placed.total.amount), (OrderStatus::OrderCreated, PRICE));
    live.subscribe(&placed.order_id, Some(0)).await?;

    let mut told = Vec::new();
    let mut others = BTreeSet::new();
    while told.len() < HAPPY_PATH.len() || others.len() < 2 {
        match live.next(WITHIN).await? {
            // A frame may come twice, but not out of order.
            Frame::Order(frame) if frame.version == told.len() as u64 + 1 => told.push(frame),
            Frame::Order(frame) => assert!(frame.version <= told.len() as u64, "a hole before {frame:?}"),
            Frame::Payment(part) => _ = others.insert(format!("payment {}", part.status)),
            Frame::Shipment(part) => _ = others.insert(format!("shipment {}", part.status)),
            Frame::Subscribed { .. } => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    assert_eq!(told.iter().map(|frame| frame.event_type.as_str()).collect::<Vec<_>>(), HAPPY_PATH);
    assert_eq!(told[5].status, Some(OrderStatus::OrderCompleted));
    assert!(
        told.iter().all(|frame| frame.correlation_id == told[0].correlation_id),
        "one id follows the order"
    );
    assert_eq!(Vec::from_iter(others), ["payment succeeded", "shipment scheduled"]);

    let order = customer.shop.order(&placed.order_id).await?;
    assert_eq!((order.status, order.version), (OrderStatus::OrderCompleted, 6));
    assert_eq!(customer.history(&placed.order_id).await?, HAPPY_PATH);
    assert_eq!(fixture.available(&sku).await?, 9);
    assert_eq!(customer.shop.payment(&placed.order_id).await?.status, "succeeded");
    assert_eq!(fixture.taken(&placed.order_id).await?.len(), 1);
    Ok(())
}

async fn an_order_of_more_than_there_is_ends_cancelled_and_takes_no_money(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(0).await?);
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;

    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&placed.order_id).await?, saga::INVENTORY_NOT_AVAILABLE);
    assert_eq!(
        customer.history(&placed.order_id).await?,
        ["order.created", "order.inventory_not_available", "order.cancelled"]
    );
    assert_eq!(fixture.available(&sku).await?, 0);
    assert!(fixture.gateway.intents_of(&placed.order_id).await?.is_empty(), "the gateway was never asked");
    Ok(())
}

async fn a_declined_card_gives_the_stock_back(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let order = NewOrder { payment_method: card::DECLINED.to_owned(), ..buy(&sku) };
    let placed = customer.shop.place(&order, &unique("key")).await?;

    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&placed.order_id).await?, saga::PAYMENT_DECLINED);
    assert_eq!(
        customer.history(&placed.order_id).await?,
        [
            "order.created",
            "order.inventory_reserved",
            "order.payment_pending",
            "order.payment_failed",
            "order.inventory_released",
            "order.cancelled",
        ]
    );
    assert_eq!(fixture.available(&sku).await?, 5);
    assert_eq!(fixture.taken(&placed.order_id).await?.len(), 0);
    Ok(())
}

async fn a_late_payment_completes_the_order_through_the_webhook(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let (order_id, asked) = customer.order_that_waits(&fixture, &sku).await?;
    assert_eq!(customer.shop.order(&order_id).await?.status, OrderStatus::PaymentPending);
    fixture.gateway.authenticate(&asked).await?;

    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCompleted);
    assert_eq!(customer.history(&order_id).await?, HAPPY_PATH);
    assert_eq!(fixture.taken(&order_id).await?.len(), 1);
    eventually("the webhook has come", async || {
        let words = ["/v1/payments/webhook", order_id.as_str()];
        let lines = fixture.log_lines("payments-api", &words).await?;
        if lines.is_empty() { Err("no line of it in the log")? } else { Ok(()) }
    })
    .await?;
    Ok(())
}

async fn an_order_that_cannot_be_shipped_is_refunded_and_gives_the_stock_back(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let order = NewOrder { shipping_address: address("AQ"), ..buy(&sku) };
    let placed = customer.shop.place(&order, &unique("key")).await?;

    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&placed.order_id).await?, saga::SHIPMENT_REJECTED);
    let history = customer.history(&placed.order_id).await?;
    assert_eq!(history[3..], ["order.payment_refunded", "order.inventory_released", "order.cancelled"]);
    assert_eq!(fixture.available(&sku).await?, 5);

    let taken = fixture.taken(&placed.order_id).await?;
    assert_eq!(taken.len(), 1);
    assert_eq!(fixture.gateway.refunded(&taken[0]).await?, PRICE);
    let payment = customer.shop.payment(&placed.order_id).await?;
    assert_eq!((payment.status.as_str(), payment.refunded.amount), ("refunded", PRICE));
    Ok(())
}

async fn the_happy_path_enters_exactly_five_states(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCompleted);

    let events = eventually("the execution has succeeded", async || {
        let events = execution_history(&fixture, &placed.order_id).await?;
        let last = events.last().map(|event| event["type"].to_string()).unwrap_or_default();
        if last.contains("ExecutionSucceeded") { Ok(events) } else { Err(last)? }
    })
    .await?;
    let entered: Vec<&str> =
        events.iter().filter_map(|event| event["stateEnteredEventDetails"]["name"].as_str()).collect();
    assert_eq!(entered, saga::STEPS.map(|step| step.name), "each entered state costs a transition");
    Ok(())
}

/// The saga's own ARN.
pub async fn state_machine(fixture: &Fixture) -> local_stack::Result<String> {
    let machines = states(fixture, "ListStateMachines", json!({})).await?;
    let machine = machines["stateMachines"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|machine| machine["stateMachineArn"].as_str().filter(|arn| arn.ends_with("-order-saga")))
        .unwrap_or_default();
    Ok(machine.to_owned())
}

/// The ARN of the execution that has the order's id for its name.
pub async fn execution_of(fixture: &Fixture, order: &OrderId) -> local_stack::Result<String> {
    Ok(format!("{}:{order}", state_machine(fixture).await?.replace(":stateMachine:", ":execution:")))
}

/// The events of an order's execution.
pub async fn execution_history(fixture: &Fixture, order: &OrderId) -> local_stack::Result<Vec<Value>> {
    // All events fit on one page: a saga that needs a thousand has another problem.
    let input = json!({"executionArn": execution_of(fixture, order).await?, "maxResults": 1000});
    let history = states(fixture, "GetExecutionHistory", input).await?;
    Ok(history["events"].as_array().cloned().unwrap_or_default())
}

/// A call of Step Functions.
pub async fn states(fixture: &Fixture, operation: &str, input: Value) -> local_stack::Result<Value> {
    fixture.emulator.json("states", &format!("AWSStepFunctions.{operation}"), &input).await
}
