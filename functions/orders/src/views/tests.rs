use contracts::{OrderStatus, UserId};
use lambda_kit::{dynamodb::string, testing::Faults};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::Command,
    store::Scope,
    testing::{at, cancel, complete, correlation_id, listed_store, order_of, user_id},
};

impl Projector {
    /// Projects one order, as the stream makes it.
    pub async fn catch_up(&self, order_id: &OrderId) {
        assert_eq!(self.project_all(&batch(&[order_id])).await, Projected::default());
    }
}

async fn take(store: &Store, order_id: &OrderId, second: i64, command: Command) {
    crate::handler::execute(store, order_id, &command, &correlation_id(), at(second)).await.unwrap();
}

/// A store in which this customer has one order; nothing has come through the stream yet.
async fn with_order() -> (Store, OrderId, Faults) {
    let (store, _, faults) = listed_store().await;
    let order_id = order_of(&store, &user_id(), "k-1", 0).await;
    (store, order_id, faults)
}

/// A commit of each of these orders, as the stream brings them.
fn batch(orders: &[&OrderId]) -> StreamEvent {
    let record = |(n, order_id): (usize, &&OrderId)| {
        let image = json!({"pk": {"S": format!("ORDER#{order_id}")}, "sk": {"S": "COMMIT#00000001"}});
        json!({"eventName": "INSERT", "dynamodb": {"SequenceNumber": n.to_string(), "NewImage": image}})
    };
    let records: Vec<Value> = orders.iter().enumerate().map(record).collect();
    serde_json::from_value(json!({"Records": records})).unwrap()
}

async fn orders_of(store: &Store, scope: Scope) -> Vec<Value> {
    let listed = store.list(&scope, None, 100, None).await.unwrap();
    listed.orders.iter().map(|order| serde_json::from_str(order.get()).unwrap()).collect()
}

async fn statuses(store: &Store) -> Vec<Value> {
    let orders = orders_of(store, Scope::Customer(user_id())).await;
    orders.into_iter().map(|order| order["status"].clone()).collect()
}

#[tokio::test]
async fn a_view_follows_its_order() {
    let (store, order_id, _) = with_order().await;
    assert_eq!(Projector::new(store.clone()).project_all(&batch(&[&order_id])).await, Projected::default());
    assert_eq!(statuses(&store).await, ["OrderCreated"]);
    take(&store, &order_id, 1, Command::RecordReservation).await;
    take(&store, &order_id, 2, complete()).await;
    Projector::new(store.clone()).project_all(&batch(&[&order_id, &order_id])).await;
    assert_eq!(statuses(&store).await, ["OrderCompleted"]);
    let orders = orders_of(&store, Scope::All).await;
    assert_eq!(orders, orders_of(&store, Scope::Customer(user_id())).await);
    assert_eq!(orders[0]["timeline"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_repeated_record_writes_nothing() {
    let (store, order_id, faults) = with_order().await;
    take(&store, &order_id, 1, cancel("ReserveInventory", "InventoryNotAvailable")).await;
    Projector::new(store.clone()).project_all(&batch(&[&order_id])).await;
    faults.reset();
    Projector::new(store.clone()).project_all(&batch(&[&order_id])).await;
    let writes = ["PutItem", "TransactWriteItems"];
    assert!(!faults.calls().iter().any(|call| writes.contains(&&**call)), "{:?}", faults.calls());
    assert_eq!(statuses(&store).await, ["OrderCancelled"]);
}

/// Two projectors at once: the one that read earlier must not write later.
#[tokio::test]
async fn an_older_fold_does_not_take_the_place_of_a_newer_one() {
    let (store, order_id, _) = with_order().await;
    let old = store.load(&order_id).await.unwrap().unwrap();
    let nothing_there = store.view(&old).await.unwrap();
    take(&store, &order_id, 1, Command::RecordReservation).await;
    Projector::new(store.clone()).catch_up(&order_id).await;
    let (late, counts) = next(&old, nothing_there, store.projection_versions().await.unwrap()).unwrap();
    let outcome = store.put_view(&old, &late, &counts).await.unwrap();
    assert_eq!(outcome, TransactOutcome::ConditionFailed { index: 0 });
    assert_eq!(statuses(&store).await, ["PaymentPending"]);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_found() {
    let (store, order_id, faults) = with_order().await;
    faults.lose_answers("TransactWriteItems", 1);
    Projector::new(store.clone()).catch_up(&order_id).await;
    assert_eq!(statuses(&store).await, ["OrderCreated"]);
}

#[rstest]
#[case("Query")]
#[case("GetItem")]
#[case("TransactWriteItems")]
#[tokio::test]
async fn a_view_that_cannot_be_written_is_retried(#[case] operation: &str) {
    let (store, order_id, faults) = with_order().await;
    faults.refuse(operation, lambda_kit::aws::MAX_ATTEMPTS);
    let projected = Projector::new(store.clone()).project_all(&batch(&[&order_id])).await;
    assert_eq!(projected.failed, BTreeSet::from(["0".to_owned()]));
    Projector::new(store.clone()).project_all(&batch(&[&order_id])).await;
    assert_eq!(statuses(&store).await, ["OrderCreated"]);
}

#[tokio::test]
async fn an_order_that_cannot_be_read_does_not_hold_back_the_others() {
    let (store, table, _) = listed_store().await;
    let [broken, whole] = [("k-1", 0), ("k-2", 1)].map(|(key, second)| (key, second));
    let broken = order_of(&store, &user_id(), broken.0, broken.1).await;
    let whole = order_of(&store, &user_id(), whole.0, whole.1).await;
    let key = lambda_kit::dynamodb::key(format!("ORDER#{broken}"), "COMMIT#00000001");
    let break_it = table.client.update_item().table_name(&table.name).set_key(Some(key));
    let break_it =
        break_it.update_expression("SET outbox = :x").expression_attribute_values(":x", string("?"));
    break_it.send().await.unwrap();
    let projected = Projector::new(store.clone()).project_all(&batch(&[&broken, &whole])).await;
    assert_eq!(projected, Projected { failed: BTreeSet::new(), unreadable: 1 });
    assert_eq!(statuses(&store).await.len(), 1);
}

#[tokio::test]
async fn a_view_holds_no_personal_data() {
    let (store, table, _) = listed_store().await;
    let order_id = OrderId::derive(&user_id(), &contracts::IdempotencyKey::try_from("k").unwrap());
    let order = crate::store::NewOrder {
        order_id: &order_id,
        user_id: &user_id(),
        correlation_id: &correlation_id(),
        request_hash: "",
        checkout_details: r#"{"shipping_address":{"name":"Anna Marie"},"payment_method":"pm_card"}"#,
    };
    crate::handler::place(&store, &order, crate::testing::place(), at(0)).await.unwrap();
    Projector::new(store.clone()).catch_up(&order_id).await;
    let all = table.client.scan().table_name(&table.name).send().await.unwrap();
    let is_view = |item: &&lambda_kit::dynamodb::Item| item["pk"].as_s().unwrap().starts_with("CUSTOMER#");
    let views: Vec<_> = all.items().iter().filter(is_view).collect();
    assert_eq!(views.len(), 1);
    let text = format!("{views:?}");
    assert!(!text.contains("Anna") && !text.contains("pm_card"), "{text}");
}

#[tokio::test]
async fn every_order_is_in_the_list_of_all_the_newest_first() {
    let (store, _, _) = listed_store().await;
    let customers: Vec<UserId> = (0..3).map(|_| UserId::generate()).collect();
    let mut placed = vec![];
    for n in 0..30_i64 {
        let customer = &customers[usize::try_from(n).unwrap() % customers.len()];
        let order_id = order_of(&store, customer, &format!("k-{n}"), n).await;
        Projector::new(store.clone()).catch_up(&order_id).await;
        placed.push(json!(order_id));
    }
    placed.reverse();
    let (mut shown, mut after) = (vec![], None);
    loop {
        let listed = store.list(&Scope::All, None, 7, after).await.unwrap();
        let orders = listed.orders.iter().map(|order| serde_json::from_str::<Value>(order.get()).unwrap());
        shown.extend(orders.map(|order| order["order_id"].clone()));
        match listed.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(shown, placed);
    let reserved = store.list(&Scope::All, Some(OrderStatus::PaymentPending), 7, None).await.unwrap();
    assert!(reserved.orders.is_empty() && reserved.next.is_none());
}

/// Whatever comes twice, is lost, or meets others: each event counts once.
#[tokio::test]
async fn an_order_is_counted_once() {
    let (store, order_id, faults) = with_order().await;
    let projector = Projector::new(store.clone());
    projector.catch_up(&order_id).await;
    take(&store, &order_id, 1, Command::RecordReservation).await;
    faults.conflict(2);
    take(&store, &order_id, 2, complete()).await;
    faults.lose_answers_after(2, "TransactWriteItems", 1);
    projector.catch_up(&order_id).await;
    take_nothing_new(&projector, &order_id).await;
    let day = jiff::civil::date(2026, 11, 18);
    let counted: Vec<(String, i64)> = store
        .sales(day, day)
        .await
        .unwrap()
        .remove(&day)
        .unwrap()
        .into_iter()
        .map(|(m, n)| (m.name(), n))
        .collect();
    let expected = [("orders", 1), ("completed", 1), ("revenue.USD", 8400)];
    assert_eq!(counted, expected.map(|(name, count)| (name.to_owned(), count)));
}

async fn take_nothing_new(projector: &Projector, order_id: &OrderId) {
    for _ in 0..2 {
        projector.catch_up(order_id).await;
        Projector::new(projector.store.clone()).catch_up(order_id).await;
    }
}

#[tokio::test]
async fn a_view_that_conflicts_at_every_try_is_retried() {
    let (store, order_id, faults) = with_order().await;
    faults.conflict(TRIES);
    let projected = Projector::new(store.clone()).project_all(&batch(&[&order_id])).await;
    assert_eq!(projected.failed, BTreeSet::from(["0".to_owned()]));
    assert!(statuses(&store).await.is_empty(), "nothing was written in part");
}
