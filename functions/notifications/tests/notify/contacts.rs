//! Contact data: a copy of the newest event, deleted with its user.

use contracts::UserId;
use lambda_kit::command::chain;
use serde_json::json;

use crate::office::*;

#[tokio::test]
async fn older_contact_data_does_not_replace_newer() {
    let anna = UserId::generate();
    let office = Office::open().await;
    for (sequence, address) in [(2, "new@example.com"), (1, ADDRESS), (2, ADDRESS)] {
        office.tell(&updated(&anna, sequence, address, EMAIL)).await.unwrap();
    }
    office.tell(&registered(&anna, NONE)).await.unwrap();
    office.tell(&completed(&anna)).await.unwrap();
    let mails = office.mails().await;
    assert!(mails.iter().all(|mail| mail["Destination"]["ToAddresses"] == json!(["new@example.com"])));
}

#[tokio::test]
async fn who_is_erased_is_told_nothing_and_does_not_come_back_with_an_older_event() {
    let anna = UserId::generate();
    let office = Office::with(&anna, BOTH).await;
    office.tell(&deleted(&anna, 3)).await.unwrap();
    for late in [updated(&anna, 2, ADDRESS, BOTH), registered(&anna, BOTH), updated(&anna, 9, ADDRESS, BOTH)]
    {
        office.tell(&late).await.unwrap();
    }
    office.both(&completed(&anna)).await;
    assert!(office.mails().await.is_empty() && office.texts().await.is_empty());
    let all = format!("{:?}", office.items().await);
    assert!([ADDRESS, PHONE, "Anna"].iter().all(|word| !all.contains(word)), "{all}");
}

#[tokio::test]
async fn who_is_erased_before_he_was_known_stays_unknown() {
    let (office, anna) = (Office::open().await, UserId::generate());
    office.tell(&deleted(&anna, 2)).await.unwrap();
    office.tell(&registered(&anna, BOTH)).await.unwrap();
    assert!(office.mails().await.is_empty());
    assert!(!format!("{:?}", office.items().await).contains(ADDRESS));
}

#[tokio::test]
async fn an_order_that_overtook_its_customer_waits_for_him_for_seconds() {
    let (office, anna) = (Office::open().await, UserId::generate());
    office.tell(&completed(&anna)).await.unwrap_err();
    assert_eq!(office.hidden().await, [2]);
    office.tell(&updated(&anna, 1, ADDRESS, EMAIL)).await.unwrap();
    office.tell(&completed(&anna)).await.unwrap();
    assert_eq!(office.mails().await.len(), 1);
}

#[tokio::test]
async fn contact_data_that_cannot_be_read_is_not_shown() {
    let (office, anna) = (Office::open().await, UserId::generate());
    let mut unreadable = updated(&anna, 2, ADDRESS, EMAIL);
    unreadable.data["notification_preferences"] = json!(ADDRESS);
    let error = office.tell(&unreadable).await.unwrap_err();
    assert!(!chain(&error).contains(ADDRESS));
}
