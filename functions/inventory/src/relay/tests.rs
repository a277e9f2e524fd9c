//! The relay with a real table: the availabilities that it publishes for the stream's records.

use contracts::{Availability, CorrelationId, OrderLine, events::InventoryStockChanged};
use lambda_kit::{
    aws::MAX_ATTEMPTS,
    dynamodb::{OUTBOX, Table, key},
    testing::Faults,
};
use serde_json::json;

use super::*;
use crate::{
    domain::{Command, EventContext},
    handler::{end_reservation, reserve},
    testing::{order, sku, stocked, table, user},
};

struct Warehouse {
    store: Store,
    table: Table,
    faults: Faults,
}

impl Warehouse {
    async fn with(available: u32, shards: u32) -> Self {
        let (table, faults) = table().await;
        let store = crate::testing::store(table.clone());
        stocked(&store, "MUG", available, shards).await;
        Self { store, table, faults }
    }

    async fn reserve(&self, n: usize, quantity: u32) {
        reserve(&self.store, &[OrderLine { sku: sku("MUG"), quantity }], &event_context(n)).await.unwrap();
    }

    /// Passes a change of one shard to the relay. Returns the records to retry.
    async fn relay(&self, before: u32, after: u32) -> BTreeSet<String> {
        let image = |available: u32| {
            json!({
                "pk": {"S": "STOCK#MUG#0"}, "sk": {"S": "STOCK"},
                "available": {"N": available.to_string()}, "low_stock": {"N": "5"},
            })
        };
        let record = json!({"eventName": "MODIFY", "dynamodb": {
            "SequenceNumber": "7", "NewImage": image(after), "OldImage": image(before),
        }});
        let batch = json!({"Records": [record]}).to_string();
        publish_availability_changes(
            &self.store,
            &serde_json::from_str(&batch).unwrap(),
            Timestamp::UNIX_EPOCH,
        )
        .await
    }

    /// The last published availability, and its version.
    async fn published(&self) -> Option<(Availability, u64)> {
        let key = key("SKU#MUG", "SUMMARY");
        let found = self.table.client.get_item().table_name(&self.table.name).set_key(Some(key)).send().await;
        let item = found.unwrap().item?;
        let events = item[OUTBOX].as_l().unwrap();
        assert_eq!(events.len(), 1);
        let event: contracts::Envelope = serde_json::from_str(events[0].as_s().unwrap()).unwrap();
        let changed: InventoryStockChanged = event.decode().unwrap();
        assert_eq!((event.subject.as_str(), &changed.sku), ("MUG", &sku("MUG")));
        Some((changed.availability, event.sequence))
    }
}

fn event_context(n: usize) -> EventContext {
    EventContext {
        order_id: order(n),
        user_id: Some(user()),
        correlation_id: CorrelationId::try_from("cor").unwrap(),
        causation_id: "test".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn an_availability_is_published_when_it_changes_and_not_on_every_reservation() {
    let warehouse = Warehouse::with(8, 1).await;
    assert!(warehouse.relay(0, 8).await.is_empty());
    assert_eq!(warehouse.published().await, Some((Availability::InStock, 1)));

    warehouse.reserve(1, 2).await;
    warehouse.faults.reset();
    warehouse.relay(8, 6).await;
    assert!(warehouse.faults.calls().is_empty(), "neither read nor written");

    warehouse.reserve(2, 1).await;
    warehouse.relay(6, 5).await;
    assert_eq!(warehouse.published().await, Some((Availability::LowStock, 2)));
    warehouse.reserve(3, 1).await;
    warehouse.relay(5, 4).await;
    assert_eq!(warehouse.published().await, Some((Availability::LowStock, 2)));
    end_reservation(&warehouse.store, Command::Release, &event_context(1)).await.unwrap();
    warehouse.relay(4, 6).await;
    assert_eq!(warehouse.published().await, Some((Availability::InStock, 3)));
}

#[tokio::test]
async fn of_a_spread_sku_all_shards_are_summed_up() {
    let warehouse = Warehouse::with(12, 4).await;
    warehouse.relay(0, 3).await;
    assert_eq!(warehouse.published().await, Some((Availability::InStock, 1)));
    warehouse.reserve(1, 7).await;
    warehouse.relay(3, 0).await;
    assert_eq!(warehouse.published().await, Some((Availability::LowStock, 2)));
}

#[tokio::test]
async fn records_that_come_late_or_twice_publish_the_current_availability_once() {
    let warehouse = Warehouse::with(8, 1).await;
    warehouse.reserve(1, 8).await;
    for (before, after) in [(8, 0), (0, 8), (8, 0)] {
        assert!(warehouse.relay(before, after).await.is_empty());
        assert_eq!(warehouse.published().await, Some((Availability::OutOfStock, 1)));
    }
}

#[tokio::test]
async fn two_concurrent_relays_publish_an_availability_once() {
    let warehouse = Warehouse::with(8, 1).await;
    let (one, other) = tokio::join!(warehouse.relay(0, 8), warehouse.relay(0, 8));
    assert!(one.is_empty() && other.is_empty());
    assert_eq!(warehouse.published().await, Some((Availability::InStock, 1)));
}

#[tokio::test]
async fn an_availability_whose_write_loses_its_answer_is_published_once_by_the_retry() {
    let warehouse = Warehouse::with(8, 1).await;
    warehouse.faults.lose_answers("PutItem", MAX_ATTEMPTS);
    assert_eq!(warehouse.relay(0, 8).await, BTreeSet::from(["7".to_owned()]));
    assert!(warehouse.relay(0, 8).await.is_empty());
    assert_eq!(warehouse.published().await, Some((Availability::InStock, 1)));
}
