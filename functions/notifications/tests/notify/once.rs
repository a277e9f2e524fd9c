//! Exactly one message per event and channel, as far as the provider allows.

use std::time::Duration;

use contracts::{
    EventPayload, UserId,
    events::{Channel, NotificationFailed, NotificationSent, Undelivered},
};
use lambda_kit::{aws::MAX_ATTEMPTS, numbers::NOTIFICATION_RECEIVES};
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::office::*;

#[tokio::test]
async fn an_event_that_comes_again_is_not_told_again() {
    let anna = UserId::generate();
    let office = Office::with(&anna, BOTH).await;
    for later in [0, 1, 3600] {
        for channel in [Channel::Email, Channel::Sms] {
            office.hand(channel, &completed(&anna), NOW + later, 1).await.unwrap();
        }
    }
    assert_eq!((office.mails().await.len(), office.texts().await.len()), (1, 1));
}

/// When history is republished for a new consumer, and the message's record has expired.
#[tokio::test]
async fn what_is_old_is_no_news() {
    let anna = UserId::generate();
    let office = Office::with(&anna, BOTH).await;
    const DAY: i64 = 24 * 60 * 60;
    for (order, days) in [("young", 59), ("old", 61)] {
        for channel in [Channel::Email, Channel::Sms] {
            office.hand(channel, &completed_as(&anna, order), NOW + days * DAY, 1).await.unwrap();
        }
        assert_eq!((office.mails().await.len(), office.texts().await.len()), (1, 1), "{order}");
    }
}

/// The batch of the first try timed out, so all its messages were delivered again.
#[tokio::test]
async fn a_message_that_was_sent_stays_sent_when_its_last_try_cannot_read_the_table() {
    let anna = UserId::generate();
    for channel in [Channel::Email, Channel::Sms] {
        let office = Office::with(&anna, BOTH).await;
        office.hand(channel, &completed(&anna), NOW, 1).await.unwrap();
        let sent = (office.mails().await.len(), office.texts().await.len());
        office.faults.refuse("GetItem", MAX_ATTEMPTS);
        office.hand(channel, &completed(&anna), NOW + 1, NOTIFICATION_RECEIVES).await.unwrap_err();
        // Moved back from the dead letters.
        office.hand(channel, &completed(&anna), NOW + 2, 1).await.unwrap();
        assert_eq!((office.mails().await.len(), office.texts().await.len()), sent);
        let published = office.published().await;
        assert!(published.iter().all(|event| event.event_type == NotificationSent::TYPE), "{published:?}");
    }
}

#[tokio::test]
async fn an_event_that_comes_twice_at_once_is_told_once() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    let event = completed(&anna);
    let told = futures::future::join_all((0..5).map(|_| office.tell(&event))).await;
    assert!(told.iter().any(Result::is_ok));
    assert_eq!(office.mails().await.len(), 1);
}

/// Stops as a killed process does: SES has the e-mail, and its answer is lost.
async fn dies_while_sending(office: &Office, event: &contracts::Envelope, now: i64) {
    let before = office.mails().await.len();
    let slow = ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m-2"}));
    office.ses(1, slow.set_delay(Duration::from_secs(60))).await;
    let sees_it = async {
        while office.mails().await.len() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        told = office.tell_at(event, now) => panic!("it was not slow: {told:?}"),
        () = sees_it => {}
    }
}

#[tokio::test]
async fn what_dies_between_sending_and_recording_is_sent_again_at_most_once() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    let event = completed(&anna);
    dies_while_sending(&office, &event, NOW).await;
    // A retry that comes too early cannot know whether the first try is still running.
    office.tell_at(&event, NOW + 59).await.unwrap_err();
    assert_eq!(office.mails().await.len(), 1);
    dies_while_sending(&office, &event, NOW + 60).await;
    assert_eq!(office.mails().await.len(), 2);
    for later in [120, 3600] {
        office.tell_at(&event, NOW + later).await.unwrap_err();
    }
    office.hand(Channel::Email, &event, NOW + 3600, 5).await.unwrap_err();
    assert_eq!(office.mails().await.len(), 2);
    let failed: NotificationFailed = office.published().await[0].decode().unwrap();
    assert_eq!(failed.reason, Undelivered::Uncertain);
}

#[tokio::test]
async fn a_crash_and_then_a_try_that_ends_is_recorded() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    let event = completed(&anna);
    dies_while_sending(&office, &event, NOW).await;
    office.tell_at(&event, NOW + 60).await.unwrap();
    office.tell_at(&event, NOW + 120).await.unwrap();
    assert_eq!(office.mails().await.len(), 2);
    office.published().await[0].decode::<NotificationSent>().unwrap();
}

#[tokio::test]
async fn a_provider_that_does_not_say_is_asked_again_once_only_and_after_the_lease() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    let event = completed(&anna);
    // Calls of SES have no operation header.
    office.line.lose_answers("", 2);
    office.tell_at(&event, NOW).await.unwrap_err();
    assert_eq!(office.hidden().await, [60]);
    office.tell_at(&event, NOW + 60).await.unwrap_err();
    office.tell_at(&event, NOW + 120).await.unwrap_err();
    assert_eq!(office.mails().await.len(), 2);
}

#[tokio::test]
async fn lost_answers_of_the_table_send_no_second_message() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    // The writes for the turn, the lease and the record; the last one fails at all tries.
    office.faults.lose_answers("UpdateItem", 1);
    office.tell(&completed(&anna)).await.unwrap();
    office.faults.lose_answers_after(2, "UpdateItem", MAX_ATTEMPTS);
    office.tell(&completed_as(&anna, "other")).await.unwrap();
    office.tell(&completed(&anna)).await.unwrap();
    office.tell(&completed_as(&anna, "other")).await.unwrap();
    assert_eq!(office.mails().await.len(), 2);
}

#[tokio::test]
async fn a_message_costs_three_writes_and_one_read_of_the_table_and_one_call_of_the_provider() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    office.tell(&completed_as(&anna, "first")).await.unwrap();
    office.faults.reset();
    office.tell(&completed(&anna)).await.unwrap();
    let mut calls = office.faults.calls();
    calls.sort();
    // The reads of the contact, and of the breaker where a second has passed; the writes of turn, lease and
    // record.
    let reads = calls.iter().filter(|call| *call == "GetItem").count();
    assert!((1..=2).contains(&reads), "{calls:?}");
    assert_eq!(calls[reads..], ["UpdateItem"; 3]);
}
