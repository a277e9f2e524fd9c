//! A SKU with several shards: which shards orders take from, and that stock that exists is never reported as
//! missing.

use super::*;

impl Warehouse {
    /// The stock of each shard, in the order of their numbers.
    async fn shards(&self, name: &str) -> Vec<u32> {
        let stock = self.store.stock(&sku(name)).await.unwrap().unwrap();
        stock.shards.iter().map(|shard| shard.available).collect()
    }

    async fn taken(&self, order: &OrderId) -> Vec<(u32, u32)> {
        let reservation = self.store.reservation(order).await.unwrap().unwrap();
        reservation.taken.iter().map(|taken| (taken.shard, taken.quantity)).collect()
    }
}

#[tokio::test]
async fn a_process_reads_once_that_a_sku_is_spread_and_then_reserves_by_one_call() {
    let warehouse = Warehouse::spread(&[("MUG", 80, 8)]).await;
    warehouse.reserve(&order(1), &[("MUG", 1)]).await.unwrap();
    assert_eq!(
        warehouse.faults.calls(),
        ["TransactWriteItems", "BatchGetItem", "BatchGetItem", "TransactWriteItems"]
    );
    warehouse.faults.reset();
    for n in 2..12 {
        warehouse.reserve(&order(n), &[("MUG", 1)]).await.unwrap();
    }
    assert_eq!(warehouse.faults.calls(), ["TransactWriteItems"; 10]);
    let shards = warehouse.shards("MUG").await;
    assert!(shards.iter().filter(|available| **available < 10).count() > 3, "load spreads: {shards:?}");
}

#[tokio::test]
async fn a_reservation_that_meets_another_transaction_takes_from_another_shard() {
    let shard = async |conflicts: u32| {
        let warehouse = Warehouse::spread(&[("MUG", 80, 8)]).await;
        // The store knows from now on that the stock is spread.
        warehouse.store.stock(&sku("MUG")).await.unwrap();
        warehouse.faults.reset();
        warehouse.faults.conflict(conflicts);
        warehouse.reserve(&order(1), &[("MUG", 1)]).await.unwrap();
        let calls = usize::try_from(conflicts + 1).unwrap();
        assert_eq!(warehouse.faults.calls(), vec!["TransactWriteItems"; calls]);
        warehouse.taken(&order(1)).await
    };
    assert_ne!(shard(0).await, shard(1).await);
}

#[tokio::test]
async fn a_plan_that_meets_another_transaction_is_written_again_without_reading_the_stock_again() {
    let warehouse = Warehouse::spread(&[("MUG", 80, 8)]).await;
    warehouse.faults.conflict_after(1, 1);
    warehouse.reserve(&order(1), &[("MUG", 1)]).await.unwrap();
    assert_eq!(
        warehouse.faults.calls(),
        ["TransactWriteItems", "BatchGetItem", "BatchGetItem", "TransactWriteItems", "TransactWriteItems"]
    );
}

#[tokio::test]
async fn shards_that_were_added_are_found_after_a_minute() {
    let warehouse = Warehouse::spread(&[("MUG", 80, 2)]).await;
    warehouse.reserve(&order(1), &[("MUG", 1)]).await.unwrap();
    stocked(&crate::testing::store(warehouse.table.clone()), "MUG", 80, 8).await;
    warehouse.faults.reset();
    let later = Timestamp::now() + jiff::SignedDuration::from_secs(61);
    let items = vec![OrderLine { sku: sku("MUG"), quantity: 1 }];
    reserve(&warehouse.store, &items, &event_context(context(&order(2)), user(), "test", later))
        .await
        .unwrap();
    assert_eq!(warehouse.faults.calls(), ["GetItem", "TransactWriteItems"]);
}

#[tokio::test]
async fn a_line_takes_from_four_shards_at_most_the_fullest_first() {
    let warehouse = Warehouse::spread(&[("MUG", 40, 8)]).await;
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 18)]).await, held(&order(1)));
    let mut quantities: Vec<u32> =
        warehouse.taken(&order(1)).await.into_iter().map(|taken| taken.1).collect();
    quantities.sort_unstable();
    assert_eq!(quantities, [3, 5, 5, 5]);
    warehouse.release(&order(1)).await.unwrap();
    assert_eq!(warehouse.shards("MUG").await, [0, 5, 5, 5, 5, 5, 5, 5, 5]);
}

#[tokio::test]
async fn what_lies_in_more_than_four_shards_is_brought_together_and_sold() {
    let warehouse = Warehouse::spread(&[("MUG", 16, 16), ("CUP", 5, 1)]).await;
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 15), ("CUP", 2)]).await, held(&order(1)));
    assert!(warehouse.taken(&order(1)).await.len() <= 5);
    assert_eq!((warehouse.available("MUG").await, warehouse.available("CUP").await), (1, 3));
    assert_eq!(warehouse.reserve(&order(2), &[("MUG", 2)]).await, refused("InventoryNotAvailable"));
    assert_eq!(warehouse.reserve(&order(3), &[("MUG", 1)]).await, held(&order(3)));
}

#[rstest]
#[case::seen_by_the_client_alone(1)]
#[case::seen_by_the_saga(MAX_ATTEMPTS)]
#[tokio::test]
async fn a_rebalancing_whose_answer_is_lost_loses_no_stock(#[case] lost: u32) {
    let warehouse = Warehouse::spread(&[("MUG", 16, 16)]).await;
    // Reads the shards first, so that the order's first transaction is the one that fails, and the second is
    // the rebalancing.
    warehouse.store.stock(&sku("MUG")).await.unwrap();
    warehouse.faults.lose_answers("TransactWriteItems", lost + 1);
    let mut answer = warehouse.reserve(&order(1), &[("MUG", 16)]).await;
    while answer == refused("Transient") {
        answer = warehouse.reserve(&order(1), &[("MUG", 16)]).await;
    }
    assert_eq!(answer, held(&order(1)));
    assert_eq!(warehouse.available("MUG").await, 0);
    warehouse.release(&order(1)).await.unwrap();
    assert_eq!(warehouse.available("MUG").await, 16);
}

#[tokio::test]
async fn too_little_is_said_only_by_a_look_at_all_shards_at_one_moment() {
    let warehouse = Warehouse::spread(&[("MUG", 8, 8)]).await;
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 9)]).await, refused("InventoryNotAvailable"));
    let calls = warehouse.faults.calls();
    assert_eq!(calls[calls.len() - 2..], ["TransactGetItems", "PutItem"], "{calls:?}");
}

#[tokio::test]
async fn what_comes_back_to_a_sku_that_was_spread_meanwhile_is_sold_again() {
    let warehouse = Warehouse::spread(&[("MUG", 10, 1)]).await;
    warehouse.reserve(&order(1), &[("MUG", 4)]).await.unwrap();
    stocked(&warehouse.store, "MUG", 6, 3).await;
    warehouse.release(&order(1)).await.unwrap();
    assert_eq!(warehouse.shards("MUG").await, [4, 2, 2, 2]);
    assert_eq!(warehouse.reserve(&order(2), &[("MUG", 10)]).await, held(&order(2)));
}
