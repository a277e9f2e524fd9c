//! The cost of an event, and repeated or malformed messages.

use super::*;

#[tokio::test]
async fn history_that_is_published_again_is_not_pushed() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("a", &anna, "").await;
    hub.send("a", &json!({"action": "subscribe"})).await;
    let event = ordered(&order_of(&anna, "1"), &anna, 1);
    hub.event_at(&event, NOW + 31 * 24 * HOUR).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed");
    hub.event_at(&event, NOW + 29 * 24 * HOUR).await.unwrap();
    assert_eq!(hub.closed().await, ["a"], "its connection is past its time by then");
}

#[tokio::test]
async fn an_event_that_comes_twice_is_pushed_once() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.follow(&["a"], &anna, &order).await;
    for version in [1, 1, 2, 1, 2] {
        hub.event(&ordered(&order, &anna, version)).await.unwrap();
    }
    assert_eq!(hub.seen("a").await, "subscribed o1 o2");
}

#[tokio::test]
async fn a_lost_answer_of_the_table_is_no_failure() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    hub.faults.lose_answers("PutItem", 1);
    hub.event(&ordered(&order, &anna, 2)).await.unwrap();
    hub.event(&ordered(&order, &anna, 3)).await.unwrap();
}

#[tokio::test]
async fn an_event_costs_two_reads_and_one_write() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.follow(&["a"], &anna, &order).await;
    hub.faults.reset();
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    assert_eq!(hub.faults.calls(), ["Query", "Query", "PutItem"]);
}

#[tokio::test]
async fn the_events_of_a_batch_cost_two_reads_and_each_one_write() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.follow(&["a"], &anna, &order).await;
    hub.faults.reset();
    let events = [1, 2, 3].map(|version| ordered(&order, &anna, version).to_string());
    hub.deliver(&events, NOW).await.unwrap();
    assert_eq!(hub.faults.calls(), ["Query", "Query", "PutItem", "PutItem", "PutItem"]);
    assert_eq!(hub.seen("a").await, "subscribed o1 o2 o3");
}

#[tokio::test]
async fn a_subscription_between_the_events_of_a_batch_gets_those_behind_it() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.connect("a", &anna, "").await;
    hub.invoke(
        "MESSAGE",
        "a",
        NOW,
        &json!({}),
        Some(json!({"action": "subscribe", "order_id": order}).to_string()),
    )
    .await;
    let command = hub.line().await.remove(0);
    let [first, second] = [1, 2].map(|version| ordered(&order, &anna, version).to_string());
    hub.deliver(&[first, command, second], NOW).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed o2");
}

#[tokio::test]
async fn a_connection_that_is_closed_gets_no_more_of_its_batch() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.follow(&["a"], &anna, &order).await;
    hub.fail("POST", "a", None).await;
    let events = [1, 2].map(|version| ordered(&order, &anna, version).to_string());
    hub.deliver(&events, NOW).await.unwrap();
    assert!(!hub.seen("a").await.contains("o2"));
    assert_eq!(hub.closed().await, ["a"]);
}

#[tokio::test]
async fn a_message_that_is_neither_an_event_nor_a_command_comes_again() {
    let hub = Hub::open().await;
    hub.deliver(&["{}".to_owned()], NOW).await.unwrap_err();
    hub.deliver(&[r#"{"command":"subscribe"}"#.to_owned()], NOW).await.unwrap_err();
    let mut product = ordered(&order_of(&UserId::generate(), "1"), &UserId::generate(), 1);
    product["subject"] = json!("MUG");
    hub.event(&product).await.unwrap_err();
}
