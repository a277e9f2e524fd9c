//! Connections that are gone, slow, throttled or past their time, and what becomes of the others.

use super::*;

#[tokio::test]
async fn a_gone_connection_is_deleted_at_once_and_is_no_failure() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let (first, second) = (order_of(&anna, "1"), order_of(&anna, "2"));
    fixture.connect("here", &anna).await;
    fixture.subscribe("here", &first, None).await;
    let store = Store::new(fixture.table.clone());
    fixture.connect("gone", &anna).await;
    fixture.send("here", &json!({"action": "subscribe"})).await;
    // Its subscriptions took effect while it was there still.
    for order in [&first, &second] {
        let subscriber = store.connection("gone", NOW).await.unwrap().unwrap();
        store.take_slot("gone", order, NOW).await.unwrap();
        store.subscribe(order, &subscriber).await.unwrap();
    }
    fixture.event(&ordered(&first, &anna, 1)).await.unwrap();
    assert!(fixture.seen("here").await.ends_with("o1"));
    assert_eq!(fixture.items().await, ["CONN#here", "CONNECTION", "SUB#here"]);
}

#[tokio::test]
async fn a_connection_that_cannot_be_posted_to_is_closed_and_delays_no_other() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a", "b"], &anna, &order).await;
    fixture.fail("POST", "a", None).await;
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap();
    fixture.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!(fixture.seen("b").await, "subscribed o1 o2");
    assert_eq!(fixture.closed().await, ["a"]);

    // Its client comes back, and has no hole.
    fixture.connect("a2", &anna).await;
    fixture.subscribe("a2", &order, Some(0)).await;
    assert_eq!(fixture.seen("a2").await, "subscribed o1 o2");
}

#[tokio::test]
async fn an_event_is_retried_only_for_connections_that_could_neither_be_posted_to_nor_closed() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap();
    fixture.follow(&["a", "b"], &anna, &order).await;
    fixture.fail_post_and_close("a", 2).await;
    fixture.event(&ordered(&order, &anna, 3)).await.unwrap_err();
    assert_eq!(fixture.seen("b").await, "subscribed -1 o3");
    let before = fixture.seen("a").await;

    fixture.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(fixture.seen("a").await, format!("{before} -1 o3"), "the gap is announced to it, too");
    assert_eq!(fixture.seen("b").await, "subscribed -1 o3", "once is enough");
    fixture.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(fixture.seen("a").await, format!("{before} -1 o3"), "and it is settled");
}

#[tokio::test]
async fn a_throttled_post_is_repeated_and_closes_no_connection() {
    let fixture = Fixture::open().await;
    let anna = UserId::generate();
    let order = order_of(&anna, "one");
    fixture.follow(&["c1", "c2"], &anna, &order).await;
    let left = fixture.throttle("c1").await;
    left.store(3, SeqCst);
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap();
    assert_eq!(fixture.seen("c1").await, "subscribed o1 o1 o1 o1", "three were throttled");

    // For longer than one invocation waits.
    left.store(u64::MAX, SeqCst);
    fixture.event(&ordered(&order, &anna, 2)).await.unwrap_err();
    left.store(0, SeqCst);
    assert!(fixture.closed().await.is_empty());
    let before = fixture.seen("c1").await;
    fixture.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!(fixture.seen("c1").await, format!("{before} o2"));
    assert_eq!(fixture.seen("c2").await, "subscribed o1 o2");
}

#[tokio::test]
async fn a_follower_item_of_a_gone_connection_is_deleted_at_the_first_post() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.connect("gone", &anna).await;
    let store = Store::new(fixture.table.clone());
    store.follow_all(&store.connection("gone", NOW).await.unwrap().unwrap()).await.unwrap();
    let delete = fixture.table.client.delete_item().table_name(&fixture.table.name);
    delete.set_key(Some(key("CONNECTION#gone", "CONNECTION"))).send().await.unwrap();
    fixture.event(&ordered(&order_of(&anna, "1"), &anna, 1)).await.unwrap();
    assert_eq!(fixture.items().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_connection_that_missed_an_event_is_closed_before_the_next_one() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a", "b"], &anna, &order).await;
    fixture.fail_post_and_close("a", 2).await;
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap_err();
    let before = fixture.seen("a").await;
    // The first event went to the dead-letter queue.
    fixture.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!((fixture.seen("a").await, fixture.seen("b").await), (before, "subscribed o1 o2".to_owned()));
    assert!(fixture.closed().await.contains(&"a".to_owned()));
}

#[tokio::test]
async fn a_connection_that_could_not_be_closed_is_closed_with_the_retry_and_gets_no_frame_behind_a_hole() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a", "b"], &anna, &order).await;
    fixture.fail_post_and_close("a", 2).await;
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap_err();
    let before = fixture.seen("a").await;
    // The first event went to the dead-letter queue, and with the second one the connection cannot be closed.
    fixture.fail("DELETE", "a", Some(2)).await;
    fixture.event(&ordered(&order, &anna, 2)).await.unwrap_err();
    fixture.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!((fixture.seen("a").await, fixture.seen("b").await), (before, "subscribed o1 o2".to_owned()));
    assert_eq!(fixture.items().await, ["CONN#b", "CONNECTION", "SUB#b"]);
}

#[tokio::test]
async fn a_connection_behind_its_replay_that_could_not_be_closed_is_closed_with_the_retry() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.connect("a", &anna).await;
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap();
    fixture.fail("POST", "a", None).await;
    // The subscription, and then the order's last event.
    fixture.fail("DELETE", "a", Some(4)).await;
    fixture.invoke_subscribe("a", &order, Some(0)).await;
    let command = fixture.queued_commands().await.pop().unwrap();
    fixture.deliver(&[command], NOW).await.unwrap_err();
    fixture.event(&ordered(&order, &anna, 2)).await.unwrap_err();
    fixture.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!(fixture.items().await, Vec::<String>::new());
}

/// Seed 1000 of the storms: the subscription went to the dead-letter queue, and its client saw version 4 after 2.
#[tokio::test]
async fn a_connection_that_got_a_part_of_its_replay_gets_no_later_frames_before_the_rest() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    for connection in ["by-order", "by-all"] {
        fixture.connect(connection, &anna).await;
    }
    fixture.send("by-all", &json!({"action": "subscribe"})).await;
    for version in 1..=2 {
        fixture.event(&ordered(&order, &anna, version)).await.unwrap();
    }
    for connection in ["by-order", "by-all"] {
        // The subscription and the first frame are posted, and the second one is not.
        fixture.fail_post_after(connection, 2).await;
        fixture.fail("DELETE", connection, None).await;
        fixture.invoke_subscribe(connection, &order, Some(0)).await;
        let command = fixture.queued_commands().await.pop().unwrap();
        fixture.deliver(&[command], NOW).await.unwrap_err();
    }
    let seen = async || [fixture.seen("by-order").await, fixture.seen("by-all").await];
    let before = seen().await;
    for version in 3..=4 {
        // With its retry.
        for _ in 0..2 {
            fixture.event(&ordered(&order, &anna, version)).await.unwrap_err();
        }
    }
    assert_eq!(seen().await, before);
}

/// Seed 20000014 of the storms: its client saw version 5 after 0.
#[tokio::test]
async fn a_connection_whose_function_died_during_the_replay_gets_no_later_frames() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.connect("a", &anna).await;
    for version in 1..=2 {
        fixture.event(&ordered(&order, &anna, version)).await.unwrap();
    }
    fixture.hang_post("a").await;
    fixture.invoke_subscribe("a", &order, Some(0)).await;
    let commands = [fixture.queued_commands().await.pop().unwrap()];
    let posted = async {
        while fixture.seen("a").await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    // The function waits for the first answer, and never gets it.
    tokio::select! {
        delivered = fixture.deliver(&commands, NOW) => panic!("{delivered:?}"),
        () = posted => {}
    }
    fixture.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(fixture.seen("a").await, "subscribed");
    assert_eq!(fixture.closed().await, ["a"]);
}

#[tokio::test]
async fn a_late_event_does_not_hide_that_a_connection_missed_another_one() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a", "b"], &anna, &order).await;
    fixture.fail_post_and_close("a", 2).await;
    fixture.event(&ordered(&order, &anna, 2)).await.unwrap_err();
    let before = fixture.seen("a").await;
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap();
    fixture.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(
        (fixture.seen("a").await, fixture.seen("b").await),
        (before, "subscribed -1 o2 o3".to_owned())
    );
    assert!(fixture.closed().await.contains(&"a".to_owned()));
}

#[tokio::test]
async fn an_order_with_five_hundred_connections_reaches_each_once_and_a_dead_one_delays_none() {
    const CONNECTIONS: usize = 500;
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    let store = Store::new(fixture.table.clone());
    for i in 0..CONNECTIONS {
        let connection_id = if i % 50 == 0 { format!("gone{i}") } else { format!("c{i}") };
        let subscriber = json!({
            "connection_id": connection_id, "user_id": anna, "admin": false, "expires_at": NOW + HOUR,
        });
        store.subscribe(&order, &serde_json::from_value(subscriber).unwrap()).await.unwrap();
    }
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap();
    let requests = fixture.gateway.received_requests().await.unwrap();
    let mut posts: Vec<&str> = requests.iter().map(|request| request.url.path()).collect();
    posts.sort_unstable();
    posts.dedup();
    assert_eq!((posts.len(), requests.len()), (CONNECTIONS, CONNECTIONS));
    assert_eq!(
        fixture.items().await.len(),
        CONNECTIONS - CONNECTIONS / 50,
        "those that are gone are cleaned up"
    );
}

#[tokio::test]
async fn a_user_with_ten_connections_sees_an_order_on_each_and_dead_ones_delay_none() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    let connections: Vec<String> = (0..10).map(|i| format!("c{i}")).collect();
    for (i, connection) in connections.iter().enumerate() {
        fixture.connect(connection, &anna).await;
        // As browsers do: one page of an order, and one of all of them.
        let order_id = (i % 2 == 0).then_some(&order);
        fixture.send(connection, &json!({"action": "subscribe", "order_id": order_id})).await;
    }
    for dead in ["c3", "c4"] {
        fixture.fail("POST", dead, None).await;
    }
    for version in 1..=3 {
        fixture.event(&ordered(&order, &anna, version)).await.unwrap();
    }
    for connection in connections.iter().filter(|connection| !["c3", "c4"].contains(&connection.as_str())) {
        assert_eq!(fixture.seen(connection).await, "subscribed o1 o2 o3", "{connection}");
    }
    assert_eq!(fixture.closed().await, ["c3", "c4"]);
}

#[tokio::test]
async fn an_expired_connection_is_closed_and_gets_nothing() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a"], &anna, &order).await;
    fixture.event_at(&ordered(&order, &anna, 1), NOW + 2 * HOUR).await.unwrap();
    assert_eq!(fixture.seen("a").await, "subscribed");
    assert_eq!(fixture.items().await, Vec::<String>::new());
    let requests = fixture.gateway.received_requests().await.unwrap();
    assert!(requests.iter().any(|r| r.method == "DELETE" && r.url.path() == "/live/@connections/a"));
}
