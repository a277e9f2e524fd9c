//! Invalid addresses, and addresses whose owners complained.

use contracts::{
    UserId,
    events::{Channel, NotificationFailed, Undelivered},
};
use serde_json::{Value, json};

use crate::fixture::*;

async fn failed(fixture: &Fixture) -> NotificationFailed {
    let [event] = &fixture.published().await[..] else { panic!("one event") };
    event.decode().unwrap()
}

#[tokio::test]
async fn an_invalid_address_is_recorded_and_not_retried() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    fixture.ses(1, ses_refusal("BadRequestException")).await;
    for later in [0, 60, 3600] {
        fixture.receive_at(&completed(&anna), NOW + later).await.unwrap();
    }
    assert_eq!(fixture.sent_emails().await.len(), 1);
    assert_eq!(failed(&fixture).await.reason, Undelivered::InvalidAddress);
}

#[tokio::test]
async fn an_address_that_ses_refuses_does_not_open_the_breaker() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    fixture.ses(9, ses_refusal("BadRequestException")).await;
    for order in 0..9 {
        fixture.receive(&completed_as(&anna, &format!("k-{order}"))).await.unwrap();
    }
    fixture.receive(&completed(&anna)).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 10);
}

/// An event in SES's format (Developer guide, "Examples of event data").
fn feedback(anna: &UserId, event: Value, address: &str) -> String {
    let mut feedback = json!({
        "mail": {
            "timestamp": "2026-11-21T12:00:00.000Z", "messageId": "m-1", "source": "shop@example.com",
            "destination": [address],
            "tags": {"ses:configuration-set": ["settings"], "user": [anna.as_str()]},
        },
    });
    feedback.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
    feedback.to_string()
}

fn bounce(kind: &str) -> Value {
    json!({"eventType": "Bounce", "bounce": {
        "bounceType": kind, "bounceSubType": "General",
        "bouncedRecipients": [{"emailAddress": ADDRESS, "diagnosticCode": "smtp; 550 5.1.1"}],
    }})
}

/// A complaint of the kind that the recipient's provider reports, if it reports one.
fn complaint(kind: Option<&str>) -> Value {
    json!({"eventType": "Complaint", "complaint": {
        "complaintFeedbackType": kind, "complainedRecipients": [{"emailAddress": ADDRESS}],
    }})
}

async fn hears(fixture: &Fixture, body: &str) {
    fixture.message("notifications-feedback", body, NOW, 1).await.unwrap();
}

#[tokio::test]
async fn e_mail_to_an_address_stops_after_a_bounce_or_a_complaint() {
    for event in [bounce("Permanent"), complaint(None), complaint(Some("abuse"))] {
        let anna = UserId::generate();
        let fixture = Fixture::with(&anna, EMAIL).await;
        hears(&fixture, &feedback(&anna, event, ADDRESS)).await;
        fixture.receive(&completed(&anna)).await.unwrap();
        assert!(fixture.sent_emails().await.is_empty());
        assert_eq!(failed(&fixture).await.reason, Undelivered::Suppressed);

        // Another change of the profile does not lift the stop; another address does.
        fixture.receive(&updated(&anna, 2, ADDRESS, EMAIL)).await.unwrap();
        fixture.receive(&completed_as(&anna, "second")).await.unwrap();
        assert!(fixture.sent_emails().await.is_empty());
        fixture.receive(&updated(&anna, 3, "new@example.com", EMAIL)).await.unwrap();
        fixture.receive(&completed_as(&anna, "third")).await.unwrap();
        assert_eq!(fixture.sent_emails().await.len(), 1);
    }
}

#[tokio::test]
async fn feedback_about_a_full_mailbox_an_old_address_an_unknown_user_or_no_spam_changes_nothing() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    hears(&fixture, &feedback(&anna, bounce("Transient"), ADDRESS)).await;
    hears(&fixture, &feedback(&anna, bounce("Undetermined"), ADDRESS)).await;
    // The recipient has moved the e-mail out of the folder for spam.
    hears(&fixture, &feedback(&anna, complaint(Some("not-spam")), ADDRESS)).await;
    hears(&fixture, &feedback(&anna, bounce("Permanent"), "old@example.com")).await;
    hears(&fixture, &feedback(&UserId::generate(), bounce("Permanent"), ADDRESS)).await;
    hears(&fixture, &feedback(&anna, json!({"eventType": "Delivery"}), ADDRESS)).await;
    let untagged = feedback(&anna, complaint(None), ADDRESS).replace("\"user\"", "\"other\"");
    hears(&fixture, &untagged).await;
    fixture.receive(&completed(&anna)).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 1);
}

#[tokio::test]
async fn a_complaint_after_the_erasure_restores_nothing() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    fixture.receive(&deleted(&anna, 2)).await.unwrap();
    hears(&fixture, &feedback(&anna, complaint(None), ADDRESS)).await;
    assert!(!format!("{:?}", fixture.items().await).contains(ADDRESS));
}

/// A new account's code may bounce before its contact is here.
#[tokio::test]
async fn a_bounce_before_its_contact_is_retried_until_the_contact_is_here() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let code = feedback(&anna, bounce("Permanent"), ADDRESS).replace("2026-11-21", "2027-01-15");
    fixture.message("notifications-feedback", &code, NOW, 1).await.unwrap_err();
    fixture.receive(&registered(&anna, EMAIL)).await.unwrap();
    hears(&fixture, &code).await;
    fixture.receive(&completed(&anna)).await.unwrap();
    assert!(fixture.sent_emails().await.is_empty());
}

#[tokio::test]
async fn feedback_that_cannot_be_read_is_retried() {
    let fixture = Fixture::open().await;
    fixture.message("notifications-feedback", "{\"eventType\": 1}", NOW, 1).await.unwrap_err();
}

#[tokio::test]
async fn a_suppressed_address_gets_no_sms_instead() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, SMS).await;
    hears(&fixture, &feedback(&anna, complaint(None), ADDRESS)).await;
    fixture.sns(6, down()).await;
    fixture.deliver(Channel::Sms, &completed(&anna), NOW, 1).await.unwrap_err();
    assert!(fixture.sent_emails().await.is_empty());
    fixture.receive_sms(&completed(&anna)).await.unwrap();
    assert_eq!(fixture.sent_sms().await.len(), 7);
}
