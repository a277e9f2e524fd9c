//! The saga's two commands with a real table: do, undo, both twice, in the wrong order, concurrently, and
//! with lost answers.

mod faults;

use contracts::{CorrelationId, IdempotencyKey, OrderId, OrderLine, ShippingAddress, Sku};
use futures::future::{join, join_all};
use lambda_kit::{
    aws::MAX_ATTEMPTS,
    command::execute,
    dynamodb::{Conflict, TableError},
    testing::{self, Faults},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::carrier::HouseCarrier;

struct Dispatch {
    store: Store,
    table: lambda_kit::dynamodb::Table,
    faults: Faults,
}

impl Dispatch {
    async fn open() -> Self {
        let (table, faults) = testing::table(&[]).await;
        Self { store: Store::new(table.clone()), table, faults }
    }

    async fn schedule_to(&self, country: &str, now: &str) -> Result<Value, String> {
        let shipping_address = ShippingAddress {
            name: "Ada Lovelace".to_owned(),
            line1: "1 Secret Street".to_owned(),
            line2: None,
            city: "Town".to_owned(),
            postal_code: "12345".to_owned(),
            country: country.to_owned(),
        };
        let items = vec![OrderLine { sku: Sku::try_from("MUG").unwrap(), quantity: 1 }];
        let command = FulfillmentCommand::ScheduleShipment {
            context: context(),
            user_id: user(),
            items,
            shipping_address,
        };
        self.run(command, now).await
    }

    async fn schedule(&self) -> Result<Value, String> {
        self.schedule_to("DE", TODAY).await
    }

    async fn cancel(&self) -> Result<Value, String> {
        self.run(FulfillmentCommand::CancelShipment { context: context(), user_id: user() }, TODAY).await
    }

    /// The function's answer as JSON, or the error's name.
    async fn run(&self, command: FulfillmentCommand, now: &str) -> Result<Value, String> {
        let now = now.parse().unwrap();
        execute(command, |command| handle(&self.store, &HouseCarrier, command, now))
            .await
            .map(|answer| serde_json::to_value(answer).unwrap())
            .map_err(|diagnostic| diagnostic.error_type)
    }

    /// The events of the last write: type and sequence.
    async fn events(&self) -> Vec<(String, u64)> {
        let all = self.table.client.scan().table_name(&self.table.name).send().await.unwrap();
        assert_eq!(all.count(), 1, "one order, one item");
        all.items()[0]["outbox"]
            .as_l()
            .unwrap()
            .iter()
            .map(|event| serde_json::from_str::<contracts::Envelope>(event.as_s().unwrap()).unwrap())
            .map(|event| (event.event_type, event.sequence))
            .collect()
    }
}

const TODAY: &str = "2026-11-20T12:00:00Z";

fn user() -> UserId {
    UserId::try_from("usr_00000000000000000000000000000001").unwrap()
}

fn context() -> CommandContext {
    let order_id = OrderId::derive(&user(), &IdempotencyKey::try_from("order-1").unwrap());
    CommandContext::new(order_id, CorrelationId::try_from("cor").unwrap())
}

fn undone(outcome: &str) -> Result<Value, String> {
    Ok(json!({"outcome": outcome}))
}

fn refused(name: &str) -> Result<Value, String> {
    Err(name.to_owned())
}

#[tokio::test]
async fn repeated_schedules_book_one_shipment_on_any_day() {
    let dispatch = Dispatch::open().await;
    let first = dispatch.schedule().await.unwrap();
    assert_eq!(first["estimated_delivery"], "2026-11-25");
    let booking: Booking = serde_json::from_value(first.clone()).unwrap();
    assert!(booking.tracking_number.starts_with("OP"));
    assert_eq!(dispatch.schedule_to("DE", "2026-11-21T00:30:00Z").await.unwrap(), first);
    assert_eq!(dispatch.events().await, [("shipment.scheduled".to_owned(), 1)]);
}

#[tokio::test]
async fn a_first_schedule_is_one_call() {
    let dispatch = Dispatch::open().await;
    dispatch.faults.reset();
    dispatch.schedule().await.unwrap();
    assert_eq!(dispatch.faults.calls(), ["PutItem"]);
}

#[tokio::test]
async fn repeated_cancels_cancel_the_shipment_once() {
    let dispatch = Dispatch::open().await;
    dispatch.schedule().await.unwrap();
    for _ in 0..3 {
        assert_eq!(dispatch.cancel().await, undone("cancelled"));
    }
    assert_eq!(dispatch.events().await, [("shipment.cancelled".to_owned(), 2)]);
    assert_eq!(dispatch.schedule().await, refused("OrderCancelRequested"));
}

#[tokio::test]
async fn a_schedule_that_comes_after_its_undo_is_refused() {
    let dispatch = Dispatch::open().await;
    for _ in 0..2 {
        assert_eq!(dispatch.cancel().await, undone("nothing_scheduled"));
    }
    assert_eq!(dispatch.events().await, []);
    assert_eq!(dispatch.schedule().await, refused("OrderCancelRequested"));
    assert_eq!(dispatch.cancel().await, undone("nothing_scheduled"));
}

#[tokio::test]
async fn a_country_that_no_carrier_serves_is_rejected_and_stays_so() {
    let dispatch = Dispatch::open().await;
    assert_eq!(dispatch.schedule_to("AQ", TODAY).await, refused("ShipmentRejected"));
    assert_eq!(dispatch.schedule_to("AQ", TODAY).await, refused("ShipmentRejected"));
    assert_eq!(
        dispatch.schedule_to("DE", TODAY).await,
        refused("ShipmentRejected"),
        "the first answer counts"
    );
    assert_eq!(dispatch.cancel().await, undone("nothing_scheduled"));
    assert_eq!(dispatch.events().await, []);
}

#[rstest]
#[case::seen_by_the_client_alone(1, true)]
#[case::seen_by_the_saga(MAX_ATTEMPTS, false)]
#[tokio::test]
async fn a_schedule_whose_answer_is_lost_books_once(#[case] lost: u32, #[case] hidden: bool) {
    let dispatch = Dispatch::open().await;
    dispatch.faults.lose_answers("PutItem", lost);
    let first = dispatch.schedule().await;
    assert_eq!(first.is_ok(), hidden, "{first:?}");
    if !hidden {
        assert_eq!(first, refused("Transient"));
    }
    assert!(dispatch.schedule().await.is_ok());
    assert_eq!(dispatch.events().await, [("shipment.scheduled".to_owned(), 1)]);
}

#[tokio::test]
async fn a_cancel_whose_answer_is_lost_takes_effect_once() {
    let dispatch = Dispatch::open().await;
    dispatch.schedule().await.unwrap();
    // The first fault hits the write that expects no shipment, the next three all tries of the cancel's write.
    dispatch.faults.lose_answers("PutItem", 1 + MAX_ATTEMPTS);
    assert_eq!(dispatch.cancel().await, refused("Transient"));
    dispatch.faults.reset();
    assert_eq!(dispatch.cancel().await, undone("cancelled"));
    assert_eq!(dispatch.events().await, [("shipment.cancelled".to_owned(), 2)]);
}

#[tokio::test]
async fn do_and_undo_at_once_end_with_nothing_scheduled() {
    let dispatch = Dispatch::open().await;
    let (_, undo) = join(dispatch.schedule(), dispatch.cancel()).await;
    assert!(undo.is_ok(), "{undo:?}");
    assert_eq!(dispatch.schedule().await, refused("OrderCancelRequested"));
}

#[tokio::test]
async fn ten_at_once_book_one_shipment() {
    let dispatch = Dispatch::open().await;
    let answers = join_all((0..10).map(|_| dispatch.schedule())).await;
    assert!(answers.iter().all(|answer| answer.is_ok() && *answer == answers[0]), "{answers:?}");
    assert_eq!(dispatch.events().await, [("shipment.scheduled".to_owned(), 1)]);
}

#[tokio::test]
async fn a_table_that_cannot_be_reached_is_transient() {
    let dispatch = Dispatch::open().await;
    dispatch.faults.refuse("PutItem", MAX_ATTEMPTS);
    assert_eq!(dispatch.schedule().await, refused("Transient"));
}

#[test]
fn every_error_has_its_name() {
    let name = |error: ShipmentError| error.name();
    assert_eq!(name(Rejected::NotServed("no".to_owned()).into()), "ShipmentRejected");
    assert_eq!(name(Rejected::AlreadyCancelled.into()), "OrderCancelRequested");
    assert_eq!(name(ShipmentError::Incomplete), "Transient");
    assert_eq!(name(Conflict.into()), "Transient");
    assert_eq!(name(TableError::call("write", "lost").into()), "Transient");
}
