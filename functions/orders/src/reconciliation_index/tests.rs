use std::collections::BTreeSet;

use lambda_kit::{
    dynamodb::Table,
    testing::{Faults, table},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::Command,
    store::IndexReason,
    testing::{at, cancel, cancel_after, complete, correlation_id, order_id, place_order},
};
use contracts::saga::UndoOutcome;

/// A store whose order took these commands; the stream has delivered nothing yet.
async fn with_order(commands: Vec<Command>) -> (Store, Table, Faults) {
    let (table, faults) = table(&[("watch", "watch", "watched_since")]).await;
    let store = crate::testing::store(table.clone());
    let (order_id, correlation_id) = (order_id(), correlation_id());
    place_order(&store).await;
    for (second, command) in (1..).zip(commands) {
        crate::handler::execute(&store, &order_id, &command, &correlation_id, at(second)).await.unwrap();
    }
    (store, table, faults)
}

/// The order's commits as the stream brings them.
async fn records(table: &Table) -> Vec<Value> {
    let all = table
        .client
        .query()
        .table_name(&table.name)
        .key_condition_expression("pk = :order")
        .expression_attribute_values(":order", lambda_kit::dynamodb::string(format!("ORDER#{}", order_id())))
        .send()
        .await
        .unwrap();
    let record = |(n, item): (usize, &lambda_kit::dynamodb::Item)| {
        let image: serde_json::Map<String, Value> = item
            .iter()
            .filter_map(|(name, value)| {
                let value = match (value.as_s(), value.as_l()) {
                    (Ok(text), _) => json!({"S": text}),
                    (_, Ok(list)) => {
                        json!({"L": list.iter().map(|e| json!({"S": e.as_s().unwrap()})).collect::<Vec<_>>()})
                    }
                    _ => return None,
                };
                Some((name.clone(), value))
            })
            .collect();
        json!({"eventName": "INSERT", "dynamodb": {"SequenceNumber": n.to_string(), "NewImage": image}})
    };
    all.items().iter().enumerate().map(record).collect()
}

fn batch(records: Vec<Value>) -> StreamEvent {
    serde_json::from_value(json!({"Records": records})).unwrap()
}

/// The partition that the order's entry is in.
async fn entry(table: &Table) -> Option<String> {
    of_the_first_commit(table, "watch").await
}

async fn of_the_first_commit(table: &Table, attribute: &str) -> Option<String> {
    let all = table.client.scan().table_name(&table.name).send().await.unwrap();
    let first = all.items().iter().find(|item| item["sk"].as_s().unwrap() == "COMMIT#00000001").unwrap();
    first.get(attribute).map(|value| value.as_s().unwrap().clone())
}

fn repaired() -> Command {
    let undone = [UndoOutcome::NotNeeded, UndoOutcome::Refunded, UndoOutcome::Released];
    cancel_after("TakePayment", "PaymentTimeout", undone)
}

fn failed() -> Command {
    cancel_after(
        "TakePayment",
        "PaymentTimeout",
        [UndoOutcome::NotNeeded, UndoOutcome::Failed, UndoOutcome::Released],
    )
}

#[rstest]
#[case::placed(vec![], Some("open#f"))]
#[case::paying(vec![Command::RecordReservation], Some("open#f"))]
#[case::asked_to_be_cancelled(vec![Command::RequestCancel], Some("open#f"))]
#[case::completed(vec![Command::RecordReservation, complete()], None)]
#[case::out_of_stock(vec![cancel("ReserveInventory", "InventoryNotAvailable")], None)]
#[case::declined(vec![Command::RecordReservation, cancel("TakePayment", "PaymentDeclined")], Some("cancelled#f"))]
#[case::in_need(vec![Command::RecordReservation, failed()], Some("attention#f"))]
#[case::repaired(vec![Command::RecordReservation, failed(), repaired()], Some("cancelled#f"))]
#[tokio::test]
async fn an_order_is_in_the_index_until_it_ends_in_any_order_of_records(
    #[case] commands: Vec<Command>,
    #[case] expected: Option<&str>,
) {
    let (store, table, faults) = with_order(commands).await;
    assert_eq!(entry(&table).await.as_deref(), Some("open#f"), "before anything came through the stream");
    let mut records = records(&table).await;

    // One by one, all of them again, and backwards.
    for record in records.clone() {
        assert!(update_index(&store, &batch(vec![record])).await.is_empty());
    }
    assert_eq!(entry(&table).await.as_deref(), expected);
    faults.reset();
    assert!(update_index(&store, &batch(records.clone())).await.is_empty());
    assert!(faults.calls().len() <= 1, "one write an order at most");
    records.reverse();
    for record in records {
        assert!(update_index(&store, &batch(vec![record])).await.is_empty());
        assert_eq!(entry(&table).await.as_deref(), expected);
    }
}

#[rstest]
#[case::placed(vec![], true)]
#[case::paying(vec![Command::RecordReservation], true)]
#[case::asked_to_be_cancelled(vec![Command::RequestCancel], true)]
#[case::completed(vec![Command::RecordReservation, complete()], false)]
#[case::out_of_stock(vec![cancel("ReserveInventory", "InventoryNotAvailable")], false)]
#[case::declined(vec![Command::RecordReservation, cancel("TakePayment", "PaymentDeclined")], false)]
#[case::in_need(vec![Command::RecordReservation, failed()], false)]
#[case::repaired(vec![Command::RecordReservation, failed(), repaired()], false)]
#[tokio::test]
async fn an_address_is_kept_as_long_as_the_saga_may_need_it(
    #[case] commands: Vec<Command>,
    #[case] kept: bool,
) {
    let (store, table, _) = with_order(commands).await;
    let before = store.load(&order_id()).await.unwrap();
    let mut records = records(&table).await;
    records.reverse();
    for record in records {
        assert!(update_index(&store, &batch(vec![record])).await.is_empty());
    }
    assert_eq!(of_the_first_commit(&table, "private").await.is_some(), kept);
    assert_eq!(store.load(&order_id()).await.unwrap(), before, "the order is what it was");
}

#[tokio::test]
async fn a_late_record_of_an_order_that_has_ended_does_not_open_it_again() {
    let (store, table, _) = with_order(vec![Command::RecordReservation, failed(), repaired()]).await;
    let mut records = records(&table).await;
    records.reverse();
    for record in records {
        assert!(update_index(&store, &batch(vec![record])).await.is_empty());
        assert_eq!(entry(&table).await.as_deref(), Some("cancelled#f"));
    }
}

#[tokio::test]
async fn what_is_no_end_of_an_order_writes_nothing() {
    let (store, table, faults) = with_order(vec![]).await;
    let first = records(&table).await.remove(0);
    let image = first["dynamodb"]["NewImage"].clone();
    faults.reset();
    let erased = json!({"eventName": "MODIFY", "dynamodb": {"SequenceNumber": "1", "OldImage": image, "NewImage": image}});
    let price = json!({"eventName": "INSERT", "dynamodb": {"SequenceNumber": "2", "NewImage": {"pk": {"S": "PRICE#MUG"}}}});
    assert!(update_index(&store, &batch(vec![erased, price])).await.is_empty());
    assert!(faults.calls().is_empty());
}

#[tokio::test]
async fn an_entry_that_could_not_be_updated_fails_its_record() {
    let (store, table, faults) = with_order(vec![Command::RecordReservation, complete()]).await;
    let records = records(&table).await;
    faults.refuse("UpdateItem", lambda_kit::aws::MAX_ATTEMPTS);
    assert_eq!(update_index(&store, &batch(records.clone())).await, BTreeSet::from(["2".to_owned()]).into());
    faults.lose_answers("UpdateItem", lambda_kit::aws::MAX_ATTEMPTS);
    assert_eq!(update_index(&store, &batch(records.clone())).await, BTreeSet::from(["2".to_owned()]).into());
    faults.reset();
    assert!(update_index(&store, &batch(records)).await.is_empty());
    assert_eq!(entry(&table).await, None);
}

#[tokio::test]
async fn indexed_orders_are_found_by_reason_and_time() {
    let (store, table, _) = with_order(vec![Command::RecordReservation]).await;
    let found = async |reason: IndexReason, until| {
        let mut orders = vec![];
        for partition in store.index_partitions(reason) {
            orders.extend(store.indexed_orders(&partition, at(until), 10, None).await.unwrap().orders);
        }
        orders
    };
    let stream = async || assert!(update_index(&store, &batch(records(&table).await)).await.is_empty());
    stream().await;
    assert!(found(IndexReason::Open, 0).await.is_empty());
    let open = found(IndexReason::Open, 1).await;
    assert_eq!((open.len(), &open[0].order_id), (1, &order_id()));

    crate::handler::execute(
        &store,
        &order_id(),
        &cancel("TakePayment", "PaymentDeclined"),
        &correlation_id(),
        at(60),
    )
    .await
    .unwrap();
    stream().await;
    assert!(found(IndexReason::Open, 100).await.is_empty());
    assert!(found(IndexReason::Attention, 100).await.is_empty());
    assert!(found(IndexReason::Cancelled, 60).await.is_empty());
    let cancelled = found(IndexReason::Cancelled, 61).await;
    assert_eq!(cancelled.len(), 1);
    for _ in 0..2 {
        store.remove_cancelled(&cancelled[0].order_id).await.unwrap();
        // Redelivered records do not add the entry again.
        stream().await;
        assert!(found(IndexReason::Cancelled, 100).await.is_empty());
    }
}
