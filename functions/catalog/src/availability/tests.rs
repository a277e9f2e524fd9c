use contracts::Availability;
use lambda_kit::{
    aws::MAX_ATTEMPTS,
    testing::{self, Faults},
};

use super::*;

async fn with_mugs() -> (Availabilities, Store, Faults) {
    let (table, faults) = testing::table(&[]).await;
    let store = Store::new(table);
    store.note_stock(&mug(), 1, Availability::InStock).await.unwrap();
    faults.reset();
    (Availabilities::new(store.clone()), store, faults)
}

fn mug() -> Sku {
    Sku::try_from("MUG").unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[tokio::test]
async fn what_is_fresh_is_not_read_again_and_what_is_not_is() {
    let (known, store, faults) = with_mugs().await;
    assert_eq!(known.of_one(&mug(), at(0)).await.as_str(), "in_stock");
    store.note_stock(&mug(), 2, Availability::OutOfStock).await.unwrap();
    faults.reset();
    assert_eq!(known.of_one(&mug(), at(5)).await.as_str(), "in_stock");
    assert!(faults.calls().is_empty());
    let after = known.of_one(&mug(), at(6)).await;
    assert_eq!((after.as_str(), after.version), ("out_of_stock", 2));
}

#[tokio::test]
async fn the_last_known_stands_in_for_a_minute_and_then_it_is_unknown() {
    let (known, _, faults) = with_mugs().await;
    known.of_one(&mug(), at(0)).await;
    for (second, expected) in [(60, "in_stock"), (61, "unknown")] {
        faults.reset();
        faults.refuse("BatchGetItem", MAX_ATTEMPTS);
        assert_eq!(known.of_one(&mug(), at(second)).await.as_str(), expected);
        // The read goes on behind the answer.
        while faults.calls().len() < MAX_ATTEMPTS as usize {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    assert_eq!(known.of_one(&mug(), at(62)).await.as_str(), "in_stock", "when the table is back");
}

#[tokio::test]
async fn what_is_slow_to_come_is_told_the_next_time() {
    let (known, store, faults) = with_mugs().await;
    known.of_one(&mug(), at(0)).await;
    store.note_stock(&mug(), 2, Availability::OutOfStock).await.unwrap();
    let hold = faults.hold("BatchGetItem");
    assert_eq!(known.of_one(&mug(), at(6)).await.as_str(), "in_stock", "nobody waits for the table");
    drop(hold);
    let read = async {
        while known.of_one(&mug(), at(6)).await.version < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), read).await.expect("the read went on");
}

#[tokio::test]
async fn a_whole_page_is_one_read_and_what_was_never_told_is_unknown() {
    let (known, _, faults) = with_mugs().await;
    let cup = Sku::try_from("CUP").unwrap();
    let stocks = known.of([mug(), cup.clone()], at(0)).await;
    assert_eq!([stocks[&mug()].as_str(), stocks[&cup].as_str()], ["in_stock", "unknown"]);
    assert_eq!(faults.calls(), ["BatchGetItem"]);
}
