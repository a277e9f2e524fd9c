//! Contact data: a copy of the newest event, deleted with its user.

use contracts::UserId;
use lambda_kit::error::error_chain;
use serde_json::json;

use crate::fixture::*;

#[tokio::test]
async fn older_contact_data_does_not_replace_newer() {
    let anna = UserId::generate();
    let fixture = Fixture::open().await;
    for (sequence, address) in [(2, "new@example.com"), (1, ADDRESS), (2, ADDRESS)] {
        fixture.receive(&updated(&anna, sequence, address, EMAIL)).await.unwrap();
    }
    fixture.receive(&registered(&anna, NONE)).await.unwrap();
    fixture.receive(&completed(&anna)).await.unwrap();
    let mails = fixture.sent_emails().await;
    assert!(mails.iter().all(|mail| mail["Destination"]["ToAddresses"] == json!(["new@example.com"])));
}

#[tokio::test]
async fn a_deleted_customer_is_not_notified_and_an_older_event_does_not_restore_the_contact() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, BOTH).await;
    fixture.receive(&deleted(&anna, 3)).await.unwrap();
    for late in [updated(&anna, 2, ADDRESS, BOTH), registered(&anna, BOTH), updated(&anna, 9, ADDRESS, BOTH)]
    {
        fixture.receive(&late).await.unwrap();
    }
    fixture.receive_on_both(&completed(&anna)).await;
    assert!(fixture.sent_emails().await.is_empty() && fixture.sent_sms().await.is_empty());
    let all = format!("{:?}", fixture.items().await);
    assert!([ADDRESS, PHONE, "Anna"].iter().all(|word| !all.contains(word)), "{all}");
}

#[tokio::test]
async fn a_deletion_that_arrives_before_the_registration_stays() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.receive(&deleted(&anna, 2)).await.unwrap();
    fixture.receive(&registered(&anna, BOTH)).await.unwrap();
    assert!(fixture.sent_emails().await.is_empty());
    assert!(!format!("{:?}", fixture.items().await).contains(ADDRESS));
}

#[tokio::test]
async fn an_event_of_an_unknown_customer_is_retried_after_seconds() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.receive(&completed(&anna)).await.unwrap_err();
    assert_eq!(fixture.hidden().await, [2]);
    fixture.receive(&updated(&anna, 1, ADDRESS, EMAIL)).await.unwrap();
    fixture.receive(&completed(&anna)).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 1);
}

#[tokio::test]
async fn contact_data_that_cannot_be_read_is_not_shown() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let mut unreadable = updated(&anna, 2, ADDRESS, EMAIL);
    unreadable.data["notification_preferences"] = json!(ADDRESS);
    let error = fixture.receive(&unreadable).await.unwrap_err();
    assert!(!error_chain(&error).contains(ADDRESS));
}
