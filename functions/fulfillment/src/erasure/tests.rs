use std::collections::BTreeSet;

use contracts::{
    CorrelationId, NewEvent, OrderLine, ShippingAddress, Sku,
    saga::{CommandContext, FulfillmentCommand},
};
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{Item, Table},
    testing::{Faults, table},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{carrier::HouseCarrier, commands::handle};

const STREET: &str = "1 Ada Street";

fn anna() -> UserId {
    UserId::try_from("usr_0123456789abcdef0123456789abcdef").unwrap()
}

fn order(n: usize) -> OrderId {
    OrderId::try_from(format!("ord_{n:032x}")).unwrap()
}

fn context(order_id: OrderId) -> CommandContext {
    CommandContext::new(order_id, CorrelationId::try_from("cor_test").unwrap())
}

fn schedule(n: usize, user_id: UserId) -> FulfillmentCommand {
    FulfillmentCommand::ScheduleShipment {
        context: context(order(n)),
        user_id,
        items: vec![OrderLine { sku: Sku::try_from("MUG").unwrap(), quantity: 1 }],
        shipping_address: ShippingAddress {
            name: "Ada".to_owned(),
            line1: STREET.to_owned(),
            line2: None,
            city: "Town".to_owned(),
            postal_code: "12345".to_owned(),
            country: "DE".to_owned(),
        },
    }
}

fn deleted() -> Envelope {
    let (user_id, correlation_id) = (anna(), CorrelationId::generate());
    let new = NewEvent {
        source: "users",
        subject: user_id.as_str(),
        sequence: 2,
        occurred_at: Timestamp::UNIX_EPOCH,
        correlation_id: &correlation_id,
        causation_id: "request",
        user_id: Some(&user_id),
    };
    Envelope::new(new, &UserDeleted { user_id: anna() }).unwrap()
}

struct TestStore {
    store: Store,
    table: Table,
    faults: Faults,
}

async fn fixture() -> TestStore {
    let (table, faults) = table(&[]).await;
    TestStore { store: Store::new(table.clone()), table, faults }
}

impl TestStore {
    async fn take(&self, command: FulfillmentCommand) {
        handle(&self.store, &HouseCarrier, command, Timestamp::UNIX_EPOCH).await.unwrap();
    }

    async fn book(&self, orders: std::ops::Range<usize>) {
        for n in orders {
            self.take(schedule(n, anna())).await;
        }
    }

    async fn shipments(&self) -> Vec<Item> {
        let items =
            self.table.client.scan().table_name(&self.table.name).send().await.unwrap().items.unwrap();
        items.into_iter().filter(|item| item["sk"].as_s().unwrap() == "SHIPMENT").collect()
    }

    /// The stream's records for the shipments in their current state.
    async fn records(&self, old: Option<Value>) -> StreamEvent {
        let image = |item: &Item| {
            let text = |name: &str| json!({"S": item[name].as_s().unwrap()});
            let mut image = json!({"user_id": text("user_id"), "order_id": text("order_id")});
            if item.contains_key("shipping_address") {
                image["shipping_address"] = json!({"M": {}});
            }
            image
        };
        let record = |(n, item): (usize, &Item)| {
            let mut change = json!({"SequenceNumber": n.to_string(), "NewImage": image(item)});
            if let Some(old) = &old {
                change["OldImage"] = old.clone();
            }
            json!({"eventName": "MODIFY", "dynamodb": change})
        };
        let records: Vec<Value> = self.shipments().await.iter().enumerate().map(record).collect();
        serde_json::from_value(json!({"Records": records})).unwrap()
    }

    async fn stream(&self) -> BTreeSet<String> {
        index_addresses(&self.store, &self.records(None).await).await.failed
    }

    /// How many items contain the street, and how many items are not shipments.
    async fn left(&self) -> (usize, usize) {
        let items =
            self.table.client.scan().table_name(&self.table.name).send().await.unwrap().items.unwrap();
        let street = items.iter().filter(|item| format!("{item:?}").contains(STREET)).count();
        (street, items.len() - self.shipments().await.len())
    }
}

#[tokio::test]
async fn a_deleted_customers_addresses_go_and_those_of_others_stay() {
    let fixture = fixture().await;
    fixture.book(0..3).await;
    fixture.take(schedule(9, UserId::generate())).await;
    assert!(fixture.stream().await.is_empty());
    assert_eq!(fixture.left().await, (4, 4));
    for _ in 0..2 {
        handle_event(&fixture.store, deleted()).await.unwrap();
        // The other customer's shipment, its index entry, and the deletion mark.
        assert_eq!(fixture.left().await, (1, 2));
    }
}

#[tokio::test]
async fn a_shipment_that_is_booked_after_the_deletion_goes_out_and_keeps_no_address() {
    let fixture = fixture().await;
    handle_event(&fixture.store, deleted()).await.unwrap();
    fixture.book(0..1).await;
    for _ in 0..2 {
        assert!(fixture.stream().await.is_empty());
        assert_eq!(fixture.left().await, (0, 1));
    }
    // A repeat by the saga gets the same answer, and restores no address.
    fixture.book(0..1).await;
    assert_eq!(fixture.left().await, (0, 1));
}

#[rstest]
#[case("PutItem")]
#[case("Query")]
#[case("UpdateItem")]
#[case("DeleteItem")]
#[tokio::test]
async fn a_deletion_that_is_interrupted_anywhere_goes_on(
    #[case] operation: &str,
    #[values(0, 2)] after: u32,
) {
    let fixture = fixture().await;
    fixture.book(0..3).await;
    fixture.stream().await;
    fixture.faults.reset();
    fixture.faults.lose_answers_after(after, operation, lambda_kit::aws::MAX_ATTEMPTS);
    let first = handle_event(&fixture.store, deleted()).await;
    let once = matches!(operation, "PutItem" | "Query") && after > 0;
    assert_eq!(first.is_ok(), once, "the fault was met");
    fixture.faults.reset();
    handle_event(&fixture.store, deleted()).await.unwrap();
    assert_eq!(fixture.left().await, (0, 1));
}

#[tokio::test]
async fn a_record_that_could_not_be_indexed_is_retried() {
    let fixture = fixture().await;
    fixture.book(0..2).await;
    for operation in ["PutItem", "GetItem"] {
        fixture.faults.reset();
        fixture.faults.refuse(operation, lambda_kit::aws::MAX_ATTEMPTS);
        assert_eq!(fixture.stream().await, BTreeSet::from(["0".to_owned()]));
    }
    fixture.faults.reset();
    assert!(fixture.stream().await.is_empty());
}

#[tokio::test]
async fn the_index_entry_of_a_shipment_is_deleted_with_its_address() {
    let fixture = fixture().await;
    fixture.book(0..1).await;
    fixture.stream().await;
    let old = json!({"shipping_address": {"M": {}}});
    fixture.take(FulfillmentCommand::CancelShipment { context: context(order(0)), user_id: anna() }).await;
    let records = fixture.records(Some(old)).await;
    assert_eq!(index_addresses(&fixture.store, &records).await, Handled::default());
    assert_eq!(fixture.left().await, (0, 0));
}

#[tokio::test]
async fn a_cancel_that_meets_the_erasure_does_not_bring_the_address_back() {
    let fixture = fixture().await;
    fixture.book(0..1).await;
    fixture.stream().await;
    handle_event(&fixture.store, deleted()).await.unwrap();
    fixture.take(FulfillmentCommand::CancelShipment { context: context(order(0)), user_id: anna() }).await;
    assert_eq!(fixture.left().await, (0, 1));
    let version = fixture.shipments().await[0]["version"].as_n().unwrap().clone();
    assert_eq!(version, "3", "scheduled, erased, cancelled");
}

#[tokio::test]
async fn an_event_of_another_type_is_retried() {
    let fixture = fixture().await;
    let mut other = deleted();
    other.event_type = "user.updated".to_owned();
    assert!(handle_event(&fixture.store, other).await.is_err());
}
