use contracts::{Availability, Position, Switch};
use lambda_kit::{
    aws::MAX_ATTEMPTS,
    testing::{self, Faults},
};
use wiremock::{MockServer, ResponseTemplate};

use super::*;
use crate::testing::{answering, at, inventory, well};

async fn with_mugs() -> (AvailabilityReader, Store, Faults, MockServer) {
    let (table, faults) = testing::table(&[]).await;
    let store = Store::new(table);
    store.record_stock(&mug(), 1, Availability::InStock, at(0)).await.unwrap().unwrap();
    faults.reset();
    let (inventory, server) = inventory(well()).await;
    (AvailabilityReader::new(store.clone(), inventory, limited_stock(Position::On)), store, faults, server)
}

fn limited_stock(position: Position) -> FeatureSwitch {
    FeatureSwitch::fixed(Switch::LimitedStock, position)
}

#[tokio::test]
async fn with_limited_stock_off_last_known_stock_is_unknown_and_current_stock_is_shown() {
    let (known, _, _faults, server) = with_mugs().await;
    let known = AvailabilityReader { limited_stock: limited_stock(Position::Off), ..known };
    assert_eq!(known.of_one(&mug(), at(100)).await.as_str(), "in_stock");
    answering(&server, ResponseTemplate::new(500)).await;
    assert_eq!(known.of_one(&mug(), at(110)).await, Shown::default());
}

fn mug() -> Sku {
    Sku::try_from("MUG").unwrap()
}

#[tokio::test]
async fn only_an_expired_value_is_read_again() {
    let (known, store, faults, _server) = with_mugs().await;
    assert_eq!(known.of_one(&mug(), at(0)).await.as_str(), "in_stock");
    store.record_stock(&mug(), 2, Availability::OutOfStock, at(1)).await.unwrap().unwrap();
    faults.reset();
    assert_eq!(known.of_one(&mug(), at(5)).await.as_str(), "in_stock");
    assert!(faults.calls().is_empty());
    let after = known.of_one(&mug(), at(6)).await;
    assert_eq!((after.as_str(), after.version), ("out_of_stock", 2));
}

#[tokio::test]
async fn the_last_known_stands_in_for_a_minute_then_it_is_limited_and_after_half_an_hour_unknown() {
    let (known, _, faults, _server) = with_mugs().await;
    known.of_one(&mug(), at(0)).await;
    for (second, expected, as_of) in
        [(60, "in_stock", None), (61, "low_stock", Some(at(0))), (1801, "unknown", None)]
    {
        faults.reset();
        faults.refuse("BatchGetItem", MAX_ATTEMPTS);
        let shown = known.of_one(&mug(), at(second)).await;
        assert_eq!((shown.as_str(), shown.as_of), (expected, as_of));
        // The read continues in the background, after the answer.
        while faults.calls().len() < MAX_ATTEMPTS as usize {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    assert_eq!(known.of_one(&mug(), at(1802)).await.as_str(), "in_stock", "when the table is back");
}

#[tokio::test]
async fn while_inventory_is_down_its_stock_is_limited_as_of_its_last_answer() {
    let (known, _, _faults, server) = with_mugs().await;
    assert_eq!(known.of_one(&mug(), at(100)).await.as_of, None);
    answering(&server, ResponseTemplate::new(500)).await;
    let shown = known.of_one(&mug(), at(110)).await;
    assert_eq!((shown.as_str(), shown.as_of), ("low_stock", Some(at(100))));
    answering(&server, well()).await;
    let shown = known.of_one(&mug(), at(120)).await;
    assert_eq!((shown.as_str(), shown.as_of), ("in_stock", None));
}

#[tokio::test]
async fn a_slow_read_is_shown_the_next_time() {
    let (known, store, faults, _server) = with_mugs().await;
    known.of_one(&mug(), at(0)).await;
    store.record_stock(&mug(), 2, Availability::OutOfStock, at(1)).await.unwrap().unwrap();
    let hold = faults.hold("BatchGetItem");
    assert_eq!(known.of_one(&mug(), at(6)).await.as_str(), "in_stock", "no request waits for the table");
    drop(hold);
    let read = async {
        while known.of_one(&mug(), at(6)).await.version < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), read).await.expect("the read went on");
}

#[tokio::test]
async fn a_whole_page_is_one_read_and_an_unpublished_stock_is_unknown() {
    let (known, _, faults, _server) = with_mugs().await;
    let cup = Sku::try_from("CUP").unwrap();
    let stocks = known.of([mug(), cup.clone()], at(0)).await;
    assert_eq!([stocks[&mug()].as_str(), stocks[&cup].as_str()], ["in_stock", "unknown"]);
    assert_eq!(faults.calls(), ["BatchGetItem"]);
}
