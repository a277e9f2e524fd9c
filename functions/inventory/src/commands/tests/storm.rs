//! Many concurrent orders: the sum of available, held and sold stock stays the same, and matches the
//! adjustments.

use std::{collections::BTreeMap, time::Instant};

use futures::{StreamExt, stream};
use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::domain::Adjustment;

/// The totals of the table's stock.
#[derive(Debug, Default, PartialEq, Eq)]
struct Books {
    on_hand: i64,
    held: i64,
    sold: i64,
    /// The sum of the administrators' adjustments.
    adjusted: i64,
}

impl Warehouse {
    async fn books(&self) -> BTreeMap<String, Books> {
        let mut books: BTreeMap<String, Books> = BTreeMap::new();
        let mut pages = self.table.client.scan().table_name(&self.table.name).into_paginator().items().send();
        while let Some(item) = pages.next().await {
            let item = item.unwrap();
            let sk = item["sk"].as_s().unwrap().clone();
            if sk == "STOCK" {
                let pk = item["pk"].as_s().unwrap();
                let (name, _) = pk.strip_prefix("STOCK#").unwrap().rsplit_once('#').unwrap();
                let available: i64 = item["available"].as_n().unwrap().parse().unwrap();
                assert!(available >= 0, "{pk} is oversold");
                books.entry(name.to_owned()).or_default().on_hand += available;
            } else if sk.starts_with("ADJUSTMENT#") {
                let adjustment: Adjustment = serde_dynamo::from_item(item).unwrap();
                books.entry(adjustment.sku.to_string()).or_default().adjusted += adjustment.delta;
            } else if sk == "RESERVATION" {
                let reservation: crate::domain::Reservation = serde_dynamo::from_item(item).unwrap();
                for taken in &reservation.taken {
                    let book = books.entry(taken.sku.to_string()).or_default();
                    match reservation.status {
                        Status::Held => book.held += i64::from(taken.quantity),
                        Status::Committed => book.sold += i64::from(taken.quantity),
                        Status::Released | Status::Rejected => {}
                    }
                }
            }
        }
        books
    }

    async fn assert_books_balance(&self) {
        for (name, book) in self.books().await {
            assert_eq!(book.on_hand + book.held + book.sold, book.adjusted, "{name}: {book:?}");
        }
    }
}

#[rstest]
#[case::of_one_shard(1)]
#[case::of_eight_shards(8)]
#[tokio::test]
async fn two_hundred_orders_at_once_for_the_last_fifty_sell_fifty(#[case] shards: u32) {
    let warehouse = Warehouse::spread(&[("MUG", 50, shards)]).await;
    // Reads the shards, so that orders spread over them from the first one on.
    assert_eq!(warehouse.available("MUG").await, 50);
    let orders: Vec<OrderId> = (0..200).map(order).collect();
    let answers = join_all(orders.iter().map(|order| warehouse.reserve(order, &[("MUG", 1)]))).await;

    let succeeded = answers.iter().filter(|answer| answer.is_ok()).count();
    let not_available = answers.iter().filter(|answer| **answer == refused("InventoryNotAvailable")).count();
    assert_eq!((succeeded, not_available), (50, 150));
    let books = warehouse.books().await;
    assert_eq!(books["MUG"], Books { on_hand: 0, held: 50, sold: 0, adjusted: 50 });
}

/// The scenario of one order; all orders run concurrently.
#[derive(Debug, Clone)]
struct Fate {
    lines: Vec<(&'static str, u32)>,
    then: Then,
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Hold,
    Release,
    Commit,
    /// The undo runs concurrently with its step.
    ReleaseAtOnce,
}

const SKUS: [(&str, u32, u32); 3] = [("CUP", 12, 1), ("MUG", 20, 4), ("POT", 30, 16)];

fn any_fate() -> impl Strategy<Value = Fate> {
    let lines = prop::sample::subsequence(SKUS.map(|(name, ..)| name).to_vec(), 1..=3)
        .prop_flat_map(|names| {
            let count = names.len();
            (Just(names), prop::collection::vec(1..7_u32, count))
        })
        .prop_map(|(names, quantities)| names.into_iter().zip(quantities).collect());
    let then = prop::sample::select(vec![Then::Hold, Then::Release, Then::Commit, Then::ReleaseAtOnce]);
    (lines, then).prop_map(|(lines, then)| Fate { lines, then })
}

#[test]
fn whatever_becomes_of_many_orders_no_stock_appears_or_vanishes() {
    // Four storms of 20 orders. Each has its own table, and some hundred calls.
    let config = ProptestConfig { cases: 4, max_shrink_iters: 0, ..ProptestConfig::default() };
    let fates = prop::collection::vec((any_fate(), 0..4_u32), 20);
    TestRunner::new(config)
        .run(&fates, |fates| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(storm(fates));
            Ok(())
        })
        .unwrap();
}

async fn storm(fates: Vec<(Fate, u32)>) {
    let warehouse = Warehouse::spread(&SKUS).await;
    stream::iter(fates.iter().enumerate())
        .for_each_concurrent(10, |(n, (fate, trouble))| live(&warehouse, n, fate, *trouble))
        .await;
    warehouse.assert_books_balance().await;
    for (n, (fate, _)) in fates.iter().enumerate() {
        let reservation = warehouse.store.reservation(&order(n)).await.unwrap().unwrap();
        let expected = match fate.then {
            Then::Hold => [Status::Held, Status::Rejected],
            Then::Commit => [Status::Committed, Status::Rejected],
            Then::Release | Then::ReleaseAtOnce => [Status::Released, Status::Rejected],
        };
        assert!(expected.contains(&reservation.status), "{fate:?} ended {:?}", reservation.status);
    }
}

/// Runs the saga of one order, each command repeated until its answer is final.
async fn live(warehouse: &Warehouse, n: usize, fate: &Fate, trouble: u32) {
    let order = order(n);
    match trouble {
        1 => warehouse.faults.lose_answers("TransactWriteItems", 2),
        2 => warehouse.faults.conflict(2),
        3 => warehouse.faults.throttle(2),
        _ => {}
    }
    let reserving = async {
        loop {
            match warehouse.reserve(&order, &fate.lines).await {
                Err(name) if name == "Transient" => {}
                answer => return answer,
            }
        }
    };
    let releasing = async { while warehouse.release(&order).await.is_err() {} };
    if matches!(fate.then, Then::ReleaseAtOnce) {
        // Whichever came first, the undo decides.
        let (_, ()) = futures::future::join(reserving, releasing).await;
        return;
    }
    let reserved = reserving.await.is_ok();
    match fate.then {
        Then::Release => releasing.await,
        Then::Commit if reserved => {
            let event_context = || event_context(context(&order), user(), "test", Timestamp::UNIX_EPOCH);
            while end_reservation(&warehouse.store, Command::Commit, &event_context()).await.is_err() {}
        }
        _ => {}
    }
}

#[tokio::test]
async fn throttling_is_waited_out_with_jitter() {
    let warehouse = Warehouse::with(&[("MUG", 10)]).await;
    warehouse.faults.throttle(3);
    let started = Instant::now();
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 4)]).await, held(&order(1)));
    assert_eq!(warehouse.faults.calls(), ["TransactWriteItems"; 4]);
    // 25, 50 and 100 ms are the ceilings of three waits.
    assert!(started.elapsed() < std::time::Duration::from_secs(2));
    assert_eq!(warehouse.available("MUG").await, 6);
}

#[tokio::test]
async fn the_trace_of_settings_adjustments_and_reservations_is_the_stock() {
    let warehouse = Warehouse::spread(&[("MUG", 40, 4), ("CUP", 9, 1)]).await;
    warehouse.reserve(&order(1), &[("MUG", 18), ("CUP", 2)]).await.unwrap();
    warehouse.reserve(&order(2), &[("MUG", 3)]).await.unwrap();
    warehouse.reserve(&order(3), &[("CUP", 3)]).await.unwrap();
    warehouse.release(&order(2)).await.unwrap();
    warehouse.commit(&order(3)).await;
    stocked(&warehouse.store, "MUG", 30, 8).await;
    let books = warehouse.books().await;
    assert_eq!(books["MUG"], Books { on_hand: 30, held: 18, sold: 0, adjusted: 48 });
    assert_eq!(books["CUP"], Books { on_hand: 4, held: 2, sold: 3, adjusted: 9 });
}
