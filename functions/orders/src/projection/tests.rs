use lambda_kit::{
    dynamodb::Table,
    testing::{Faults, table},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::Command,
    store::{NewOrder, Watch},
    testing::{at, cancel, cancel_after, complete, correlation_id, order_id, place, user_id},
};
use contracts::saga::UndoOutcome;

/// A store whose order took these commands; nothing is projected yet.
async fn with_order(commands: Vec<Command>) -> (Store, Table, Faults) {
    let (table, faults) = table(&[("watch", "watch", "watched_since")]).await;
    let store = Store::new(table.clone());
    let (order_id, user_id, correlation_id) = (order_id(), user_id(), correlation_id());
    let order = NewOrder {
        order_id: &order_id,
        user_id: &user_id,
        correlation_id: &correlation_id,
        request_hash: "",
        private: "{}",
    };
    store.place(&order, place(), at(0)).await.unwrap();
    for (second, command) in (1..).zip(commands) {
        store.execute(&order_id, &command, &correlation_id, at(second)).await.unwrap();
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

/// Status and version of the order's view, and why it is watched.
async fn view(table: &Table) -> Option<(String, u64, Option<String>)> {
    let all = table.client.scan().table_name(&table.name).send().await.unwrap();
    let view = all.items().iter().find(|item| item["pk"].as_s().unwrap().starts_with("CUSTOMER#"))?;
    let text = |name: &str| view.get(name).map(|value| value.as_s().unwrap().clone());
    Some((text("status").unwrap(), view["version"].as_n().unwrap().parse().unwrap(), text("watch")))
}

fn failed() -> Command {
    cancel_after(
        "TakePayment",
        "PaymentTimeout",
        [UndoOutcome::NotNeeded, UndoOutcome::Failed, UndoOutcome::Released],
    )
}

#[rstest]
#[case::placed(vec![], "OrderCreated", 1, Some("open#f"))]
#[case::paying(vec![Command::RecordReservation], "PaymentPending", 3, Some("open#f"))]
#[case::asked_to_be_cancelled(vec![Command::RequestCancel], "OrderCreated", 2, Some("open#f"))]
#[case::completed(vec![Command::RecordReservation, complete()], "OrderCompleted", 6, None)]
#[case::out_of_stock(vec![cancel("ReserveInventory", "InventoryNotAvailable")], "OrderCancelled", 3, None)]
#[case::declined(vec![Command::RecordReservation, cancel("TakePayment", "PaymentDeclined")], "OrderCancelled", 5, Some("cancelled"))]
#[case::in_need(vec![Command::RecordReservation, failed()], "NeedsAttention", 6, Some("attention"))]
#[tokio::test]
async fn a_view_says_where_the_order_stands_whatever_comes_when(
    #[case] commands: Vec<Command>,
    #[case] status: &str,
    #[case] version: u64,
    #[case] watch: Option<&str>,
) {
    let expected = Some((status.to_owned(), version, watch.map(str::to_owned)));
    let (store, table, faults) = with_order(commands).await;
    let mut records = records(&table).await;

    // One by one, the last again, all of them again, and backwards.
    for record in records.clone() {
        assert!(project_all(&store, &batch(vec![record])).await.is_empty());
    }
    assert_eq!(view(&table).await, expected);
    faults.reset();
    assert!(project_all(&store, &batch(records.clone())).await.is_empty());
    assert_eq!(faults.calls(), ["UpdateItem"], "one write an order");
    records.reverse();
    for record in records {
        project_all(&store, &batch(vec![record])).await;
        assert_eq!(view(&table).await, expected);
    }
}

#[tokio::test]
async fn a_late_record_of_an_order_that_has_ended_does_not_open_it_again() {
    let (store, table, _) = with_order(vec![Command::RecordReservation, complete()]).await;
    let mut records = records(&table).await;
    records.reverse();
    for record in records {
        assert!(project_all(&store, &batch(vec![record])).await.is_empty());
    }
    assert_eq!(view(&table).await, Some(("OrderCompleted".to_owned(), 6, None)));
}

#[tokio::test]
async fn a_commit_of_before_there_were_views_is_projected_from_the_order() {
    let (store, table, _) = with_order(vec![Command::RecordReservation]).await;
    let mut first = records(&table).await.remove(0);
    first["dynamodb"]["NewImage"].as_object_mut().unwrap().remove("status");
    assert!(project_all(&store, &batch(vec![first])).await.is_empty());
    assert_eq!(view(&table).await, Some(("PaymentPending".to_owned(), 3, Some("open#f".to_owned()))));
}

#[tokio::test]
async fn what_is_no_commit_writes_no_view() {
    let (store, table, faults) = with_order(vec![]).await;
    let first = records(&table).await.remove(0);
    let image = first["dynamodb"]["NewImage"].clone();
    faults.reset();
    let erased = json!({"eventName": "MODIFY", "dynamodb": {"SequenceNumber": "1", "OldImage": image, "NewImage": image}});
    let price = json!({"eventName": "INSERT", "dynamodb": {"SequenceNumber": "2", "NewImage": {"pk": {"S": "PRICE#MUG"}}}});
    assert!(project_all(&store, &batch(vec![erased, price])).await.is_empty());
    assert!(faults.calls().is_empty());
}

#[tokio::test]
async fn a_view_that_could_not_be_written_brings_its_record_again() {
    let (store, table, faults) = with_order(vec![]).await;
    let records = records(&table).await;
    faults.refuse("UpdateItem", lambda_kit::aws::MAX_ATTEMPTS);
    assert_eq!(project_all(&store, &batch(records.clone())).await, BTreeSet::from(["0".to_owned()]));
    faults.lose_answers("UpdateItem", lambda_kit::aws::MAX_ATTEMPTS);
    assert_eq!(project_all(&store, &batch(records.clone())).await, BTreeSet::from(["0".to_owned()]));
    faults.reset();
    assert!(project_all(&store, &batch(records)).await.is_empty());
    assert_eq!(view(&table).await.unwrap().1, 1);
}

#[tokio::test]
async fn watched_orders_are_found_by_why_and_since_when() {
    let (store, table, _) = with_order(vec![Command::RecordReservation]).await;
    let found = async |watch: Watch, until| {
        let mut orders = vec![];
        for partition in watch.partitions() {
            orders.extend(store.watched(&partition, at(until), 10, None).await.unwrap().orders);
        }
        orders
    };
    let project = async || assert!(project_all(&store, &batch(records(&table).await)).await.is_empty());
    project().await;
    assert!(found(Watch::Open, 0).await.is_empty());
    let open = found(Watch::Open, 1).await;
    assert_eq!((open.len(), &open[0].order_id, &open[0].user_id), (1, &order_id(), &user_id()));

    store
        .execute(&order_id(), &cancel("TakePayment", "PaymentDeclined"), &correlation_id(), at(60))
        .await
        .unwrap();
    project().await;
    assert!(found(Watch::Open, 100).await.is_empty());
    assert!(found(Watch::Attention, 100).await.is_empty());
    assert!(found(Watch::Cancelled, 60).await.is_empty());
    let cancelled = found(Watch::Cancelled, 61).await;
    assert_eq!(cancelled.len(), 1);
    for _ in 0..2 {
        store.unwatch_cancelled(&cancelled[0]).await.unwrap();
        // What the stream brings again does not begin the watch anew.
        project().await;
        assert!(found(Watch::Cancelled, 100).await.is_empty());
    }
}
