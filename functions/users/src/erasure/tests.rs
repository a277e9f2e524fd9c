use std::collections::BTreeSet;

use contracts::{CorrelationId, SessionId};
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{key, to_item},
    testing,
};
use serde_json::{Value, json};

use super::*;
use crate::domain::{PART_BYTES, PasswordHash, RefreshToken, Session};

fn session_of(user_id: &UserId) -> Session {
    let token = RefreshToken::new(user_id.clone(), SessionId::generate(), [[7; PART_BYTES]; 2]);
    Session::open(&token, PasswordHash::dummy().fingerprint(), 1_800_000_000)
}

async fn opened(store: &Store, user_id: &UserId) {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    store.open_session(&session_of(user_id), now, &CorrelationId::generate()).await.unwrap();
}

fn batch(images: &[Value]) -> StreamEvent {
    let record = |(n, image): (usize, &Value)| json!({"eventName": "MODIFY", "dynamodb": {"SequenceNumber": n.to_string(), "NewImage": image}});
    let records: Vec<Value> = images.iter().enumerate().map(record).collect();
    serde_json::from_value(json!({"Records": records})).unwrap()
}

#[tokio::test]
async fn the_sessions_of_an_erased_user_are_deleted_and_other_sessions_stay() {
    let (table, faults) = testing::table(&[]).await;
    let store = Store::new(table);
    let (anna, ben) = (UserId::generate(), UserId::generate());
    opened(&store, &anna).await;
    opened(&store, &ben).await;
    let batch = batch(&[
        json!({"user_id": {"S": ben}, "name": {"S": "Ben"}}),
        json!({"user_id": {"S": anna}, "erased_at": {"S": "2026-11-21T12:00:00Z"}}),
    ]);
    // It is retried, and continues.
    faults.refuse("DeleteItem", 9);
    assert_eq!(delete_sessions_of_erased(&store, &batch).await, BTreeSet::from(["1".to_owned()]).into());
    faults.reset();
    assert!(delete_sessions_of_erased(&store, &batch).await.is_empty());
    assert!(delete_sessions_of_erased(&store, &batch).await.is_empty());
    assert_eq!(store.sessions(&anna).await.unwrap(), []);
    assert_eq!(store.sessions(&ben).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_sessions_of_an_account_with_very_many_are_deleted_page_by_page() {
    let (table, faults) = testing::table(&[]).await;
    let store = Store::new(table.clone());
    let anna = UserId::generate();
    for _ in 0..5_000 {
        // Past the limit of sessions that logins keep.
        let session = session_of(&anna);
        let key = key(format!("USER#{anna}"), format!("SESSION#{}", session.session_id));
        table.put("test", to_item("test", key, &session).unwrap()).await.unwrap();
    }
    assert_eq!(store.sessions(&anna).await.unwrap().len(), 5_000);
    faults.reset();
    let batch = batch(&[json!({"user_id": {"S": anna}, "erased_at": {"S": "2026-11-21T12:00:00Z"}})]);
    assert!(delete_sessions_of_erased(&store, &batch).await.is_empty());
    assert!(store.sessions(&anna).await.unwrap().is_empty());
    let calls = faults.calls();
    let queries = calls.iter().enumerate().filter(|(_, call)| *call == "Query").map(|(n, _)| n);
    let between: Vec<usize> = queries.collect();
    assert!(
        between.len() > 2 && between[1] > 1_000,
        "a page is deleted before the next is read: {between:?}"
    );
}

#[tokio::test]
async fn a_record_with_an_invalid_user_id_is_parked() {
    let store = Store::new(testing::table(&[]).await.0);
    let batch = batch(&[json!({"user_id": {"S": "anna"}, "erased_at": {"S": "2026-11-21T12:00:00Z"}})]);
    assert_eq!(delete_sessions_of_erased(&store, &batch).await.unprocessable.len(), 1);
}
