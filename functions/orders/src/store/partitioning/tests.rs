//! A partition count that grows while there are orders: older orders must be found, wherever they were
//! written.

use std::collections::BTreeSet;

use contracts::{OrderStatus, UserId};
use jiff::civil::Date;
use lambda_kit::{dynamodb::Table, testing::table};
use rstest::rstest;
use serde_json::Value;

use super::*;
use crate::{
    domain::{Command, SalesMetric},
    store::{IndexReason, Scope, Store},
    testing::{at, cancel, complete, correlation_id, listed_store, order_of},
    views::Projector,
};

const BEFORE: u8 = 8;

fn store_of(table: &Table, partitions: u8) -> Store {
    let partitions = Partitions::new(partitions);
    Store::new(table.clone(), Partitioning { reconciliation: partitions, list: partitions })
}

async fn take(store: &Store, order_id: &OrderId, second: i64, command: Command) {
    crate::handler::execute(store, order_id, &command, &correlation_id(), at(second)).await.unwrap();
}

/// Orders that were placed from second `from` on, the oldest first.
async fn place(store: &Store, from: i64, count: i64) -> Vec<OrderId> {
    let customer = UserId::generate();
    let mut placed = vec![];
    for second in from..from + count {
        placed.push(order_of(store, &customer, &format!("k-{second}"), second).await);
    }
    placed
}

/// The ids and statuses of all orders, in the order of the list.
async fn listed(store: &Store) -> Vec<(OrderId, String)> {
    let (mut all, mut after) = (vec![], None);
    loop {
        let page = store.list(&Scope::All, None, 7, after).await.unwrap();
        for order in page.orders {
            let order: Value = serde_json::from_str(order.get()).unwrap();
            let text = |name: &str| order[name].as_str().unwrap().to_owned();
            all.push((OrderId::try_from(text("order_id")).unwrap(), text("status")));
        }
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

fn newest_first(orders: &[OrderId], status: OrderStatus) -> Vec<(OrderId, String)> {
    orders.iter().rev().map(|order_id| (order_id.clone(), status.to_string())).collect()
}

async fn counted(store: &Store, metric: SalesMetric) -> i64 {
    let days = store.sales(Date::MIN, Date::MAX).await.unwrap();
    days.into_values().filter_map(|mut totals| totals.remove(&metric)).sum()
}

#[rstest]
#[case::twice_as_many(16)]
#[case::no_power_of_two(11)]
#[tokio::test]
async fn lists_and_reports_are_right_while_the_setting_grows(#[case] after: u8) {
    let (_, table, _) = listed_store().await;
    let (few, many) = (store_of(&table, BEFORE), store_of(&table, after));
    let mut orders = place(&few, 0, 30).await;
    for order_id in &orders {
        Projector::new(few.clone()).catch_up(order_id).await;
    }
    assert_eq!(listed(&many).await, newest_first(&orders, OrderStatus::OrderCreated));
    assert_eq!(counted(&many, SalesMetric::Orders).await, 30);

    let new = place(&many, 30, 10).await;
    orders.extend(new);
    for order_id in &orders {
        take(&many, order_id, 100, Command::RecordReservation).await;
        take(&many, order_id, 101, complete()).await;
        Projector::new(many.clone()).catch_up(order_id).await;
    }
    assert_eq!(listed(&many).await, newest_first(&orders, OrderStatus::OrderCompleted), "each once");
    assert_eq!(counted(&many, SalesMetric::Orders).await, 40);
    assert_eq!(counted(&many, SalesMetric::Completed).await, 40);

    let rebuilt = many.begin_projection_version().await.unwrap();
    many.activate_projection_version(rebuilt).await.unwrap();
    assert_eq!(counted(&many, SalesMetric::Orders).await, 0);
    let next = many.begin_projection_version().await.unwrap();
    many.activate_projection_version(next).await.unwrap();
    let left = table.client.scan().table_name(&table.name).send().await.unwrap();
    let sums = left.items().iter().filter(|item| item["pk"].as_s().unwrap().starts_with("SALES#")).count();
    assert_eq!(sums, 0, "the sums of the first version are deleted, wherever they are");
}

async fn indexed(store: &Store, reason: IndexReason) -> Vec<OrderId> {
    let mut found = vec![];
    for partition in store.index_partitions(reason) {
        found.extend(store.indexed_orders(&partition, at(1000), 100, None).await.unwrap().orders);
    }
    found.into_iter().map(|order| order.order_id).collect()
}

fn set(orders: &[OrderId]) -> BTreeSet<OrderId> {
    orders.iter().cloned().collect()
}

#[rstest]
#[case::twice_as_many(16)]
#[case::no_power_of_two(11)]
#[tokio::test]
async fn indexed_orders_are_found_while_the_setting_grows(#[case] after: u8) {
    let (table, _) = table(&[("watch", "watch", "watched_since")]).await;
    let (few, many) = (store_of(&table, BEFORE), store_of(&table, after));
    let mut orders = place(&few, 0, 30).await;
    orders.extend(place(&many, 30, 10).await);
    let open = indexed(&many, IndexReason::Open).await;
    assert_eq!((open.len(), set(&open)), (40, set(&orders)), "each once");

    let (declined, kept) = orders.split_at(25);
    for order_id in declined {
        take(&many, order_id, 100, Command::RecordReservation).await;
        take(&many, order_id, 101, cancel("TakePayment", "PaymentDeclined")).await;
        let history = many.load(order_id).await.unwrap().unwrap();
        many.update_index_entry(order_id, &history.events.last().unwrap().envelope).await.unwrap();
    }
    assert_eq!(set(&indexed(&many, IndexReason::Open).await), set(kept));
    assert_eq!(set(&indexed(&many, IndexReason::Cancelled).await), set(declined));
    for order_id in declined {
        many.remove_cancelled(order_id).await.unwrap();
    }
    assert!(indexed(&many, IndexReason::Cancelled).await.is_empty());
}
