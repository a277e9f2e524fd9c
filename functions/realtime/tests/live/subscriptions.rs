//! Which frames a user sees, and which requests a client may send.

use super::*;

#[tokio::test]
async fn an_order_is_seen_by_its_owner_and_by_administrators_only() {
    let (hub, anna, ben) = (Hub::open().await, UserId::generate(), UserId::generate());
    let order = order_of(&anna, "1");
    for (connection, user, roles) in [("a", &anna, ""), ("b", &ben, ""), ("root", &ben, "admin")] {
        hub.connect(connection, user, roles).await;
        hub.subscribe(connection, &order, None).await;
    }
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    hub.event(&paid(&order, &anna, 1)).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed o1 p1");
    assert_eq!(hub.seen("b").await, "subscribed", "he asked before anybody knew whose order it is");
    assert_eq!(hub.seen("root").await, "subscribed o1 p1");

    hub.subscribe("b", &order, Some(0)).await;
    assert_eq!(hub.seen("b").await, "subscribed not_found");
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_and_then_what_is_new() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    for event in [ordered(&order, &anna, 1), ordered(&order, &anna, 2), paid(&order, &anna, 1)] {
        hub.event(&event).await.unwrap();
    }
    hub.connect("a", &anna, "").await;
    hub.subscribe("a", &order, Some(1)).await;
    hub.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed o2 p1 o3");

    hub.connect("live", &anna, "").await;
    hub.subscribe("live", &order, None).await;
    hub.event(&ordered(&order, &anna, 5)).await.unwrap();
    assert_eq!(hub.seen("live").await, "subscribed -1 o5");
}

#[tokio::test]
async fn one_subscription_can_be_for_all_of_a_users_orders_and_sends_nothing_twice() {
    let (hub, anna, ben) = (Hub::open().await, UserId::generate(), UserId::generate());
    let (first, second, other) = (order_of(&anna, "1"), order_of(&anna, "2"), order_of(&ben, "1"));
    hub.connect("a", &anna, "").await;
    hub.send("a", &json!({"action": "subscribe"})).await;
    hub.subscribe("a", &first, None).await;
    hub.event(&ordered(&first, &anna, 1)).await.unwrap();
    hub.event(&ordered(&second, &anna, 1)).await.unwrap();
    hub.event(&ordered(&other, &ben, 1)).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed subscribed o1 o1");

    hub.send("a", &json!({"action": "unsubscribe"})).await;
    hub.event(&ordered(&second, &anna, 2)).await.unwrap();
    hub.event(&ordered(&first, &anna, 2)).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed subscribed o1 o1 unsubscribed o2");
}

#[tokio::test]
async fn unsubscribing_ends_it_and_gives_the_slot_back() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("a", &anna, "").await;
    for i in 0..20 {
        hub.subscribe("a", &order_of(&anna, &i.to_string()), None).await;
    }
    let one_more = order_of(&anna, "more");
    hub.subscribe("a", &one_more, None).await;
    assert!(hub.seen("a").await.ends_with("subscribed too_many_subscriptions"));
    hub.subscribe("a", &order_of(&anna, "0"), None).await;
    assert!(hub.seen("a").await.ends_with("too_many_subscriptions subscribed"), "it has this one already");

    let first = order_of(&anna, "0");
    hub.send("a", &json!({"action": "unsubscribe", "order_id": first})).await;
    hub.subscribe("a", &one_more, None).await;
    hub.event(&ordered(&first, &anna, 1)).await.unwrap();
    assert!(hub.seen("a").await.ends_with("unsubscribed subscribed"));
}

#[tokio::test]
async fn a_connection_that_leaves_leaves_nothing_behind() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("a", &anna, "").await;
    hub.send("a", &json!({"action": "subscribe"})).await;
    for i in 0..20 {
        hub.subscribe("a", &order_of(&anna, &i.to_string()), None).await;
    }
    assert_eq!(hub.items().await.len(), 22);
    hub.disconnect("a").await;
    assert_eq!(hub.items().await, Vec::<String>::new());
    hub.disconnect("a").await;
}

/// Its `$disconnect` overtook its wish to follow all orders.
#[tokio::test]
async fn a_connection_that_has_left_does_not_follow_all_orders() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("a", &anna, "").await;
    let store = Store::new(hub.table.clone());
    let subscriber = store.connection("a", NOW).await.unwrap().unwrap();
    hub.disconnect("a").await;
    assert!(!store.follow_all(&subscriber).await.unwrap());
    assert!(!store.unfollow_all(&subscriber).await.unwrap());
    assert_eq!(hub.items().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_connection_that_is_not_known_is_told_to_connect_again() {
    let hub = Hub::open().await;
    let order = order_of(&UserId::generate(), "1");
    hub.subscribe("stranger", &order, None).await;
    hub.send("stranger", &json!({"action": "subscribe"})).await;
    assert_eq!(hub.seen("stranger").await, "bad_request bad_request");
    assert_eq!(hub.items().await, Vec::<String>::new());
}

#[tokio::test]
async fn frames_that_make_no_sense_are_answered_and_the_connection_stays() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("a", &anna, "").await;
    hub.invoke("MESSAGE", "a", NOW, &json!({}), Some("hello".to_owned())).await;
    hub.send("a", &json!({"action": "buy"})).await;
    hub.send("a", &json!({"action": "ping"})).await;
    assert_eq!(hub.seen("a").await, "bad_request unknown_action pong");
}

#[tokio::test]
async fn without_an_identity_nobody_is_connected() {
    let hub = Hub::open().await;
    let context = json!({"eventType": "CONNECT", "connectionId": "a", "requestId": "r"});
    hub.socket.handle(&json!({"requestContext": context}).to_string(), NOW).await.unwrap_err();
    assert_eq!(hub.items().await, Vec::<String>::new());
}
