//! An undo that uses up its retries raises an alarm, and an operator repairs the order with one command. Runs
//! alone, because it makes the retries of all orders immediate.

use contracts::{OrderStatus, saga};
use serde_json::json;
use shop_client::NewOrder;

use crate::alarms;
use crate::fixture::{Fixture, PRICE, address, buy, eventually};
use crate::harness::Outcome;
use crate::saga::{execution_of, states};

crate::tests![alone:
    an_undo_that_is_exhausted_needs_attention_until_it_is_retried,
    while_the_gateway_is_down_its_breaker_keeps_orders_from_calling_it,
];

async fn an_undo_that_is_exhausted_needs_attention_until_it_is_retried(fixture: Fixture) -> Outcome {
    fixture.pace_retries(0).await?;
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let future = customer.future_order();
    let order_id = future.order_id.as_str();
    fixture.fail_gateway(&future.order_id, "refund", "refuse", 100_000).await?;
    let order = NewOrder { shipping_address: address("AQ"), ..buy(&sku) };
    customer.shop.place(&order, &future.key).await?;

    eventually("the order needs attention", async || {
        let status = customer.shop.order(&future.order_id).await?.status;
        if status == OrderStatus::NeedsAttention { Ok(()) } else { Err(status)? }
    })
    .await?;
    assert_eq!(fixture.available(&sku).await?, 5, "the other undos were done");
    let events = customer.shop.events(&future.order_id).await?;
    let last = events.last().ok_or("an order has events")?;
    assert_eq!(
        (last.event_type.as_str(), &last.data["failed"]),
        ("order.compensation_failed", &json!(["payment"]))
    );
    let execution = json!({"executionArn": execution_of(&fixture, &future.order_id).await?});
    let ended = eventually("the execution has failed", async || {
        let execution = states(&fixture, "DescribeExecution", execution.clone()).await?;
        if execution["status"] == "FAILED" { Ok(execution) } else { Err(execution["status"].to_string())? }
    })
    .await?;
    assert_eq!(ended["error"], saga::COMPENSATION_FAILED);
    alarms::has_been_raised(&fixture, "orders-attention").await?;
    eventually("the operator's list shows it", async || {
        let listed = fixture.ops(&["saga", "list", "--attention"]).await.map_err(said)?;
        if listed.contains(order_id) && listed.contains("not undone: payment") {
            Ok(())
        } else {
            Err(listed)?
        }
    })
    .await?;
    let again = fixture.ops(&["saga", "retry", order_id]).await;
    assert!(again.is_err_and(|error| said(error).contains("payment could not be undone")));

    fixture.gateway.forget_faults().await?;
    let retried = fixture.ops(&["saga", "retry", order_id]).await?;
    assert!(retried.contains("is cancelled"), "{retried}");
    assert_eq!(customer.shop.order(&future.order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&future.order_id).await?, saga::SHIPMENT_REJECTED);
    let taken = fixture.taken(&future.order_id).await?;
    assert_eq!(taken.len(), 1);
    assert_eq!(fixture.gateway.refunded(&taken[0]).await?, PRICE);
    assert!(fixture.ops(&["saga", "retry", order_id]).await.is_err(), "there is nothing left to retry");
    Ok(())
}

async fn while_the_gateway_is_down_its_breaker_keeps_orders_from_calling_it(fixture: Fixture) -> Outcome {
    fixture.switch_breaker("payments", "gateway", "normal").await?;
    let (customer, sku) = (fixture.customer().await?, fixture.product(6).await?);
    let openings = async || {
        Ok::<_, local_stack::Error>(
            fixture.log_lines("payments-commands", &["a circuit opened"]).await?.len(),
        )
    };
    let before = openings().await?;
    // One order's five looks would take a minute; five orders' first ones fail within seconds. A connection that breaks is
    // tried twice more at once, so that it takes three to fail a look.
    let mut orders = Vec::new();
    for _ in 0..5 {
        let future = customer.future_order();
        fixture.fail_gateway(&future.order_id, "create", "refuse", 3).await?;
        customer.shop.place(&buy(&sku), &future.key).await?;
        orders.push(future.order_id);
    }
    eventually("the breaker is open", async || {
        if openings().await? > before { Ok(()) } else { Err("nobody says so")? }
    })
    .await?;
    let late = customer.shop.place(&buy(&sku), &crate::fixture::unique("key")).await.err();
    assert!(late.is_none(), "an order is accepted all the same");
    for order in &orders {
        assert_eq!(customer.ended(order).await?.status, OrderStatus::OrderCompleted);
        let amounts: Vec<i64> = fixture.taken(order).await?.iter().map(|intent| intent.amount).collect();
        assert_eq!(amounts, [PRICE]);
    }
    Ok(())
}

fn said(error: libtest_mimic::Failed) -> String {
    error.message().unwrap_or_default().to_owned()
}
