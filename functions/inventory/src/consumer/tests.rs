//! `order.completed` with a real table.

use contracts::{
    CorrelationId, Currency, Money, NewEvent, OrderLine, Sku, UserId,
    events::{OrderCompleted, OrderCreated},
};
use lambda_kit::{dynamodb::string, testing};

use super::*;
use crate::{domain::Status, handler::reserve, testing::stocked};

const ORDER: &str = "ord_00000000000000000000000000000001";

fn completed() -> Envelope {
    event(&OrderCompleted { total: Money::zero(Currency::USD), items: vec![] })
}

fn event<P: contracts::EventPayload>(payload: &P) -> Envelope {
    let new = NewEvent {
        source: "orders",
        subject: ORDER,
        sequence: 5,
        occurred_at: Timestamp::UNIX_EPOCH,
        correlation_id: &CorrelationId::try_from("cor").unwrap(),
        causation_id: "test",
        user_id: Some(&user()),
    };
    Envelope::new(new, payload).unwrap()
}

fn user() -> UserId {
    UserId::try_from("usr_00000000000000000000000000000001").unwrap()
}

fn event_context() -> EventContext {
    EventContext {
        order_id: OrderId::try_from(ORDER).unwrap(),
        user_id: Some(user()),
        correlation_id: CorrelationId::try_from("cor").unwrap(),
        causation_id: "test".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

async fn store_with_one_held() -> (Store, testing::Faults) {
    let (table, faults) = testing::table(&[]).await;
    let store = crate::testing::store(table);
    let sku = Sku::try_from("MUG").unwrap();
    stocked(&store, "MUG", 3, 1).await;
    reserve(&store, &[OrderLine { sku, quantity: 1 }], &event_context()).await.unwrap();
    faults.reset();
    (store, faults)
}

#[tokio::test]
async fn a_completed_order_sells_what_it_holds_by_one_plain_write_and_a_repeat_changes_nothing() {
    let (store, faults) = store_with_one_held().await;
    handle(&store, completed(), Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(faults.calls(), ["GetItem", "PutItem"]);
    let sold = store.reservation(&event_context().order_id).await.unwrap().unwrap();
    assert_eq!((sold.status, sold.version), (Status::Committed, 2));

    handle(&store, completed(), Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(store.reservation(&event_context().order_id).await.unwrap().unwrap(), sold);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_succeeds_when_retried() {
    let (store, faults) = store_with_one_held().await;
    faults.lose_answers("PutItem", lambda_kit::aws::MAX_ATTEMPTS);
    assert!(handle(&store, completed(), Timestamp::UNIX_EPOCH).await.is_err());
    handle(&store, completed(), Timestamp::UNIX_EPOCH).await.unwrap();
}

#[tokio::test]
async fn an_order_without_a_held_reservation_is_retried() {
    let (table, _) = testing::table(&[]).await;
    let store = crate::testing::store(table.clone());
    assert!(handle(&store, completed(), Timestamp::UNIX_EPOCH).await.is_err());
    let written = table.client.get_item().table_name(&table.name);
    let written = written.key("pk", string(format!("RESERVATION#{ORDER}"))).key("sk", string("RESERVATION"));
    assert_eq!(written.send().await.unwrap().item, None);
}

#[tokio::test]
async fn an_order_whose_stock_was_given_back_is_not_sold() {
    let (store, _) = store_with_one_held().await;
    end_reservation(&store, Command::Release, &event_context()).await.unwrap();
    assert!(handle(&store, completed(), Timestamp::UNIX_EPOCH).await.is_err());
}

#[tokio::test]
async fn events_of_another_type_are_not_taken_for_a_completion() {
    let (store, _) = store_with_one_held().await;
    let other = event(&OrderCreated { items: vec![], total: Money::zero(Currency::USD), discount: None });
    assert!(handle(&store, other, Timestamp::UNIX_EPOCH).await.is_err());
    assert_eq!(store.reservation(&event_context().order_id).await.unwrap().unwrap().status, Status::Held);
}
