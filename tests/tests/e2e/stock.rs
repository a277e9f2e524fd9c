//! Stock: where it is shown, how it is adjusted, that what is held for ended orders is found, and that nothing is
//! oversold.

use contracts::{OrderStatus, Sku, saga};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Fixture, Result, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    a_product_shows_whether_it_can_be_bought,
    stock_of_many_shards_is_sold_to_the_last_piece,
    an_adjustment_is_made_once,
    the_sweeper_asks_orders_and_leaves_nothing_undone,
    of_twenty_orders_for_eight_pieces_exactly_eight_complete,
];

async fn shows(fixture: &Fixture, sku: &Sku, availability: &str) -> Result<()> {
    eventually(&format!("{sku} is shown as {availability}"), async || {
        let path = format!("/v1/products/{sku}");
        let product: Value = fixture.shop.call(Method::GET, &path).send().await?.read()?;
        if product["availability"] == availability { Ok(()) } else { Err(product.to_string())? }
    })
    .await
}

async fn a_product_shows_whether_it_can_be_bought(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(6).await?);
    shows(&fixture, &sku, "in_stock").await?;
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCompleted);
    shows(&fixture, &sku, "low_stock").await?;
    let stock = json!({"available": 0});
    fixture
        .admin
        .call(Method::PUT, &format!("/v1/inventory/{sku}"))
        .json(&stock)
        .send()
        .await?
        .read::<Value>()?;
    shows(&fixture, &sku, "out_of_stock").await?;
    Ok(())
}

async fn stock_of_many_shards_is_sold_to_the_last_piece(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(16).await?);
    let spread = json!({"available": 16, "shards": 16});
    fixture
        .admin
        .call(Method::PUT, &format!("/v1/inventory/{sku}"))
        .json(&spread)
        .send()
        .await?
        .read::<Value>()?;
    let mut order = buy(&sku);
    order.items[0].quantity = 16;
    let placed = customer.shop.place(&order, &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCompleted);
    assert_eq!(fixture.available(&sku).await?, 0);
    Ok(())
}

async fn an_adjustment_is_made_once(fixture: Fixture) -> Outcome {
    let sku = fixture.product(10).await?;
    let path = format!("/v1/inventory/{sku}/adjustments");
    let adjust = async || {
        let call = fixture.admin.call(Method::POST, &path).header("idempotency-key", "once");
        call.json(&json!({"delta": -3, "reason": "broken"})).send().await
    };
    let (first, again) = (adjust().await?, adjust().await?);
    assert_eq!(
        (first.read::<Value>()?["available"].clone(), again.read::<Value>()?),
        (json!(7), first.value())
    );
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(fixture.available(&sku).await?, 7);
    Ok(())
}

/// Nothing is held for half an hour in a test. This shows that the sweeper may read its index, and that
/// orders answers its query.
async fn the_sweeper_asks_orders_and_leaves_nothing_undone(fixture: Fixture) -> Outcome {
    let swept = fixture.invoke("inventory-sweeper", &json!({})).await?;
    assert_eq!((swept["stuck"].as_u64(), swept["failed"].as_u64()), (Some(0), Some(0)), "{swept}");

    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    customer.ended(&placed.order_id).await?;
    let nobody = "ord_00000000000000000000000000000000";
    let question = json!({"action": "OrderStatuses", "order_ids": [placed.order_id, nobody]});
    let answer = fixture.invoke("orders-commands", &question).await?;
    assert_eq!(answer["orders"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(answer["orders"][0]["status"], "OrderCompleted");
    Ok(())
}

async fn of_twenty_orders_for_eight_pieces_exactly_eight_complete(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(8).await?);
    let placed = try_join_all((0..20).map(|_| async {
        let key = unique("key");
        customer.shop.place(&buy(&sku), &key).await
    }))
    .await?;
    let ended = try_join_all(placed.iter().map(|placed| customer.ended(&placed.order_id))).await?;
    let completed = ended.iter().filter(|order| order.status == OrderStatus::OrderCompleted);
    assert_eq!(completed.count(), 8);
    assert_eq!(fixture.available(&sku).await?, 0);
    for order in ended.iter().filter(|order| order.status != OrderStatus::OrderCompleted) {
        assert_eq!(customer.reason(&order.order_id).await?, saga::INVENTORY_NOT_AVAILABLE);
        assert!(fixture.gateway.intents_of(&order.order_id).await?.is_empty(), "nobody pays for nothing");
    }
    Ok(())
}
