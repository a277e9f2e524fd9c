//! The store against a real table, with answers that get lost.

use contracts::CorrelationId;
use jiff::Timestamp;
use lambda_kit::testing::{self, Faults};

use super::*;
use crate::domain::{NewUser, PasswordHash, RefreshToken, TOKEN_BYTES};

const NOW: i64 = 1_800_000_000;

async fn store() -> (Store, Faults) {
    let (table, faults) = testing::table(&[]).await;
    (Store::new(table), faults)
}

fn registration(email: &str) -> Registered {
    NewUser { email: email.parse().unwrap(), name: "Anna".parse().unwrap(), phone: None }
        .register(
            UserId::generate(),
            PasswordHash::of_nobody(),
            Timestamp::UNIX_EPOCH,
            &CorrelationId::generate(),
        )
        .unwrap()
}

fn token(n: u8) -> TokenHash {
    RefreshToken::new([n; TOKEN_BYTES]).hash()
}

fn session() -> Session {
    let email = "anna@example.com".parse().unwrap();
    Session::open(token(1), FamilyId::generate(), UserId::generate(), email, NOW)
}

async fn count(store: &Store) -> i32 {
    store.table.client.scan().table_name(&store.table.name).send().await.unwrap().count()
}

#[tokio::test]
async fn what_is_registered_is_read_back_and_the_profile_carries_its_event() {
    let (store, _) = store().await;
    let new = registration("anna@example.com");
    assert_eq!(store.register(&new).await.unwrap(), Registration::Done);
    assert_eq!(store.account(&new.profile.email).await.unwrap().as_ref(), Some(&new.account));
    assert_eq!(store.profile(&new.profile.user_id).await.unwrap().as_ref(), Some(&new.profile));

    let read = store.table.client.get_item().table_name(&store.table.name);
    let item = read.set_key(Some(profile_key(&new.profile.user_id))).send().await.unwrap().item.unwrap();
    let outbox = item[OUTBOX].as_l().unwrap();
    let event: contracts::Envelope = serde_json::from_str(outbox[0].as_s().unwrap()).unwrap();
    assert_eq!((outbox.len(), &event), (1, &new.event));
}

#[tokio::test]
async fn an_address_is_registered_once_and_the_second_try_writes_nothing() {
    let (store, _) = store().await;
    let (first, second) = (registration("anna@example.com"), registration("anna@example.com"));
    assert_eq!(store.register(&first).await.unwrap(), Registration::Done);
    assert_eq!(store.register(&second).await.unwrap(), Registration::EmailTaken);
    assert_eq!(store.account(&first.profile.email).await.unwrap(), Some(first.account));
    assert_eq!(store.profile(&second.profile.user_id).await.unwrap(), None);
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn of_many_who_register_one_address_at_once_one_wins() {
    let (store, _) = store().await;
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        tries.spawn(async move { store.register(&registration("anna@example.com")).await.unwrap() });
    }
    let results = tries.join_all().await;
    assert_eq!(results.iter().filter(|result| **result == Registration::Done).count(), 1);
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_a_success() {
    let (store, faults) = store().await;
    faults.lose_answers("TransactWriteItems", 1);
    assert_eq!(store.register(&registration("anna@example.com")).await.unwrap(), Registration::Done);
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn a_registration_that_never_gets_an_answer_is_an_error() {
    let (store, faults) = store().await;
    faults.lose_answers("TransactWriteItems", 99);
    assert!(matches!(store.register(&registration("a@example.com")).await, Err(TableError::Call { .. })));
}

#[tokio::test]
async fn a_registration_that_meets_another_transaction_is_tried_again() {
    let (store, faults) = store().await;
    faults.conflict(2);
    assert_eq!(store.register(&registration("anna@example.com")).await.unwrap(), Registration::Done);
    faults.conflict(3);
    assert!(store.register(&registration("ben@example.com")).await.is_err());
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn a_session_is_kept_under_its_tokens_hash_and_marked_for_expiry() {
    let (store, _) = store().await;
    let session = session();
    store.open_session(&session).await.unwrap();
    assert_eq!(store.session(&token(1)).await.unwrap(), Some(session));
    assert_eq!(store.session(&token(2)).await.unwrap(), None);
    let read = store.table.client.get_item().table_name(&store.table.name);
    let item = read.set_key(Some(session_key(&token(1)))).send().await.unwrap().item.unwrap();
    assert_eq!(item[EXPIRES_AT], number(NOW + 30 * 86_400));
}

#[tokio::test]
async fn of_two_who_spend_a_token_one_succeeds() {
    let (store, _) = store().await;
    let first = session();
    store.open_session(&first).await.unwrap();
    let (a, b) = (first.rotate(token(2), NOW).unwrap(), first.rotate(token(3), NOW).unwrap());
    let (a, b) = tokio::join!(store.rotate(&first, &a), store.rotate(&first, &b));
    let mut results = [a.unwrap(), b.unwrap()];
    results.sort_by_key(|result| *result == Rotation::Spent);
    assert_eq!(results, [Rotation::Done, Rotation::Spent]);
}

#[tokio::test]
async fn a_token_is_spent_although_the_answers_were_lost() {
    let (store, faults) = store().await;
    let first = session();
    store.open_session(&first).await.unwrap();
    faults.lose_answers("PutItem", 1);
    faults.lose_answers("UpdateItem", 1);
    let next = first.rotate(token(2), NOW).unwrap();
    assert_eq!(store.rotate(&first, &next).await.unwrap(), Rotation::Done);
    assert_eq!(store.session(&token(1)).await.unwrap().unwrap().successor, Some(token(2)));
    assert_eq!(store.session(&token(2)).await.unwrap(), Some(next));
}

#[tokio::test]
async fn a_token_that_does_not_exist_cannot_be_spent_and_does_not_come_to_be() {
    let (store, _) = store().await;
    let ghost = session();
    let next = ghost.rotate(token(2), NOW).unwrap();
    assert_eq!(store.rotate(&ghost, &next).await.unwrap(), Rotation::Spent);
    assert_eq!(store.session(&token(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_revoked_family_stays_revoked_and_others_do_not_care() {
    let (store, _) = store().await;
    let (one, other) = (FamilyId::generate(), FamilyId::generate());
    store.revoke(&one, NOW).await.unwrap();
    store.revoke(&one, NOW + 1).await.unwrap();
    assert!(store.is_revoked(&one).await.unwrap());
    assert!(!store.is_revoked(&other).await.unwrap());
}
