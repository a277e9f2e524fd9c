//! Invalid addresses, and addresses whose owners complained.

use contracts::{
    UserId,
    events::{Channel, NotificationFailed, Undelivered},
};
use serde_json::{Value, json};

use crate::office::*;

async fn failed(office: &Office) -> NotificationFailed {
    let [event] = &office.published().await[..] else { panic!("one event") };
    event.decode().unwrap()
}

#[tokio::test]
async fn an_address_that_there_cannot_be_is_recorded_and_not_tried_again() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    office.ses(1, ses_refusal("BadRequestException")).await;
    for later in [0, 60, 3600] {
        office.tell_at(&completed(&anna), NOW + later).await.unwrap();
    }
    assert_eq!(office.mails().await.len(), 1);
    assert_eq!(failed(&office).await.reason, Undelivered::InvalidAddress);
}

#[tokio::test]
async fn an_address_that_ses_refuses_does_not_make_it_look_down() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    office.ses(9, ses_refusal("BadRequestException")).await;
    for order in 0..9 {
        office.tell(&completed_as(&anna, &format!("k-{order}"))).await.unwrap();
    }
    office.tell(&completed(&anna)).await.unwrap();
    assert_eq!(office.mails().await.len(), 10);
}

/// An event in SES's format (Developer guide, "Examples of event data").
fn feedback(anna: &UserId, event: Value, address: &str) -> String {
    let mut told = json!({
        "mail": {
            "timestamp": "2026-11-21T12:00:00.000Z", "messageId": "m-1", "source": "shop@example.com",
            "destination": [address],
            "tags": {"ses:configuration-set": ["settings"], "user": [anna.as_str()]},
        },
    });
    told.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
    told.to_string()
}

fn bounce(kind: &str) -> Value {
    json!({"eventType": "Bounce", "bounce": {
        "bounceType": kind, "bounceSubType": "General",
        "bouncedRecipients": [{"emailAddress": ADDRESS, "diagnosticCode": "smtp; 550 5.1.1"}],
    }})
}

fn complaint() -> Value {
    json!({"eventType": "Complaint", "complaint": {"complainedRecipients": [{"emailAddress": ADDRESS}]}})
}

async fn hears(office: &Office, body: &str) {
    office.message("notifications-feedback", body, NOW, 1).await.unwrap();
}

#[tokio::test]
async fn an_address_that_mail_came_back_from_or_that_complained_is_written_to_no_more() {
    for event in [bounce("Permanent"), complaint()] {
        let anna = UserId::generate();
        let office = Office::with(&anna, EMAIL).await;
        hears(&office, &feedback(&anna, event, ADDRESS)).await;
        office.tell(&completed(&anna)).await.unwrap();
        assert!(office.mails().await.is_empty());
        assert_eq!(failed(&office).await.reason, Undelivered::Suppressed);

        // Another change of the profile does not lift the stop; another address does.
        office.tell(&updated(&anna, 2, ADDRESS, EMAIL)).await.unwrap();
        office.tell(&completed_as(&anna, "second")).await.unwrap();
        assert!(office.mails().await.is_empty());
        office.tell(&updated(&anna, 3, "new@example.com", EMAIL)).await.unwrap();
        office.tell(&completed_as(&anna, "third")).await.unwrap();
        assert_eq!(office.mails().await.len(), 1);
    }
}

#[tokio::test]
async fn a_full_mailbox_an_old_address_and_mail_of_others_change_nothing() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    hears(&office, &feedback(&anna, bounce("Transient"), ADDRESS)).await;
    hears(&office, &feedback(&anna, bounce("Permanent"), "old@example.com")).await;
    hears(&office, &feedback(&UserId::generate(), bounce("Permanent"), ADDRESS)).await;
    hears(&office, &feedback(&anna, json!({"eventType": "Delivery"}), ADDRESS)).await;
    let untagged = feedback(&anna, complaint(), ADDRESS).replace("\"user\"", "\"other\"");
    hears(&office, &untagged).await;
    office.tell(&completed(&anna)).await.unwrap();
    assert_eq!(office.mails().await.len(), 1);
}

#[tokio::test]
async fn a_complaint_that_comes_after_the_erasure_brings_nothing_back() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    office.tell(&deleted(&anna, 2)).await.unwrap();
    hears(&office, &feedback(&anna, complaint(), ADDRESS)).await;
    assert!(!format!("{:?}", office.items().await).contains(ADDRESS));
}

#[tokio::test]
async fn feedback_that_is_none_comes_again() {
    let office = Office::open().await;
    office.message("notifications-feedback", "{\"eventType\": 1}", NOW, 1).await.unwrap_err();
}

#[tokio::test]
async fn a_suppressed_address_does_not_get_a_text_message_instead() {
    let anna = UserId::generate();
    let office = Office::with(&anna, SMS).await;
    hears(&office, &feedback(&anna, complaint(), ADDRESS)).await;
    office.sns(6, down()).await;
    office.hand(Channel::Sms, &completed(&anna), NOW, 1).await.unwrap_err();
    assert!(office.mails().await.is_empty());
    office.text(&completed(&anna)).await.unwrap();
    assert_eq!(office.texts().await.len(), 7);
}
