//! The cost of an event, and repeated or malformed messages.

use super::*;

#[tokio::test]
async fn a_republished_old_event_is_not_pushed() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.connect("a", &anna).await;
    fixture.send("a", &json!({"action": "subscribe"})).await;
    let event = ordered(&order_of(&anna, "1"), &anna, 1);
    fixture.event_at(&event, NOW + 31 * 24 * HOUR).await.unwrap();
    assert_eq!(fixture.seen("a").await, "subscribed");
    fixture.event_at(&event, NOW + 29 * 24 * HOUR).await.unwrap();
    assert_eq!(fixture.closed().await, ["a"], "its connection is past its time by then");
}

#[tokio::test]
async fn a_repeated_event_is_pushed_once() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    for version in [1, 1, 2, 1, 2] {
        fixture.event(&ordered(&order, &anna, version)).await.unwrap();
    }
    assert_eq!(fixture.seen("a").await, "subscribed o1 o2");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_no_failure() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap();
    fixture.faults.lose_answers("PutItem", 1);
    fixture.event(&ordered(&order, &anna, 2)).await.unwrap();
    fixture.event(&ordered(&order, &anna, 3)).await.unwrap();
}

#[tokio::test]
async fn an_event_costs_two_reads_and_one_write() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    fixture.faults.reset();
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap();
    assert_eq!(fixture.faults.calls(), ["Query", "Query", "PutItem"]);
}

#[tokio::test]
async fn the_events_of_a_batch_cost_two_reads_and_each_one_write() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    fixture.faults.reset();
    let events = [1, 2, 3].map(|version| ordered(&order, &anna, version).to_string());
    fixture.deliver(&events, NOW).await.unwrap();
    assert_eq!(fixture.faults.calls(), ["Query", "Query", "PutItem", "PutItem", "PutItem"]);
    assert_eq!(fixture.seen("a").await, "subscribed o1 o2 o3");
}

#[tokio::test]
async fn a_duplicate_in_a_batch_costs_no_call() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    fixture.faults.reset();
    let events = [1, 1, 2].map(|version| ordered(&order, &anna, version).to_string());
    fixture.deliver(&events, NOW).await.unwrap();
    assert_eq!(fixture.faults.calls(), ["Query", "Query", "PutItem", "PutItem"]);
    assert_eq!(fixture.seen("a").await, "subscribed o1 o2");
}

#[tokio::test]
async fn a_subscription_between_the_events_of_a_batch_gets_those_behind_it() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.connect("a", &anna).await;
    fixture
        .invoke(
            "MESSAGE",
            "a",
            NOW,
            &json!({}),
            Some(json!({"action": "subscribe", "order_id": order}).to_string()),
        )
        .await;
    let command = fixture.queued_commands().await.remove(0);
    let [first, second] = [1, 2].map(|version| ordered(&order, &anna, version).to_string());
    fixture.deliver(&[first, command, second], NOW).await.unwrap();
    assert_eq!(fixture.seen("a").await, "subscribed o2");
}

#[tokio::test]
async fn a_connection_that_is_closed_gets_no_more_of_its_batch() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    fixture.fail("POST", "a", None).await;
    let events = [1, 2].map(|version| ordered(&order, &anna, version).to_string());
    fixture.deliver(&events, NOW).await.unwrap();
    assert!(!fixture.seen("a").await.contains("o2"));
    assert_eq!(fixture.closed().await, ["a"]);
}

#[tokio::test]
async fn a_message_that_is_neither_an_event_nor_a_command_is_retried() {
    let fixture = Fixture::open().await;
    fixture.deliver(&["{}".to_owned()], NOW).await.unwrap_err();
    fixture.deliver(&[r#"{"command":"subscribe"}"#.to_owned()], NOW).await.unwrap_err();
    let mut product = ordered(&order_of(&UserId::generate(), "1"), &UserId::generate(), 1);
    product["subject"] = json!("MUG");
    fixture.event(&product).await.unwrap_err();
}
