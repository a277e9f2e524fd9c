//! Orders whose saga was lost are found and repaired.

use contracts::{OrderStatus, saga};
use serde_json::json;

use crate::fixture::{Fixture, buy, eventually, unique};
use crate::harness::Outcome;
use crate::saga::{execution_of, states};

crate::tests![alone:
    an_order_whose_execution_was_stopped_by_hand_is_taken_back,
    an_order_whose_saga_never_started_is_started,
];

/// Every order is overdue, not only those that are older than any saga gets.
const CHECK: [&str; 4] = ["saga", "check", "--older-than", "0"];

async fn an_order_whose_execution_was_stopped_by_hand_is_taken_back(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let (order_id, _) = customer.order_that_waits(&fixture, &sku).await?;
    let running = fixture.ops(&CHECK).await?;
    assert!(!running.contains(order_id.as_str()), "an execution that runs is left alone: {running}");
    states(&fixture, "StopExecution", json!({"executionArn": execution_of(&fixture, &order_id).await?}))
        .await?;

    let found = fixture.ops(&CHECK).await?;
    assert!(found.contains(&format!("{order_id}  cancelled")), "{found}");
    assert_eq!(customer.shop.order(&order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&order_id).await?, saga::SAGA_ABORTED);
    assert_eq!(fixture.available(&sku).await?, 5);
    assert!(fixture.taken(&order_id).await?.is_empty());
    let again = fixture.ops(&CHECK).await?;
    assert!(!again.contains(order_id.as_str()), "once is enough: {again}");
    Ok(())
}

async fn an_order_whose_saga_never_started_is_started(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    fixture.switch_off("orders-relay").await?;
    let order_id = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    let found = fixture.ops(&CHECK).await?;
    assert!(found.contains(&format!("{order_id}  started")), "{found}");
    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCompleted);
    fixture.switch_on("orders-relay").await?;
    // The relay starts it, too, and finds that it has run.
    eventually("the relay has caught up", async || {
        let lines = fixture.log_lines("orders-relay", &[order_id.as_str()]).await?;
        if lines.is_empty() { Err("nothing of it in the log")? } else { Ok(()) }
    })
    .await?;
    assert_eq!(fixture.available(&sku).await?, 4);
    assert_eq!(fixture.taken(&order_id).await?.len(), 1);
    Ok(())
}
