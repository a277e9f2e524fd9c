//! Which frames a user sees, and which requests a client may send.

use super::*;

#[tokio::test]
async fn an_order_is_seen_by_its_owner_and_by_administrators_only() {
    let (fixture, anna, ben) = (Fixture::open().await, UserId::generate(), UserId::generate());
    let order = order_of(&anna, "1");
    for (connection, user, admin) in [("a", &anna, false), ("b", &ben, false), ("root", &ben, true)] {
        let identity = identity(user, &SessionId::generate(), admin);
        assert_eq!(fixture.try_connect_as(connection, &identity, NOW).await, 200);
        fixture.subscribe(connection, &order, None).await;
    }
    fixture.event(&ordered(&order, &anna, 1)).await.unwrap();
    fixture.event(&paid(&order, &anna, 1)).await.unwrap();
    assert_eq!(fixture.seen("a").await, "subscribed o1 p1");
    assert_eq!(fixture.seen("b").await, "subscribed", "it subscribed before the owner was known");
    assert_eq!(fixture.seen("root").await, "subscribed o1 p1");

    fixture.subscribe("b", &order, Some(0)).await;
    assert_eq!(fixture.seen("b").await, "subscribed not_found");
}

#[tokio::test]
async fn a_client_that_reconnects_gets_the_missed_frames_and_then_new_ones() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    for event in [ordered(&order, &anna, 1), ordered(&order, &anna, 2), paid(&order, &anna, 1)] {
        fixture.event(&event).await.unwrap();
    }
    fixture.connect("a", &anna).await;
    fixture.subscribe("a", &order, Some(1)).await;
    fixture.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(fixture.seen("a").await, "subscribed o2 p1 o3");

    fixture.connect("live", &anna).await;
    fixture.subscribe("live", &order, None).await;
    fixture.event(&ordered(&order, &anna, 5)).await.unwrap();
    assert_eq!(fixture.seen("live").await, "subscribed -1 o5");
}

#[tokio::test]
async fn one_subscription_can_be_for_all_of_a_users_orders_and_sends_nothing_twice() {
    let (fixture, anna, ben) = (Fixture::open().await, UserId::generate(), UserId::generate());
    let (first, second, other) = (order_of(&anna, "1"), order_of(&anna, "2"), order_of(&ben, "1"));
    fixture.connect("a", &anna).await;
    fixture.send("a", &json!({"action": "subscribe"})).await;
    fixture.subscribe("a", &first, None).await;
    fixture.event(&ordered(&first, &anna, 1)).await.unwrap();
    fixture.event(&ordered(&second, &anna, 1)).await.unwrap();
    fixture.event(&ordered(&other, &ben, 1)).await.unwrap();
    assert_eq!(fixture.seen("a").await, "subscribed subscribed o1 o1");

    fixture.send("a", &json!({"action": "unsubscribe"})).await;
    fixture.event(&ordered(&second, &anna, 2)).await.unwrap();
    fixture.event(&ordered(&first, &anna, 2)).await.unwrap();
    assert_eq!(fixture.seen("a").await, "subscribed subscribed o1 o1 unsubscribed o2");
}

#[tokio::test]
async fn unsubscribing_stops_the_frames_and_frees_the_slot() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.connect("a", &anna).await;
    for i in 0..20 {
        fixture.subscribe("a", &order_of(&anna, &i.to_string()), None).await;
    }
    let one_more = order_of(&anna, "more");
    fixture.subscribe("a", &one_more, None).await;
    assert!(fixture.seen("a").await.ends_with("subscribed too_many_subscriptions"));
    fixture.subscribe("a", &order_of(&anna, "0"), None).await;
    assert!(
        fixture.seen("a").await.ends_with("too_many_subscriptions subscribed"),
        "it has this one already"
    );

    let first = order_of(&anna, "0");
    fixture.send("a", &json!({"action": "unsubscribe", "order_id": first})).await;
    fixture.subscribe("a", &one_more, None).await;
    fixture.event(&ordered(&first, &anna, 1)).await.unwrap();
    assert!(fixture.seen("a").await.ends_with("unsubscribed subscribed"));
}

#[tokio::test]
async fn a_disconnect_deletes_all_items_of_the_connection() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.connect("a", &anna).await;
    fixture.send("a", &json!({"action": "subscribe"})).await;
    for i in 0..20 {
        fixture.subscribe("a", &order_of(&anna, &i.to_string()), None).await;
    }
    assert_eq!(fixture.items().await.len(), 22);
    fixture.disconnect("a").await;
    assert_eq!(fixture.items().await, Vec::<String>::new());
    fixture.disconnect("a").await;
}

/// Its `$disconnect` overtook its wish to follow all orders.
#[tokio::test]
async fn a_connection_that_has_ended_cannot_follow_all_orders() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.connect("a", &anna).await;
    let store = Store::new(fixture.table.clone());
    let subscriber = store.connection("a", NOW).await.unwrap().unwrap();
    fixture.disconnect("a").await;
    assert!(!store.follow_all(&subscriber).await.unwrap());
    assert!(!store.unfollow_all(&subscriber).await.unwrap());
    assert_eq!(fixture.items().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_unknown_connection_must_connect_again() {
    let fixture = Fixture::open().await;
    let order = order_of(&UserId::generate(), "1");
    fixture.subscribe("stranger", &order, None).await;
    fixture.send("stranger", &json!({"action": "subscribe"})).await;
    assert_eq!(fixture.seen("stranger").await, "bad_request bad_request");
    assert_eq!(fixture.items().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_invalid_frame_gets_an_error_and_the_connection_stays_open() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.connect("a", &anna).await;
    fixture.invoke("MESSAGE", "a", NOW, &json!({}), Some("hello".to_owned())).await;
    fixture.send("a", &json!({"action": "buy"})).await;
    fixture.send("a", &json!({"action": "ping"})).await;
    assert_eq!(fixture.seen("a").await, "bad_request unknown_action pong");
}

#[tokio::test]
async fn a_connect_without_an_identity_fails() {
    let fixture = Fixture::open().await;
    let context = json!({"eventType": "CONNECT", "connectionId": "a", "requestId": "r"});
    fixture.socket.handle(&json!({"requestContext": context}).to_string(), NOW).await.unwrap_err();
    assert_eq!(fixture.items().await, Vec::<String>::new());
}
