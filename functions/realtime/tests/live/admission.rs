//! Who may connect, and whose connections are closed.

use lambda_kit::jwt::Audience;

use super::*;

/// Connections that a user may have.
const MOST: usize = 20;

/// The time of the events of this module.
const THEN: i64 = NOW - 60;

/// An event of a user's account or session, a minute before `NOW`.
fn told(event_type: &str, subject: &str, sequence: u64, data: Value) -> Value {
    json!({
        "event_id": EventId::derive("users", &format!("{event_type} {subject}"), sequence), "event_type": event_type,
        "event_version": 1, "occurred_at": jiff::Timestamp::from_second(THEN).unwrap(), "source": "users",
        "subject": subject, "sequence": sequence, "correlation_id": "c", "causation_id": "c", "data": data,
        "metadata": {"user_id": null, "tenant_id": null}
    })
}

fn account(event_type: &str, user: &UserId, version: u64) -> Value {
    told(event_type, user.as_str(), version, json!({"user_id": user}))
}

fn ended(session: &SessionId, user: &UserId) -> Value {
    told("session.ended", session.as_str(), 1, json!({"session_id": session, "user_id": user}))
}

#[tokio::test]
async fn a_deleted_user_is_disconnected_and_cannot_connect_again() {
    let (fixture, anna, ben) = (Fixture::open().await, UserId::generate(), UserId::generate());
    let order = order_of(&anna, "1");
    fixture.follow(&["a1", "a2"], &anna, &order).await;
    fixture.connect("b", &ben).await;
    fixture.event(&account("user.deleted", &anna, 2)).await.unwrap();
    assert_eq!(fixture.closed().await, ["a1", "a2"]);
    assert_eq!(fixture.items().await, ["BARRED", "CONN#b", "CONNECTION"]);

    // With a ticket from before.
    assert_eq!(fixture.try_connect("a3", &anna).await, 403);
    assert_eq!(fixture.try_connect("b2", &ben).await, 200);
}

#[tokio::test]
async fn a_suspended_user_is_disconnected_and_connects_again_once_restored() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.connect("a1", &anna).await;
    fixture.event(&account("user.suspended", &anna, 2)).await.unwrap();
    assert_eq!(fixture.closed().await, ["a1"]);
    assert_eq!(fixture.try_connect("a2", &anna).await, 403);
    fixture.event(&account("user.restored", &anna, 3)).await.unwrap();
    fixture.connect("a3", &anna).await;

    // An older event that was in the dead-letter queue.
    fixture.event(&account("user.suspended", &anna, 2)).await.unwrap();
    assert_eq!(fixture.closed().await, ["a1"]);
    fixture.connect("a4", &anna).await;
}

#[tokio::test]
async fn an_event_is_delivered_again_until_its_connections_are_closed() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.connect("a", &anna).await;
    // Each try of a close is repeated once by the SDK.
    fixture.fail("DELETE", "a", Some(2)).await;
    let suspended = account("user.suspended", &anna, 2);
    fixture.event(&suspended).await.unwrap_err();
    assert_eq!(fixture.items().await, ["BARRED", "CONN#a", "CONNECTION"]);
    fixture.faults.lose_answers("PutItem", 1);
    fixture.event(&suspended).await.unwrap();
    assert_eq!(fixture.items().await, ["BARRED"]);
}

#[tokio::test]
async fn the_end_of_a_session_closes_its_connections_and_no_others() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let (phone, laptop) = (SessionId::generate(), SessionId::generate());
    for (connection, session) in [("p1", &phone), ("p2", &phone), ("l", &laptop)] {
        assert_eq!(fixture.try_connect_in(connection, &anna, session).await, 200);
    }
    for _ in 0..2 {
        fixture.event(&ended(&phone, &anna)).await.unwrap();
    }
    assert_eq!(fixture.closed().await, ["p1", "p2"]);
    assert_eq!(fixture.items().await, ["CONN#l", "CONNECTION", "ENDED"]);

    // With a ticket from before.
    assert_eq!(fixture.try_connect_in("p3", &anna, &phone).await, 403);
    assert_eq!(fixture.try_connect_in("l2", &anna, &laptop).await, 200);
}

#[tokio::test]
async fn marks_are_kept_as_long_as_a_ticket_from_before_may_be_good() {
    let (fixture, anna, session) = (Fixture::open().await, UserId::generate(), SessionId::generate());
    fixture.event(&account("user.suspended", &anna, 2)).await.unwrap();
    fixture.event(&ended(&session, &anna)).await.unwrap();
    let scan = fixture.table.client.scan().table_name(&fixture.table.name).send().await.unwrap();
    let expiries = scan.items().iter().map(|item| item["expires_at"].as_n().unwrap().parse::<i64>().unwrap());
    // A token, a ticket of its last second, and a minute for clocks.
    let until = THEN + Audience::Api.lifetime() + 60 + 60;
    assert_eq!(Vec::from_iter(expiries), [until, until]);

    // DynamoDB deletes an item days after its time.
    assert_eq!(fixture.try_connect_as("a", &identity(&anna, &session, false), until - 1).await, 403);
    assert_eq!(fixture.try_connect_as("a", &identity(&anna, &session, false), until).await, 200);
}

#[tokio::test]
async fn a_mark_from_before_suspensions_is_a_deletion() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let mut mark = key(format!("USER#{anna}"), "BARRED");
    mark.insert("expires_at".to_owned(), lambda_kit::dynamodb::number(NOW + 60));
    fixture.table.put("storing an old mark", mark).await.unwrap();
    assert_eq!(fixture.try_connect("a", &anna).await, 403);
}

#[tokio::test]
async fn a_connection_from_before_sessions_had_ids_goes_on() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let old = json!({"user_id": anna, "roles": ""});
    assert_eq!(fixture.try_connect_as("a", &old, NOW).await, 200);
    fixture.event(&ended(&SessionId::generate(), &anna)).await.unwrap();
    assert!(fixture.closed().await.is_empty());
    let stored = fixture.table.client.scan().table_name(&fixture.table.name).send().await.unwrap();
    assert!(stored.items().iter().all(|item| !item.contains_key("session_id")), "as it was stored before");
    fixture.send("a", &json!({"action": "subscribe"})).await;
    assert_eq!(fixture.seen("a").await, "subscribed");
}

#[tokio::test]
async fn a_user_has_at_most_20_connections() {
    let (fixture, anna, ben) = (Fixture::open().await, UserId::generate(), UserId::generate());
    for number in 0..MOST {
        fixture.connect(&format!("a{number}"), &anna).await;
    }
    assert_eq!(fixture.try_connect("more", &anna).await, 429);
    assert_eq!(fixture.items().await.len(), 2 * MOST, "nothing of the refused connection is left");
    fixture.connect("b", &ben).await;

    fixture.disconnect("a7").await;
    fixture.connect("more", &anna).await;
    assert_eq!(fixture.try_connect("too many", &anna).await, 429);
}

#[tokio::test]
async fn clients_that_connect_at_the_same_moment_get_no_more_than_20_connections() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let names = Vec::from_iter((0..MOST + 10).map(|number| format!("a{number}")));
    let answers = futures::future::join_all(names.iter().map(|name| fixture.try_connect(name, &anna))).await;
    let granted = answers.iter().filter(|answer| **answer == 200).count();
    assert_eq!(granted, MOST, "{answers:?}");
    assert!(answers.iter().all(|answer| [200, 429].contains(answer)), "{answers:?}");
    assert_eq!(fixture.items().await.len(), 2 * MOST);
}

#[tokio::test]
async fn a_place_is_free_again_when_its_connection_has_expired_or_was_never_stored() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    for number in 0..MOST {
        fixture.connect(&format!("a{number}"), &anna).await;
    }
    // The function died between these two deletes of a connection and the release of its place.
    for dead in [key("CONNECTION#a3", "CONNECTION"), key(format!("USER#{anna}"), "CONN#a3")] {
        fixture.table.delete("deleting a connection", dead).await.unwrap();
    }
    fixture.connect("b", &anna).await;
    assert_eq!(fixture.try_connect("c", &anna).await, 429);

    // API Gateway has ended them all by then, and did not report it.
    let identity = identity(&anna, &SessionId::generate(), false);
    assert_eq!(fixture.try_connect_as("d", &identity, NOW + 2 * HOUR).await, 200);
}

#[tokio::test]
async fn an_answer_that_is_lost_takes_no_second_place() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    for number in 0..MOST {
        fixture.faults.lose_answers("UpdateItem", 1);
        fixture.connect(&format!("a{number}"), &anna).await;
    }
    fixture.faults.reset();
    assert_eq!(fixture.try_connect("more", &anna).await, 429);
}

#[tokio::test]
async fn connecting_costs_one_read_and_two_writes() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.faults.reset();
    fixture.connect("a", &anna).await;
    let mut calls = fixture.faults.calls();
    calls.sort();
    assert_eq!(calls, ["BatchGetItem", "BatchWriteItem", "UpdateItem"]);
}
