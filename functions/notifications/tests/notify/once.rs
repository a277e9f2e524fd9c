//! Exactly one message per event and channel, as far as the provider allows.

use std::time::Duration;

use contracts::{
    EventPayload, UserId,
    events::{Channel, NotificationFailed, NotificationSent, Undelivered},
};
use lambda_kit::{aws::MAX_ATTEMPTS, dynamodb::EXPIRES_AT, limits::NOTIFICATION_RECEIVES};
use serde_json::json;
use wiremock::{Request, ResponseTemplate};

use crate::fixture::*;

#[tokio::test]
async fn a_repeated_event_sends_no_second_message() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, BOTH).await;
    for later in [0, 1, 3600] {
        for channel in [Channel::Email, Channel::Sms] {
            fixture.deliver(channel, &completed(&anna), NOW + later, 1).await.unwrap();
        }
    }
    assert_eq!((fixture.sent_emails().await.len(), fixture.sent_sms().await.len()), (1, 1));
}

/// When history is republished for a new consumer, and the message's record has expired.
#[tokio::test]
async fn an_old_event_is_not_sent() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, BOTH).await;
    const DAY: i64 = 24 * 60 * 60;
    for (order, days) in [("young", 59), ("old", 61)] {
        for channel in [Channel::Email, Channel::Sms] {
            fixture.deliver(channel, &completed_as(&anna, order), NOW + days * DAY, 1).await.unwrap();
        }
        assert_eq!((fixture.sent_emails().await.len(), fixture.sent_sms().await.len()), (1, 1), "{order}");
    }
}

/// The batch of the first try timed out, so all its messages were delivered again.
#[tokio::test]
async fn a_message_that_was_sent_stays_sent_when_its_last_try_cannot_read_the_table() {
    let anna = UserId::generate();
    for channel in [Channel::Email, Channel::Sms] {
        let fixture = Fixture::with(&anna, BOTH).await;
        fixture.deliver(channel, &completed(&anna), NOW, 1).await.unwrap();
        let sent = (fixture.sent_emails().await.len(), fixture.sent_sms().await.len());
        fixture.faults.refuse("GetItem", MAX_ATTEMPTS);
        fixture.deliver(channel, &completed(&anna), NOW + 1, NOTIFICATION_RECEIVES).await.unwrap_err();
        // Moved back from the dead letters.
        fixture.deliver(channel, &completed(&anna), NOW + 2, 1).await.unwrap();
        assert_eq!((fixture.sent_emails().await.len(), fixture.sent_sms().await.len()), sent);
        let published = fixture.published().await;
        assert!(published.iter().all(|event| event.event_type == NotificationSent::TYPE), "{published:?}");
    }
}

#[tokio::test]
async fn an_event_that_is_delivered_twice_at_once_is_sent_once() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    let event = completed(&anna);
    let results = futures::future::join_all((0..5).map(|_| fixture.receive(&event))).await;
    assert!(results.iter().any(Result::is_ok));
    assert_eq!(fixture.sent_emails().await.len(), 1);
}

/// Stops as a killed process does: SES has the e-mail, and its answer is lost.
async fn crash_while_sending(fixture: &Fixture, event: &contracts::Envelope, now: i64) {
    let before = fixture.sent_emails().await.len();
    let slow = ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m-2"}));
    fixture.ses(1, slow.set_delay(Duration::from_secs(60))).await;
    let sees_it = async {
        while fixture.sent_emails().await.len() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        results = fixture.receive_at(event, now) => panic!("it was not slow: {results:?}"),
        () = sees_it => {}
    }
}

#[tokio::test]
async fn after_a_crash_between_sending_and_recording_a_message_is_sent_again_at_most_once() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    let event = completed(&anna);
    crash_while_sending(&fixture, &event, NOW).await;
    // A retry that comes too early cannot know whether the first try is still running.
    fixture.receive_at(&event, NOW + 59).await.unwrap_err();
    assert_eq!(fixture.sent_emails().await.len(), 1);
    crash_while_sending(&fixture, &event, NOW + 60).await;
    assert_eq!(fixture.sent_emails().await.len(), 2);
    for later in [120, 3600] {
        fixture.receive_at(&event, NOW + later).await.unwrap_err();
    }
    fixture.deliver(Channel::Email, &event, NOW + 3600, 5).await.unwrap_err();
    assert_eq!(fixture.sent_emails().await.len(), 2);
    let failed: NotificationFailed = fixture.published().await[0].decode().unwrap();
    assert_eq!(failed.reason, Undelivered::Uncertain);
    // A person has moved it back from the dead letters, to be sent after all.
    fixture.receive_at(&event, NOW + 7200).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 3);
}

#[tokio::test]
async fn a_message_that_was_begun_ends_when_its_customer_is_gone() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    let event = completed(&anna);
    crash_while_sending(&fixture, &event, NOW).await;
    fixture.receive(&deleted(&anna, 9)).await.unwrap();
    fixture.receive_at(&event, NOW + 60).await.unwrap();
    let items = fixture.items().await;
    let states: Vec<&str> = items
        .iter()
        .filter(|item| item["sk"].as_s().unwrap() == "EMAIL")
        .map(|item| item["state"].as_s().unwrap().as_str())
        .collect();
    // That of the end, and that of the confirmation.
    assert_eq!(states, ["superseded", "superseded"]);
    assert_eq!(fixture.sent_emails().await.len(), 1);
}

#[tokio::test]
async fn an_attempt_that_succeeds_after_a_crash_is_recorded() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    let event = completed(&anna);
    crash_while_sending(&fixture, &event, NOW).await;
    fixture.receive_at(&event, NOW + 60).await.unwrap();
    fixture.receive_at(&event, NOW + 120).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 2);
    fixture.published().await[0].decode::<NotificationSent>().unwrap();
}

#[tokio::test]
async fn a_send_with_an_unknown_result_is_retried_once_after_the_lease() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    let event = completed(&anna);
    // Calls of SES have no operation header.
    fixture.provider_faults.lose_answers("", 2);
    fixture.receive_at(&event, NOW).await.unwrap_err();
    assert_eq!(fixture.hidden().await, [60]);
    fixture.receive_at(&event, NOW + 60).await.unwrap_err();
    fixture.receive_at(&event, NOW + 120).await.unwrap_err();
    assert_eq!(fixture.sent_emails().await.len(), 2);
}

#[tokio::test]
async fn lost_answers_of_the_table_send_no_second_message() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    // The writes for the turn, the lease and the record; the last one fails at all tries.
    fixture.faults.lose_answers("UpdateItem", 1);
    fixture.receive(&completed(&anna)).await.unwrap();
    fixture.faults.lose_answers_after(2, "UpdateItem", MAX_ATTEMPTS);
    fixture.receive(&completed_as(&anna, "other")).await.unwrap();
    fixture.receive(&completed(&anna)).await.unwrap();
    fixture.receive(&completed_as(&anna, "other")).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 2);
}

#[tokio::test]
async fn a_message_that_was_sent_and_could_not_be_recorded_is_recorded_later_and_not_sent_again() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    // From the moment on when SES has the e-mail, the table takes no writes.
    let faults = fixture.faults.clone();
    let taken = move |_: &Request| {
        faults.refuse("UpdateItem", MAX_ATTEMPTS);
        ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m-2"}))
    };
    fixture.ses_by(taken).await;
    fixture.receive(&completed(&anna)).await.unwrap();
    assert!(fixture.published().await.is_empty());
    let copies = fixture.queued("SendMessage").await;
    let [copy] = copies.as_slice() else { panic!("{copies:?}") };
    let sent = &copy["MessageAttributes"]["Sent"]["StringValue"];
    let attributes = json!({"Sent": {"stringValue": sent, "dataType": "String"}});
    let body = copy["MessageBody"].as_str().unwrap();
    let again = |later| fixture.message_with("notifications-email", body, NOW + later, 1, &attributes);
    // The table is still away.
    fixture.faults.refuse("UpdateItem", MAX_ATTEMPTS);
    again(60).await.unwrap();
    assert_eq!(fixture.queued("SendMessage").await.len(), 2);
    again(120).await.unwrap();
    again(121).await.unwrap();
    let published = fixture.published().await;
    let [event] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!(event.decode::<NotificationSent>().unwrap().sent_by, Channel::Email);
    assert_eq!(fixture.sent_emails().await.len(), 1);
}

#[tokio::test]
async fn a_message_that_could_neither_be_recorded_nor_put_back_is_sent_once_more_and_recorded() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    // From the moment on when SES has the e-mail, neither the table nor the queue takes anything.
    let (table, queue) = (fixture.faults.clone(), fixture.provider_faults.clone());
    let taken = move |_: &Request| {
        table.refuse("UpdateItem", MAX_ATTEMPTS);
        queue.refuse("SendMessage", MAX_ATTEMPTS);
        ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m-2"}))
    };
    fixture.ses_once_by(taken).await;
    fixture.receive(&completed(&anna)).await.unwrap_err();
    assert_eq!(fixture.hidden().await, [60], "a retry that is earlier meets the lease");
    assert!(fixture.published().await.is_empty());
    fixture.receive_at(&completed(&anna), NOW + 60).await.unwrap();
    fixture.receive_at(&completed(&anna), NOW + 120).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 2);
    let published = fixture.published().await;
    let [event] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!(event.decode::<NotificationSent>().unwrap().sent_by, Channel::Email);
}

#[tokio::test]
async fn the_record_of_a_message_that_was_given_up_before_any_try_expires() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, BOTH).await;
    // The lease; the write that gives the message up succeeds again.
    fixture.faults.refuse("UpdateItem", 2 * MAX_ATTEMPTS);
    let delivered = fixture.deliver(Channel::Sms, &completed(&anna), NOW, NOTIFICATION_RECEIVES).await;
    delivered.unwrap_err();
    assert!(fixture.sent_sms().await.is_empty());
    fixture.published().await[0].decode::<NotificationFailed>().unwrap();
    let items = fixture.items().await;
    assert!(
        items.iter().all(|item| item.contains_key(EXPIRES_AT) || item["sk"].as_s().unwrap() == "CONTACT")
    );
}

#[tokio::test]
async fn the_message_of_an_orders_end_costs_four_writes_and_one_read_of_the_table_and_one_call_of_the_provider()
 {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    fixture.receive(&completed_as(&anna, "first")).await.unwrap();
    fixture.faults.reset();
    fixture.receive(&completed(&anna)).await.unwrap();
    let mut calls = fixture.faults.calls();
    calls.sort();
    // The reads of the contact, and of the breaker where a second has passed; the writes of the superseded
    // confirmation, turn, lease and record.
    let reads = calls.iter().filter(|call| *call == "GetItem").count();
    assert!((1..=2).contains(&reads), "{calls:?}");
    assert_eq!(calls[reads..], ["PutItem", "UpdateItem", "UpdateItem", "UpdateItem"]);
}
