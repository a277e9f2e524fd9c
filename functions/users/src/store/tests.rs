//! The store against a real table, with answers that get lost.

use contracts::{CorrelationId, SessionId};
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{EXPIRES_AT, OUTBOX, number},
    testing::{self, Faults},
};

use super::*;
use crate::domain::{
    FailureSource, Failures, NewUser, PART_BYTES, PasswordHash, ProfileChange, RefreshToken, Session,
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

/// Anna's session number `n`, opened then.
fn session(n: u8) -> (RefreshToken, Session) {
    let token = RefreshToken::new(anna(), SessionId::generate(), [[n; PART_BYTES], [n; PART_BYTES]]);
    let session = Session::open(&token, PasswordHash::dummy().fingerprint(), NOW + i64::from(n));
    (token, session)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// The sessions of Anna that are stored, by the seconds after `NOW` when they were opened.
async fn stored(store: &Store) -> Vec<i64> {
    let sessions = store.sessions(&anna()).await.unwrap();
    let mut opened: Vec<i64> = sessions.iter().map(|session| session.opened_at - NOW).collect();
    opened.sort_unstable();
    opened
}

async fn with_sessions(count: u8) -> (Store, Faults, Vec<(RefreshToken, Session)>) {
    let (store, faults) = store().await;
    let sessions: Vec<_> = (1..=count).map(session).collect();
    for (_, session) in &sessions {
        store.open_session(session, at(NOW), &correlation()).await.unwrap();
    }
    (store, faults, sessions)
}

/// The subjects of the events in the outbox of ended sessions.
async fn reported(store: &Store) -> Vec<String> {
    let item = store.table.get_item("test", key(user_partition(&anna()), "ENDED_SESSIONS")).await.unwrap();
    let outbox = item.map(|item| item[OUTBOX].as_l().unwrap().clone()).unwrap_or_default();
    let subject = |event: &aws_sdk_dynamodb::types::AttributeValue| {
        let event: contracts::Envelope = serde_json::from_str(event.as_s().unwrap()).unwrap();
        assert_eq!(event.event_type, "session.ended");
        event.subject
    };
    outbox.iter().map(subject).collect()
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
async fn a_session_is_kept_with_hashes_of_its_secrets_and_marked_for_expiry() {
    let (store, _, sessions) = with_sessions(1).await;
    let (token, session) = &sessions[0];
    let key = sessions::session_key(&anna(), &session.session_id);
    let item = store.table.get_item("test", key).await.unwrap().unwrap();
    assert_eq!(item[EXPIRES_AT], number(NOW + 1 + 30 * 86_400));
    assert_eq!(store.session(&anna(), token.session_id()).await.unwrap().as_ref(), Some(session));
    let (text, exposed) = (format!("{item:?}"), token.expose());
    let secrets = exposed.split('.').skip(2);
    assert!(
        secrets.clone().count() == 2 && secrets.into_iter().all(|secret| !text.contains(secret)),
        "{text}"
    );
}

#[tokio::test]
async fn of_two_requests_that_use_a_token_one_succeeds() {
    let (store, _, sessions) = with_sessions(1).await;
    let (token, session) = &sessions[0];
    let refreshed = |n| session.refresh(token, &token.next([n; PART_BYTES]), NOW).unwrap();
    let (a, b) = (refreshed(2), refreshed(3));
    let (a, b) = tokio::join!(store.rotate(session, &a), store.rotate(session, &b));
    let mut results = [a.unwrap(), b.unwrap()];
    results.sort_by_key(|result| *result == Rotation::Spent);
    assert_eq!(results, [Rotation::Done, Rotation::Spent]);
}

#[tokio::test]
async fn a_replaced_token_whose_answer_was_lost_is_a_success() {
    let (store, faults, sessions) = with_sessions(1).await;
    let (token, session) = &sessions[0];
    faults.lose_answers("UpdateItem", 1);
    let refreshed = session.refresh(token, &token.next([2; PART_BYTES]), NOW).unwrap();
    assert_eq!(store.rotate(session, &refreshed).await.unwrap(), Rotation::Done);
    assert_eq!(store.session(&anna(), &session.session_id).await.unwrap(), Some(refreshed));
}

#[tokio::test]
async fn a_refresh_under_way_does_not_continue_an_ended_session() {
    let (store, _, sessions) = with_sessions(1).await;
    let (token, session) = &sessions[0];
    let refreshed = session.refresh(token, &token.next([2; PART_BYTES]), NOW).unwrap();
    store.end_session(session, at(NOW), &correlation()).await.unwrap();
    assert_eq!(store.rotate(session, &refreshed).await.unwrap(), Rotation::Ended);
    assert_eq!(store.session(&anna(), &session.session_id).await.unwrap(), None);
}

#[tokio::test]
async fn the_21st_session_ends_the_oldest_and_its_event_is_stored_with_that() {
    let (store, _, sessions) = with_sessions(20).await;
    assert_eq!(reported(&store).await, Vec::<String>::new());
    store.open_session(&session(21).1, at(NOW), &correlation()).await.unwrap();
    assert_eq!(stored(&store).await, (2..=21).collect::<Vec<_>>());
    assert_eq!(reported(&store).await, [sessions[0].1.session_id.to_string()]);
}

#[tokio::test]
async fn of_logins_at_the_same_time_no_more_than_20_sessions_remain() {
    let (store, _, _) = with_sessions(15).await;
    let new: Vec<_> = (16..=40).map(session).collect();
    let correlation = correlation();
    let opened = new.iter().map(|(_, session)| store.open_session(session, at(NOW), &correlation));
    futures::future::try_join_all(opened).await.unwrap();
    assert_eq!(stored(&store).await, (21..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn all_sessions_but_one_are_ended_and_their_events_are_stored_with_that() {
    let (store, faults, sessions) = with_sessions(4).await;
    let kept = &sessions[1].1.session_id;
    faults.conflict(2);
    faults.lose_answers_after(2, "TransactWriteItems", 1);
    assert_eq!(store.end_sessions(&anna(), Some(kept), at(NOW), &correlation()).await.unwrap(), 3);
    assert_eq!(stored(&store).await, [2]);
    let mut ended: Vec<String> =
        [0, 2, 3].iter().map(|n: &usize| sessions[*n].1.session_id.to_string()).collect();
    ended.sort();
    assert_eq!(reported(&store).await, ended);
    assert_eq!(store.end_sessions(&anna(), Some(kept), at(NOW), &correlation()).await.unwrap(), 0);
    assert_eq!(reported(&store).await.len(), 3, "an end of nothing replaces no event");
    assert_eq!(store.end_sessions(&anna(), None, at(NOW), &correlation()).await.unwrap(), 1);
    assert_eq!(reported(&store).await, [kept.to_string()]);
}

#[tokio::test]
async fn sessions_whose_time_is_over_are_deleted_without_an_event() {
    let (store, _, _) = with_sessions(2).await;
    let later = at(NOW + 31 * 86_400);
    assert_eq!(store.end_sessions(&anna(), None, later, &correlation()).await.unwrap(), 0);
    assert_eq!((stored(&store).await, reported(&store).await), (vec![], vec![]));
}

#[tokio::test]
async fn an_end_that_cannot_be_written_ends_nothing() {
    let (store, faults, _) = with_sessions(3).await;
    faults.refuse("TransactWriteItems", 99);
    assert!(store.end_sessions(&anna(), None, at(NOW), &correlation()).await.is_err());
    faults.reset();
    assert_eq!((stored(&store).await, reported(&store).await), (vec![1, 2, 3], vec![]));
}

fn correlation() -> CorrelationId {
    CorrelationId::try_from("cor_test").unwrap()
}

async fn registered(store: &Store) -> Registered {
    let new = registration("anna@example.com");
    store.register(&new).await.unwrap();
    new
}

fn renamed(profile: &Profile, name: &str) -> ChangedProfile {
    let change = ProfileChange { name: Some(name.parse().unwrap()), ..ProfileChange::default() };
    profile.change(&change, Timestamp::UNIX_EPOCH, &correlation()).unwrap().unwrap()
}

#[tokio::test]
async fn of_two_changes_of_one_version_the_first_is_written() {
    let (store, _) = store().await;
    let profile = registered(&store).await.profile;
    assert_eq!(store.change(&renamed(&profile, "Anna B")).await.unwrap(), Ok(()));
    assert_eq!(store.change(&renamed(&profile, "Anna C")).await.unwrap(), Err(Conflict));
    let stored = store.profile(&profile.user_id).await.unwrap().unwrap();
    assert_eq!((stored.name.as_str(), stored.version), ("Anna B", 2));
}

#[tokio::test]
async fn an_erasure_leaves_nothing_that_names_the_person_and_frees_the_address() {
    let (store, _) = store().await;
    let profile = registered(&store).await.profile;
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
    let profile = registered(&store).await.profile;
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
    let (store, faults, sessions) = with_sessions(20).await;
    registered(&store).await;
    store.end_session(&sessions[0].1, at(NOW), &correlation()).await.unwrap();
    faults.lose_answers_after(5, "DeleteItem", 99);
    assert!(store.delete_sessions(&anna()).await.is_err());
    assert!((2..22).contains(&count(&store).await));
    faults.reset();
    store.delete_sessions(&anna()).await.unwrap();
    assert_eq!(store.delete_sessions(&anna()).await.unwrap(), 0);
    // The account and the profile of another user.
    assert_eq!(count(&store).await, 2);
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
