use std::collections::BTreeSet;

use lambda_kit::testing;
use serde_json::{Value, json};

use super::*;
use crate::domain::{FamilyId, RefreshToken, Session, TOKEN_BYTES};

async fn session_of(store: &Store, user_id: &UserId) -> RefreshToken {
    let token = RefreshToken::new(user_id.clone(), [7; TOKEN_BYTES]);
    let session =
        Session::open(token.hash(), FamilyId::new(uuid::Uuid::now_v7()), user_id.clone(), 1_800_000_000);
    store.open_session(&session).await.unwrap();
    token
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
    let (annas, bens) = (session_of(&store, &anna).await, session_of(&store, &ben).await);
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
    assert_eq!(store.session(&annas).await.unwrap(), None);
    assert!(store.session(&bens).await.unwrap().is_some());
}

#[tokio::test]
async fn the_sessions_of_an_account_with_very_many_are_deleted_page_by_page() {
    let (table, faults) = testing::table(&[]).await;
    let store = Store::new(table);
    let anna = UserId::generate();
    for n in 0..5_000_u32 {
        let mut random = [7; TOKEN_BYTES];
        random[..4].copy_from_slice(&n.to_be_bytes());
        let token = RefreshToken::new(anna.clone(), random);
        let family = FamilyId::new(uuid::Uuid::now_v7());
        store.open_session(&Session::open(token.hash(), family, anna.clone(), 1_800_000_000)).await.unwrap();
    }
    faults.reset();
    let batch = batch(&[json!({"user_id": {"S": anna}, "erased_at": {"S": "2026-11-21T12:00:00Z"}})]);
    assert!(delete_sessions_of_erased(&store, &batch).await.is_empty());
    assert!(store.open_sessions(&anna, 0).await.unwrap().is_empty());
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
