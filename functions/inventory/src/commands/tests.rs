//! The saga's two commands with a real table: do, undo, both twice, in the wrong order, concurrently, and
//! with lost answers.

use contracts::CorrelationId;
use futures::future::join_all;
use lambda_kit::{
    aws::MAX_ATTEMPTS,
    command::execute,
    dynamodb::{Item, TableError},
    testing::Faults,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
mod counted;
mod lost;
mod shards;
mod storm;

use crate::testing::{self, order, sku, stocked, user};

struct Warehouse {
    store: Store,
    table: lambda_kit::dynamodb::Table,
    faults: Faults,
}

impl Warehouse {
    /// With this much stock of each SKU.
    async fn with(stock: &[(&str, u32)]) -> Self {
        let stock: Vec<_> = stock.iter().map(|(name, available)| (*name, *available, 1)).collect();
        Self::spread(&stock).await
    }

    /// With this much stock of each SKU in this many shards, and a store that has not read any of it yet.
    async fn spread(stock: &[(&str, u32, u32)]) -> Self {
        let (table, faults) = testing::table().await;
        let setting = crate::testing::store(table.clone());
        for (name, available, shards) in stock {
            stocked(&setting, name, *available, *shards).await;
        }
        faults.reset();
        Self { store: crate::testing::store(table.clone()), table, faults }
    }

    async fn reserve(&self, order: &OrderId, lines: &[(&str, u32)]) -> Result<Value, String> {
        let items =
            lines.iter().map(|(name, quantity)| OrderLine { sku: sku(name), quantity: *quantity }).collect();
        self.run(InventoryCommand::ReserveInventory { context: context(order), user_id: user(), items }).await
    }

    async fn release(&self, order: &OrderId) -> Result<Value, String> {
        self.run(InventoryCommand::ReleaseInventory { context: context(order), user_id: user() }).await
    }

    /// The function's answer as JSON, or the error's name.
    async fn run(&self, command: InventoryCommand) -> Result<Value, String> {
        self.run_at(0, command).await
    }

    async fn run_at(&self, ms: i64, command: InventoryCommand) -> Result<Value, String> {
        execute(command, |command| handle(&self.store, command, Timestamp::from_millisecond(ms).unwrap()))
            .await
            .map(|answer| serde_json::to_value(answer).unwrap())
            .map_err(|diagnostic| diagnostic.error_type)
    }

    async fn commit(&self, order: &OrderId) {
        let context = context(order);
        let event_context = event_context(context, user(), "test", Timestamp::UNIX_EPOCH);
        end_reservation(&self.store, Command::Commit, &event_context).await.unwrap();
    }

    async fn available(&self, name: &str) -> u64 {
        self.store.stock(&sku(name)).await.unwrap().unwrap().available()
    }

    async fn item(&self, order: &OrderId) -> Option<Item> {
        let found = self.table.client.query().table_name(&self.table.name);
        let found = found
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", lambda_kit::dynamodb::string(format!("RESERVATION#{order}")));
        found.send().await.unwrap().items().first().cloned()
    }

    /// The events of the last write of the order's reservation: type and sequence.
    async fn events(&self, order: &OrderId) -> Vec<(String, u64)> {
        let item = self.item(order).await.unwrap();
        item["outbox"]
            .as_l()
            .unwrap()
            .iter()
            .map(|event| serde_json::from_str::<contracts::Envelope>(event.as_s().unwrap()).unwrap())
            .map(|event| (event.event_type, event.sequence))
            .collect()
    }
}

fn context(order: &OrderId) -> CommandContext {
    CommandContext::new(order.clone(), CorrelationId::try_from("cor").unwrap())
}

fn held(order: &OrderId) -> Result<Value, String> {
    Ok(json!({"order_id": order, "status": "held"}))
}

fn undone(outcome: &str) -> Result<Value, String> {
    Ok(json!({"outcome": outcome}))
}

fn refused(name: &str) -> Result<Value, String> {
    Err(name.to_owned())
}

#[tokio::test]
async fn a_repeated_reserve_takes_the_stock_once() {
    let warehouse = Warehouse::with(&[("MUG", 10)]).await;
    for _ in 0..3 {
        assert_eq!(warehouse.reserve(&order(1), &[("MUG", 4)]).await, held(&order(1)));
    }
    assert_eq!(warehouse.available("MUG").await, 6);
    assert_eq!(warehouse.events(&order(1)).await, [("inventory.reserved".to_owned(), 1)]);
}

#[tokio::test]
async fn a_first_reserve_is_one_call() {
    let warehouse = Warehouse::with(&[("MUG", 10), ("CUP", 10)]).await;
    warehouse.reserve(&order(1), &[("MUG", 1), ("CUP", 2)]).await.unwrap();
    assert_eq!(warehouse.faults.calls(), ["TransactWriteItems"]);
}

#[tokio::test]
async fn a_repeated_release_returns_the_stock_once() {
    let warehouse = Warehouse::with(&[("MUG", 10), ("CUP", 3)]).await;
    warehouse.reserve(&order(1), &[("MUG", 4), ("CUP", 3)]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(warehouse.release(&order(1)).await, undone("released"));
    }
    assert_eq!((warehouse.available("MUG").await, warehouse.available("CUP").await), (10, 3));
    assert_eq!(warehouse.events(&order(1)).await, [("inventory.released".to_owned(), 2)]);
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 4)]).await, refused("OrderCancelRequested"));
}

#[tokio::test]
async fn a_reserve_that_comes_after_its_undo_is_refused_and_takes_nothing() {
    let warehouse = Warehouse::with(&[("MUG", 10)]).await;
    for _ in 0..2 {
        assert_eq!(warehouse.release(&order(1)).await, undone("nothing_held"));
    }
    assert_eq!(warehouse.events(&order(1)).await, []);
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 4)]).await, refused("OrderCancelRequested"));
    assert_eq!(warehouse.available("MUG").await, 10);
}

#[tokio::test]
async fn too_little_stock_says_so_again_even_when_there_is_more_by_then() {
    let warehouse = Warehouse::with(&[("MUG", 3)]).await;
    warehouse.reserve(&order(1), &[("MUG", 1)]).await.unwrap();
    assert_eq!(warehouse.reserve(&order(2), &[("MUG", 3)]).await, refused("InventoryNotAvailable"));
    warehouse.release(&order(1)).await.unwrap();
    assert_eq!(warehouse.reserve(&order(2), &[("MUG", 3)]).await, refused("InventoryNotAvailable"));
    assert_eq!(warehouse.available("MUG").await, 3);
    assert_eq!(warehouse.events(&order(2)).await, [("inventory.not_available".to_owned(), 1)]);
    assert_eq!(warehouse.release(&order(2)).await, undone("nothing_held"));
}

#[tokio::test]
async fn a_rush_for_what_is_sold_out_costs_one_write_an_order() {
    let warehouse = Warehouse::spread(&[("MUG", 2, 4)]).await;
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 3)]).await, refused("InventoryNotAvailable"));
    warehouse.faults.reset();
    for _ in 0..2 {
        assert_eq!(warehouse.reserve(&order(2), &[("MUG", 5)]).await, refused("InventoryNotAvailable"));
    }
    assert_eq!(warehouse.faults.calls(), ["PutItem", "PutItem", "GetItem"], "the second is a repeat");
    assert_eq!(warehouse.events(&order(2)).await, [("inventory.not_available".to_owned(), 1)]);
    assert_eq!(warehouse.reserve(&order(3), &[("MUG", 2)]).await, held(&order(3)), "there is as much");
    assert_eq!(warehouse.reserve(&order(3), &[("MUG", 3)]).await, held(&order(3)), "a repeat is answered");
}

#[tokio::test]
async fn stock_that_is_added_is_seen_by_the_orders_after_it() {
    let warehouse = Warehouse::with(&[("MUG", 0)]).await;
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 1)]).await, refused("InventoryNotAvailable"));
    stocked(&warehouse.store, "MUG", 1, 1).await;
    let items = vec![OrderLine { sku: sku("MUG"), quantity: 1 }];
    let context = context(&order(2));
    let command = InventoryCommand::ReserveInventory { context, user_id: user(), items };
    assert_eq!(warehouse.run_at(250, command).await, held(&order(2)));
}

#[tokio::test]
async fn all_lines_are_held_or_none() {
    let warehouse = Warehouse::with(&[("MUG", 10), ("CUP", 1)]).await;
    let lines = [("MUG", 2), ("CUP", 2), ("NEVER-SET", 1)];
    assert_eq!(warehouse.reserve(&order(1), &lines).await, refused("InventoryNotAvailable"));
    assert_eq!((warehouse.available("MUG").await, warehouse.available("CUP").await), (10, 1));
    let item = warehouse.item(&order(1)).await.unwrap();
    assert_eq!(item["short"].as_l().unwrap().len(), 2, "CUP and NEVER-SET, not MUG: {item:?}");
}

#[tokio::test]
async fn twenty_lines_fit_into_one_reservation() {
    let names: Vec<String> = (0..20).map(|n| format!("SKU-{n}")).collect();
    let stock: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let warehouse = Warehouse::with(&stock).await;
    assert_eq!(warehouse.reserve(&order(1), &stock).await, held(&order(1)));
    assert_eq!(warehouse.release(&order(1)).await, undone("released"));
    assert_eq!(warehouse.available("SKU-19").await, 1);
}

#[tokio::test]
async fn the_same_order_at_once_takes_its_stock_once() {
    let warehouse = Warehouse::with(&[("MUG", 20)]).await;
    let order = order(1);
    let answers = join_all((0..10).map(|_| warehouse.reserve(&order, &[("MUG", 2)]))).await;
    assert!(answers.iter().all(|answer| *answer == held(&order)), "{answers:?}");
    assert_eq!(warehouse.available("MUG").await, 18);
}

#[tokio::test]
async fn do_and_undo_at_once_end_with_nothing_held() {
    let warehouse = Warehouse::with(&[("MUG", 20)]).await;
    let orders: Vec<OrderId> = (0..10).map(order).collect();
    join_all(orders.iter().map(|order| async {
        // Either may win. The saga repeats the undo until it succeeds, and then nothing is held.
        futures::future::join(warehouse.reserve(order, &[("MUG", 1)]), warehouse.release(order))
            .await
            .1
            .unwrap();
    }))
    .await;
    assert_eq!(warehouse.available("MUG").await, 20);
}

#[rstest]
#[case::seen_by_the_client_alone(1, true)]
#[case::seen_by_the_saga(MAX_ATTEMPTS, false)]
#[tokio::test]
async fn a_reserve_whose_answer_is_lost_takes_the_stock_once(#[case] lost: u32, #[case] hidden: bool) {
    let warehouse = Warehouse::with(&[("MUG", 10)]).await;
    warehouse.faults.lose_answers("TransactWriteItems", lost);
    let first = warehouse.reserve(&order(1), &[("MUG", 4)]).await;
    assert_eq!(first, if hidden { held(&order(1)) } else { refused("Transient") });
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 4)]).await, held(&order(1)));
    assert_eq!(warehouse.available("MUG").await, 6);
}

#[tokio::test]
async fn a_release_whose_answer_is_lost_gives_back_once() {
    let warehouse = Warehouse::with(&[("MUG", 10)]).await;
    warehouse.reserve(&order(1), &[("MUG", 4)]).await.unwrap();
    warehouse.faults.lose_answers("TransactWriteItems", MAX_ATTEMPTS);
    assert_eq!(warehouse.release(&order(1)).await, refused("Transient"));
    assert_eq!(warehouse.release(&order(1)).await, undone("released"));
    assert_eq!(warehouse.available("MUG").await, 10);
}

#[tokio::test]
async fn a_refusal_whose_answer_is_lost_says_the_same_again() {
    let warehouse = Warehouse::with(&[("MUG", 1)]).await;
    warehouse.faults.lose_answers("PutItem", MAX_ATTEMPTS);
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 4)]).await, refused("Transient"));
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 4)]).await, refused("InventoryNotAvailable"));
}

#[tokio::test]
async fn a_conflict_with_another_transaction_is_tried_again() {
    let warehouse = Warehouse::with(&[("MUG", 10)]).await;
    warehouse.faults.conflict(3);
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 4)]).await, held(&order(1)));
    assert_eq!(warehouse.faults.calls(), ["TransactWriteItems"; 4]);
    assert_eq!(warehouse.available("MUG").await, 6);
}

#[tokio::test]
async fn a_table_that_cannot_be_reached_is_transient() {
    let warehouse = Warehouse::with(&[("MUG", 10)]).await;
    warehouse.faults.refuse("TransactWriteItems", MAX_ATTEMPTS);
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 4)]).await, refused("Transient"));
    assert_eq!(warehouse.available("MUG").await, 10);
}

#[tokio::test]
async fn what_is_sold_is_not_released_and_reserving_it_again_is_a_success() {
    let warehouse = Warehouse::with(&[("MUG", 10)]).await;
    warehouse.reserve(&order(1), &[("MUG", 4)]).await.unwrap();
    warehouse.commit(&order(1)).await;
    assert_eq!(warehouse.release(&order(1)).await, refused("ReservationCommitted"));
    assert_eq!(warehouse.reserve(&order(1), &[("MUG", 4)]).await, held(&order(1)));
    assert_eq!(warehouse.available("MUG").await, 6);
}

#[test]
fn every_error_has_its_name() {
    let name = |error: ReservationError| error.name();
    let rejected = |rejected: Rejected| name(ReservationError::Rejected(rejected));
    assert_eq!(rejected(Rejected::NotAvailable { short: vec![sku("MUG")] }), "InventoryNotAvailable");
    assert_eq!(rejected(Rejected::AlreadyReleased), "OrderCancelRequested");
    assert_eq!(rejected(Rejected::AlreadyCommitted), "ReservationCommitted");
    assert_eq!(rejected(Rejected::NothingReserved), "Transient");
    assert_eq!(rejected(Rejected::NotHeld(Status::Released)), "Transient");
    assert_eq!(name(lambda_kit::dynamodb::Conflict.into()), "Transient");
    assert_eq!(name(ReservationError::Table(TableError::call("write", "lost"))), "Transient");
}
