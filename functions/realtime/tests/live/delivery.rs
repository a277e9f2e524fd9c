//! The cost of an event, and repeated or malformed messages.

use lambda_kit::{aws::MAX_ATTEMPTS, dynamodb::string};

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
async fn the_events_of_a_batch_cost_two_reads_and_one_write() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    fixture.faults.reset();
    let events = [1, 2, 3].map(|version| ordered(&order, &anna, version).to_string());
    fixture.deliver(&events, NOW).await.unwrap();
    assert_eq!(fixture.faults.calls(), ["Query", "Query", "PutItem"]);
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
    assert_eq!(fixture.faults.calls(), ["Query", "Query", "PutItem"]);
    assert_eq!(fixture.seen("a").await, "subscribed o1 o2");
}

#[tokio::test]
async fn events_whose_order_cannot_be_stored_are_all_retried_and_pushed_again() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    let events = [1, 2, 3].map(|version| ordered(&order, &anna, version).to_string());
    fixture.faults.refuse("PutItem", MAX_ATTEMPTS);
    assert_eq!(fixture.deliver(&events, NOW).await, Err(Failed(3)));
    fixture.deliver(&events, NOW).await.unwrap();
    fixture.deliver(&events, NOW).await.unwrap();
    assert_eq!(fixture.seen("a").await, "subscribed o1 o2 o3 o1 o2 o3");
}

#[tokio::test]
async fn events_before_one_that_fails_are_stored_and_not_retried() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    let [first, second, last] = [1, 2, 3].map(|version| ordered(&order, &anna, version).to_string());
    let unreadable = "{}".to_owned();
    assert_eq!(
        fixture.deliver(&[first.clone(), second.clone(), unreadable, last], NOW).await,
        Err(Failed(2))
    );
    fixture.deliver(&[first, second], NOW).await.unwrap();
    assert_eq!(fixture.seen("a").await, "subscribed o1 o2");
}

#[tokio::test]
async fn events_before_a_subscription_that_cannot_be_stored_are_retried_with_it() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    fixture.invoke_subscribe("a", &order, None).await;
    let command = fixture.queued_commands().await.pop().unwrap();
    let [first, second] = [1, 2].map(|version| ordered(&order, &anna, version).to_string());
    fixture.faults.refuse("PutItem", 2 * MAX_ATTEMPTS);
    assert_eq!(fixture.deliver(&[first, command, second], NOW).await, Err(Failed(3)));
}

#[tokio::test]
async fn a_connection_that_misses_the_second_event_of_a_batch_gets_it_with_the_retry_and_the_first_one_once()
{
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a", "b"], &anna, &order).await;
    let events = [1, 2, 3].map(|version| ordered(&order, &anna, version).to_string());
    let left = fixture.throttle("a").await;
    fixture.deliver(&events[..1], NOW).await.unwrap();
    left.store(u64::MAX, SeqCst);
    assert_eq!(fixture.deliver(&events[1..], NOW).await, Err(Failed(2)));
    left.store(0, SeqCst);
    let before = fixture.seen("a").await;
    fixture.deliver(&events[1..], NOW).await.unwrap();
    assert_eq!(fixture.seen("a").await, format!("{before} o2 o3"));
    assert_eq!(fixture.seen("b").await, "subscribed o1 o2 o3");
}

#[tokio::test]
async fn a_subscription_between_the_events_of_a_batch_gets_those_behind_it() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.connect("a", &anna).await;
    fixture.invoke_subscribe("a", &order, None).await;
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

#[tokio::test]
async fn a_buffer_of_the_version_before_short_frames_is_replayed() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap();
    let mut buffer = fixture.buffer(&order).await;
    assert!(buffer.remove("short_frames").is_some());
    let frame = json!([{
        "type": "order", "order_id": order, "version": 1, "status": "OrderCreated", "event_type": "order.created",
        "occurred_at": "2027-01-15T08:00:00Z", "correlation_id": "c",
    }]);
    buffer.insert("frames".to_owned(), string(frame.to_string()));
    fixture.table.put("a buffer in full", buffer).await.unwrap();

    fixture.event(&ordered(&order, &anna, 2)).await.unwrap();
    fixture.connect("a", &anna).await;
    fixture.subscribe("a", &order, Some(0)).await;
    assert_eq!(fixture.seen("a").await, "subscribed o1 o2");
}

/// The version before short frames may get the event again, and must find it.
#[tokio::test]
async fn a_buffer_with_an_undelivered_event_is_stored_in_full() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    fixture.fail_post_and_close("a", 2).await;
    let event = ordered(&order, &anna, 1);
    fixture.event(&event).await.unwrap_err();
    let buffer = fixture.buffer(&order).await;
    assert!(buffer["frames"].as_s().unwrap().contains("order.created"));
    assert!(!buffer.contains_key("short_frames"));

    fixture.event(&event).await.unwrap();
    let buffer = fixture.buffer(&order).await;
    assert_eq!(buffer["frames"].as_s().unwrap(), "[]");
    assert!(fixture.seen("a").await.ends_with("o1"));
}
