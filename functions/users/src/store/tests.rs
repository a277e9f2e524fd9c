//! The store against a real table, with answers that get lost.

use contracts::CorrelationId;
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::OUTBOX,
    testing::{self, Faults},
};

use super::*;
use crate::domain::{
    FailureSource, Failures, NewUser, PasswordHash, ProfileChange, RefreshToken, TOKEN_BYTES,
};

const NOW: i64 = 1_800_000_000;

async fn store() -> (Store, Faults) {
    let (table, faults) = testing::table(&[]).await;
    (Store::new(table), faults)
}

fn registration(email: &str) -> Registered {
    NewUser { email: email.parse().unwrap(), name: "Anna".parse().unwrap(), phone: None }
        .register(
            UserId::generate(),
            PasswordHash::dummy(),
            Timestamp::UNIX_EPOCH,
            &CorrelationId::generate(),
        )
        .unwrap()
}

fn anna() -> UserId {
    UserId::try_from("usr_0123456789abcdef0123456789abcdef").unwrap()
}

fn refresh_token(n: u8) -> RefreshToken {
    RefreshToken::new(anna(), [n; TOKEN_BYTES])
}

fn token(n: u8) -> TokenHash {
    refresh_token(n).hash()
}

fn session() -> Session {
    Session::open(token(1), FamilyId::new(uuid::Uuid::now_v7()), anna(), NOW)
}

async fn count(store: &Store) -> i32 {
    store.table.client.scan().table_name(&store.table.name).send().await.unwrap().count()
}

#[tokio::test]
async fn a_registration_is_read_back_and_the_profile_carries_its_event() {
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
async fn of_concurrent_registrations_of_one_address_one_succeeds() {
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
async fn a_registration_that_conflicts_with_another_transaction_is_retried() {
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
    assert_eq!(store.session(&refresh_token(1)).await.unwrap(), Some(session));
    assert_eq!(store.session(&refresh_token(2)).await.unwrap(), None);
    let read = store.table.client.get_item().table_name(&store.table.name);
    let item = read.set_key(Some(session_key(&anna(), &token(1)))).send().await.unwrap().item.unwrap();
    assert_eq!(item[EXPIRES_AT], number(NOW + 30 * 86_400));
}

#[tokio::test]
async fn of_two_requests_that_spend_a_token_one_succeeds() {
    let (store, _) = store().await;
    let first = session();
    store.open_session(&first).await.unwrap();
    let (a, b) = (first.rotate(token(2), NOW).unwrap(), first.rotate(token(3), NOW).unwrap());
    let (a, b) = tokio::join!(store.rotate(&first, &a), store.rotate(&first, &b));
    let mut results = [a.unwrap(), b.unwrap()];
    results.sort_by_key(|result| *result == Err(Conflict));
    assert_eq!(results, [Ok(()), Err(Conflict)]);
}

#[tokio::test]
async fn a_token_is_spent_although_the_answers_were_lost() {
    let (store, faults) = store().await;
    let first = session();
    store.open_session(&first).await.unwrap();
    faults.lose_answers("PutItem", 1);
    faults.lose_answers("UpdateItem", 1);
    let next = first.rotate(token(2), NOW).unwrap();
    assert_eq!(store.rotate(&first, &next).await.unwrap(), Ok(()));
    assert_eq!(store.session(&refresh_token(1)).await.unwrap().unwrap().successor, Some(token(2)));
    assert_eq!(store.session(&refresh_token(2)).await.unwrap(), Some(next));
}

#[tokio::test]
async fn an_unknown_token_cannot_be_spent_and_is_not_created() {
    let (store, _) = store().await;
    let ghost = session();
    let next = ghost.rotate(token(2), NOW).unwrap();
    assert_eq!(store.rotate(&ghost, &next).await.unwrap(), Err(Conflict));
    assert_eq!(store.session(&refresh_token(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_revoked_family_stays_revoked_and_other_families_do_not_change() {
    let (store, _) = store().await;
    let (one, other) = (FamilyId::new(uuid::Uuid::now_v7()), FamilyId::new(uuid::Uuid::now_v7()));
    store.revoke(&anna(), &one, NOW).await.unwrap();
    store.revoke(&anna(), &one, NOW + 1).await.unwrap();
    assert!(store.is_revoked(&anna(), &one).await.unwrap());
    assert!(!store.is_revoked(&anna(), &other).await.unwrap());
}

fn correlation() -> CorrelationId {
    CorrelationId::try_from("cor_test").unwrap()
}

/// A registered user with this many sessions.
async fn registered(store: &Store, sessions: u8) -> Registered {
    let new = registration("anna@example.com");
    store.register(&new).await.unwrap();
    for n in 0..sessions {
        let token = RefreshToken::new(new.profile.user_id.clone(), [n; TOKEN_BYTES]);
        let session = Session::open(
            token.hash(),
            FamilyId::new(uuid::Uuid::now_v7()),
            new.profile.user_id.clone(),
            NOW,
        );
        store.open_session(&session).await.unwrap();
        store.revoke(&new.profile.user_id, &session.family, NOW).await.unwrap();
    }
    new
}

fn renamed(profile: &Profile, name: &str) -> ChangedProfile {
    let change = ProfileChange { name: Some(name.parse().unwrap()), ..ProfileChange::default() };
    profile.change(&change, Timestamp::UNIX_EPOCH, &correlation()).unwrap().unwrap()
}

#[tokio::test]
async fn of_two_changes_of_one_version_the_first_is_written() {
    let (store, _) = store().await;
    let profile = registered(&store, 0).await.profile;
    assert_eq!(store.change(&renamed(&profile, "Anna B")).await.unwrap(), Ok(()));
    assert_eq!(store.change(&renamed(&profile, "Anna C")).await.unwrap(), Err(Conflict));
    let stored = store.profile(&profile.user_id).await.unwrap().unwrap();
    assert_eq!((stored.name.as_str(), stored.version), ("Anna B", 2));
}

#[tokio::test]
async fn an_erasure_leaves_nothing_that_names_the_person_and_frees_the_address() {
    let (store, _) = store().await;
    let profile = registered(&store, 0).await.profile;
    let source = FailureSource::Email(profile.email.clone());
    store.count_attempt(&source, NOW).await.unwrap();
    let erasure = profile.erase(Timestamp::UNIX_EPOCH, &correlation()).unwrap();
    assert_eq!(store.erase(&erasure).await.unwrap(), Ok(()));
    assert_eq!(store.account(&profile.email).await.unwrap(), None);
    assert_eq!(store.profile(&profile.user_id).await.unwrap(), None);
    assert_eq!(store.user(&profile.user_id).await.unwrap(), Some(StoredUser::Erased(erasure.erased)));
    assert_eq!(count(&store).await, 1);
    let again = registration("anna@example.com");
    assert_eq!(store.register(&again).await.unwrap(), Registration::Done);
}

#[tokio::test]
async fn neither_a_late_change_nor_a_repeated_erasure_restores_a_user_or_erases_another_one() {
    let (store, faults) = store().await;
    let profile = registered(&store, 0).await.profile;
    let erasure = profile.erase(Timestamp::UNIX_EPOCH, &correlation()).unwrap();
    faults.lose_answers("TransactWriteItems", 1);
    assert_eq!(store.erase(&erasure).await.unwrap(), Ok(()));
    store.register(&registration("anna@example.com")).await.unwrap();
    assert_eq!(store.change(&renamed(&profile, "Anna B")).await.unwrap(), Err(Conflict));
    assert_eq!(store.erase(&erasure).await.unwrap(), Err(Conflict));
    assert!(matches!(store.user(&profile.user_id).await.unwrap(), Some(StoredUser::Erased(_))));
    assert!(store.account(&profile.email).await.unwrap().is_some());
}

#[tokio::test]
async fn a_deletion_takes_all_sessions_of_a_user_and_continues_after_an_interruption() {
    let (store, faults) = store().await;
    let profile = registered(&store, 30).await.profile;
    store.open_session(&session()).await.unwrap();
    faults.lose_answers_after(20, "DeleteItem", 99);
    assert!(store.delete_sessions(&profile.user_id).await.is_err());
    assert!((4..44).contains(&count(&store).await));
    faults.reset();
    store.delete_sessions(&profile.user_id).await.unwrap();
    assert_eq!(store.delete_sessions(&profile.user_id).await.unwrap(), 0);
    // The account, the profile, and a session of another user.
    assert_eq!(count(&store).await, 3);
}

fn in_network() -> FailureSource {
    FailureSource::EmailInNetwork("anna@example.com".parse().unwrap(), Some("192.0.2.1".parse().unwrap()))
}

fn everywhere() -> FailureSource {
    FailureSource::Email("anna@example.com".parse().unwrap())
}

async fn failures(store: &Store, source: &FailureSource) -> Option<Failures> {
    store.table.get("reading failures", logins::failures_key(source)).await.unwrap()
}

#[tokio::test]
async fn in_a_network_each_failure_begins_the_quarter_of_an_hour_anew() {
    let (store, _) = store().await;
    for second in [0, 100, 800] {
        assert_eq!(store.count_attempt(&in_network(), NOW + second).await.unwrap(), Attempt::Counted);
    }
    let counted = Failures { failures: 3, expires_at: NOW + 1700 };
    assert_eq!(failures(&store, &in_network()).await, Some(counted));
    assert_eq!(failures(&store, &everywhere()).await, None);
    // DynamoDB deletes late: what is over is begun anew.
    store.count_attempt(&in_network(), NOW + 1700).await.unwrap();
    let anew = Failures { failures: 1, expires_at: NOW + 2600 };
    assert_eq!(failures(&store, &in_network()).await, Some(anew));
}

#[tokio::test]
async fn over_all_networks_the_quarter_of_an_hour_counts_from_the_first_failure() {
    let (store, _) = store().await;
    for second in [0, 800] {
        store.count_attempt(&everywhere(), NOW + second).await.unwrap();
    }
    let counted = Failures { failures: 2, expires_at: NOW + 900 };
    assert_eq!(failures(&store, &everywhere()).await, Some(counted));
}

#[tokio::test]
async fn nothing_is_counted_above_the_limit_until_the_failures_expire() {
    let (store, _) = store().await;
    for _ in 0..5 {
        assert_eq!(store.count_attempt(&in_network(), NOW).await.unwrap(), Attempt::Counted);
    }
    let refused = store.count_attempt(&in_network(), NOW + 899).await.unwrap();
    assert_eq!(refused, Attempt::LimitReached { wait: 1 });
    assert_eq!(store.count_attempt(&in_network(), NOW + 900).await.unwrap(), Attempt::Counted);
}

#[tokio::test]
async fn an_attempt_is_given_back_and_a_count_that_is_over_stays_over() {
    let (store, _) = store().await;
    for _ in 0..2 {
        store.count_attempt(&everywhere(), NOW).await.unwrap();
    }
    for left in [1, 0, 0] {
        store.give_attempt_back(&everywhere()).await.unwrap();
        assert_eq!(failures(&store, &everywhere()).await.unwrap().failures, left);
    }
    store.forget_failures(&everywhere()).await.unwrap();
    store.give_attempt_back(&everywhere()).await.unwrap();
    assert_eq!(failures(&store, &everywhere()).await, None);
}

#[tokio::test]
async fn of_attempts_at_the_same_time_as_many_are_counted_as_the_limit_allows() {
    let (store, _) = store().await;
    let source = in_network();
    let attempts = (0..16).map(|_| store.count_attempt(&source, NOW));
    let attempts = futures::future::try_join_all(attempts).await.unwrap();
    assert_eq!(attempts.iter().filter(|attempt| **attempt == Attempt::Counted).count(), 5);
    assert_eq!(failures(&store, &source).await.unwrap().failures, 5);
}
