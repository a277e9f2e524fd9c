//! Connections that are gone, slow, throttled or past their time, and what becomes of the others.

use super::*;

#[tokio::test]
async fn a_connection_that_is_gone_is_cleaned_up_at_once_and_is_no_failure() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let (first, second) = (order_of(&anna, "1"), order_of(&anna, "2"));
    hub.connect("here", &anna, "").await;
    hub.subscribe("here", &first, None).await;
    let store = Store::new(hub.table.clone());
    hub.connect("gone", &anna, "").await;
    hub.send("here", &json!({"action": "subscribe"})).await;
    // Its subscriptions took effect while it was there still.
    for order in [&first, &second] {
        let subscriber = store.connection("gone", NOW).await.unwrap().unwrap();
        store.take_slot("gone", order, NOW).await.unwrap();
        store.subscribe(order, &subscriber).await.unwrap();
    }
    hub.event(&ordered(&first, &anna, 1)).await.unwrap();
    assert!(hub.seen("here").await.ends_with("o1"));
    assert_eq!(hub.items().await, ["CONN#here", "CONNECTION", "SUB#here"]);
}

#[tokio::test]
async fn a_connection_that_cannot_be_posted_to_is_closed_and_holds_nobody_up() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.follow(&["a", "b"], &anna, &order).await;
    hub.fail("POST", "a", None).await;
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    hub.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!(hub.seen("b").await, "subscribed o1 o2");
    assert_eq!(hub.closed().await, ["a"]);

    // Its client comes back, and has no hole.
    hub.connect("a2", &anna, "").await;
    hub.subscribe("a2", &order, Some(0)).await;
    assert_eq!(hub.seen("a2").await, "subscribed o1 o2");
}

#[tokio::test]
async fn an_event_comes_again_only_for_those_that_could_neither_be_posted_to_nor_closed() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    hub.follow(&["a", "b"], &anna, &order).await;
    hub.lose("a", 2).await;
    hub.event(&ordered(&order, &anna, 3)).await.unwrap_err();
    assert_eq!(hub.seen("b").await, "subscribed -1 o3");
    let before = hub.seen("a").await;

    hub.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(hub.seen("a").await, format!("{before} -1 o3"), "the gap is announced to it, too");
    assert_eq!(hub.seen("b").await, "subscribed -1 o3", "once is enough");
    hub.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(hub.seen("a").await, format!("{before} -1 o3"), "and it is settled");
}

#[tokio::test]
async fn a_throttled_post_is_repeated_and_closes_no_connection() {
    let hub = Hub::open().await;
    let anna = UserId::generate();
    let order = order_of(&anna, "one");
    hub.follow(&["c1", "c2"], &anna, &order).await;
    let left = hub.throttle("c1").await;
    left.store(3, SeqCst);
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    assert_eq!(hub.seen("c1").await, "subscribed o1 o1 o1 o1", "three were throttled");

    // For longer than one invocation waits.
    left.store(u64::MAX, SeqCst);
    hub.event(&ordered(&order, &anna, 2)).await.unwrap_err();
    left.store(0, SeqCst);
    assert!(hub.closed().await.is_empty());
    let before = hub.seen("c1").await;
    hub.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!(hub.seen("c1").await, format!("{before} o2"));
    assert_eq!(hub.seen("c2").await, "subscribed o1 o2");
}

#[tokio::test]
async fn what_is_left_of_a_connection_under_its_user_goes_with_the_first_post() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("gone", &anna, "").await;
    let store = Store::new(hub.table.clone());
    store.follow_all(&store.connection("gone", NOW).await.unwrap().unwrap()).await.unwrap();
    let delete = hub.table.client.delete_item().table_name(&hub.table.name);
    delete.set_key(Some(key("CONNECTION#gone", "CONNECTION"))).send().await.unwrap();
    hub.event(&ordered(&order_of(&anna, "1"), &anna, 1)).await.unwrap();
    assert_eq!(hub.items().await, Vec::<String>::new());
}

#[tokio::test]
async fn whoever_missed_an_event_for_good_is_closed_before_the_next_one() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.follow(&["a", "b"], &anna, &order).await;
    hub.lose("a", 2).await;
    hub.event(&ordered(&order, &anna, 1)).await.unwrap_err();
    let before = hub.seen("a").await;
    // The first event went to the dead-letter queue.
    hub.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!((hub.seen("a").await, hub.seen("b").await), (before, "subscribed o1 o2".to_owned()));
    assert!(hub.closed().await.contains(&"a".to_owned()));
}

#[tokio::test]
async fn an_order_with_five_hundred_connections_reaches_each_once_and_a_dead_one_delays_none() {
    const CONNECTIONS: usize = 500;
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    let store = Store::new(hub.table.clone());
    for i in 0..CONNECTIONS {
        let connection_id = if i % 50 == 0 { format!("gone{i}") } else { format!("c{i}") };
        let subscriber = json!({
            "connection_id": connection_id, "user_id": anna, "admin": false, "expires_at": NOW + HOUR,
        });
        store.subscribe(&order, &serde_json::from_value(subscriber).unwrap()).await.unwrap();
    }
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    let requests = hub.gateway.received_requests().await.unwrap();
    let mut posts: Vec<&str> = requests.iter().map(|request| request.url.path()).collect();
    posts.sort_unstable();
    posts.dedup();
    assert_eq!((posts.len(), requests.len()), (CONNECTIONS, CONNECTIONS));
    assert_eq!(hub.items().await.len(), CONNECTIONS - CONNECTIONS / 50, "those that are gone are cleaned up");
}

#[tokio::test]
async fn a_user_with_ten_connections_sees_an_order_on_each_and_the_dead_ones_hold_up_none() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    let connections: Vec<String> = (0..10).map(|i| format!("c{i}")).collect();
    for (i, connection) in connections.iter().enumerate() {
        hub.connect(connection, &anna, "").await;
        // As browsers do: one page of an order, and one of all of them.
        let order_id = (i % 2 == 0).then_some(&order);
        hub.send(connection, &json!({"action": "subscribe", "order_id": order_id})).await;
    }
    for dead in ["c3", "c4"] {
        hub.fail("POST", dead, None).await;
    }
    for version in 1..=3 {
        hub.event(&ordered(&order, &anna, version)).await.unwrap();
    }
    for connection in connections.iter().filter(|connection| !["c3", "c4"].contains(&connection.as_str())) {
        assert_eq!(hub.seen(connection).await, "subscribed o1 o2 o3", "{connection}");
    }
    assert_eq!(hub.closed().await, ["c3", "c4"]);
}

#[tokio::test]
async fn a_user_who_is_deleted_is_disconnected_and_does_not_come_back() {
    let (hub, anna, ben) = (Hub::open().await, UserId::generate(), UserId::generate());
    let order = order_of(&anna, "1");
    hub.follow(&["a1", "a2"], &anna, &order).await;
    hub.connect("b", &ben, "").await;
    hub.event(&json!({
        "event_id": EventId::derive("users", anna.as_str(), 2), "event_type": "user.deleted", "event_version": 1,
        "occurred_at": "2026-11-20T12:00:00Z", "source": "users", "subject": anna, "sequence": 2,
        "correlation_id": "c", "causation_id": "c", "data": {"user_id": anna},
        "metadata": {"user_id": anna, "tenant_id": null}
    }))
    .await
    .unwrap();
    assert_eq!(hub.closed().await, ["a1", "a2"]);
    assert_eq!(hub.items().await, ["BARRED", "CONN#b", "CONNECTION"]);

    // With a ticket from before.
    assert_eq!(hub.try_connect("a3", &anna).await, 403);
    assert_eq!(hub.try_connect("b2", &ben).await, 200);
}

#[tokio::test]
async fn a_connection_past_its_time_is_closed_and_gets_nothing() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.follow(&["a"], &anna, &order).await;
    hub.event_at(&ordered(&order, &anna, 1), NOW + 2 * HOUR).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed");
    assert_eq!(hub.items().await, Vec::<String>::new());
    let requests = hub.gateway.received_requests().await.unwrap();
    assert!(requests.iter().any(|r| r.method == "DELETE" && r.url.path() == "/live/@connections/a"));
}
