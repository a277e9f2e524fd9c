//! More customers than pieces: nothing is oversold, and nothing stays behind.

use contracts::OrderStatus;
use futures::future::try_join_all;

use crate::harness::Outcome;
use crate::world::{World, buy, unique};

crate::tests![of_twenty_orders_for_eight_pieces_exactly_eight_complete];

async fn of_twenty_orders_for_eight_pieces_exactly_eight_complete(world: World) -> Outcome {
    let (customer, sku) = (world.customer().await?, world.product(8).await?);
    let placed = try_join_all((0..20).map(|_| async {
        let key = unique("key");
        customer.shop.place(&buy(&sku), &key).await
    }))
    .await?;
    let ended = try_join_all(placed.iter().map(|placed| customer.ended(&placed.order_id))).await?;
    let completed = ended.iter().filter(|order| order.status == OrderStatus::OrderCompleted);
    assert_eq!(completed.count(), 8);
    assert_eq!(world.available(&sku).await?, 0);
    for order in ended.iter().filter(|order| order.status != OrderStatus::OrderCompleted) {
        assert_eq!(customer.reason(&order.order_id).await?, contracts::saga::INVENTORY_NOT_AVAILABLE);
        assert!(world.gateway.intents_of(&order.order_id).await?.is_empty(), "nobody pays for nothing");
    }
    Ok(())
}
