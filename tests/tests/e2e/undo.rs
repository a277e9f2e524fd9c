//! An undo that comes before its step leaves its mark: the step, when it comes, is refused. Orders get their ids from the
//! customer and the key, so a test can undo an order that it has not placed yet.

use contracts::{CorrelationId, OrderStatus, saga};
use serde_json::{Value, json};

use crate::fixture::{Customer, Fixture, FutureOrder, address, buy, one};
use crate::harness::Outcome;

crate::tests![
    stock_that_was_released_before_it_was_reserved_is_not_reserved,
    a_shipment_that_was_cancelled_before_it_was_scheduled_is_not_scheduled,
    a_payment_that_was_undone_before_it_was_taken_is_not_taken,
    an_undo_can_be_repeated,
];

/// A command as the saga of that order would send it.
fn command(order: &FutureOrder, action: &str, customer: &Customer, more: Value) -> Value {
    let mut command = json!({
        "action": action, "order_id": order.order_id, "correlation_id": CorrelationId::generate(),
        "user_id": customer.user_id,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        command[name] = value.clone();
    }
    command
}

async fn stock_that_was_released_before_it_was_reserved_is_not_reserved(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let order = customer.future_order();
    let release = command(&order, "ReleaseInventory", &customer, json!({}));
    let reserve = command(&order, "ReserveInventory", &customer, json!({"items": [one(&sku)]}));

    assert_eq!(fixture.invoke("inventory-commands", &release).await?["outcome"], "nothing_held");
    assert_eq!(
        fixture.invoke("inventory-commands", &reserve).await?["errorType"],
        saga::ORDER_CANCEL_REQUESTED
    );
    assert_eq!(fixture.available(&sku).await?, 5);

    // And so for the saga, which ends the order.
    let placed = customer.shop.place(&buy(&sku), &order.key).await?;
    assert_eq!(placed.order_id, order.order_id);
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&placed.order_id).await?, saga::ORDER_CANCEL_REQUESTED);
    assert_eq!(fixture.available(&sku).await?, 5);
    assert!(fixture.gateway.intents_of(&placed.order_id).await?.is_empty());
    Ok(())
}

async fn a_shipment_that_was_cancelled_before_it_was_scheduled_is_not_scheduled(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let order = customer.future_order();
    let cancel = command(&order, "CancelShipment", &customer, json!({}));
    let shipment = json!({"items": [one(&sku)], "shipping_address": address("DE")});
    let schedule = command(&order, "ScheduleShipment", &customer, shipment);

    assert_eq!(fixture.invoke("fulfillment-commands", &cancel).await?["outcome"], "nothing_scheduled");
    assert_eq!(
        fixture.invoke("fulfillment-commands", &schedule).await?["errorType"],
        saga::ORDER_CANCEL_REQUESTED
    );

    // And so for the saga, which gives the money and the stock back.
    let placed = customer.shop.place(&buy(&sku), &order.key).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&placed.order_id).await?, saga::ORDER_CANCEL_REQUESTED);
    assert_eq!(fixture.available(&sku).await?, 5);
    assert_eq!(customer.shop.payment(&placed.order_id).await?.status, "refunded");
    Ok(())
}

async fn a_payment_that_was_undone_before_it_was_taken_is_not_taken(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let order = customer.future_order();
    let undo = command(&order, "RefundPayment", &customer, json!({"reason": saga::SHIPMENT_REJECTED}));
    assert_eq!(fixture.invoke("payments-commands", &undo).await?["outcome"], "nothing_taken");

    // Payments takes this step from its queue and answers with the task token, so this goes through a saga.
    let placed = customer.shop.place(&buy(&sku), &order.key).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&placed.order_id).await?, saga::ORDER_CANCEL_REQUESTED);
    assert_eq!(fixture.available(&sku).await?, 5);
    assert!(fixture.taken(&placed.order_id).await?.is_empty());
    Ok(())
}

async fn an_undo_can_be_repeated(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let order = customer.future_order();
    let undos = [
        ("inventory-commands", command(&order, "ReleaseInventory", &customer, json!({})), "nothing_held"),
        (
            "fulfillment-commands",
            command(&order, "CancelShipment", &customer, json!({})),
            "nothing_scheduled",
        ),
        (
            "payments-commands",
            command(&order, "RefundPayment", &customer, json!({"reason": "x"})),
            "nothing_taken",
        ),
    ];
    for (function, undo, outcome) in undos {
        for time in ["first", "second"] {
            assert_eq!(fixture.invoke(function, &undo).await?["outcome"], outcome, "{function}, {time} time");
        }
    }
    Ok(())
}
