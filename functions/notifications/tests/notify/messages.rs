//! Which messages customers get, by which channel.

use contracts::{
    UserId,
    events::{
        Channel, NotificationSent, PaymentPending, RefundCause, ShipmentDelivered, ShipmentShipped, WaitsFor,
    },
};
use rstest::rstest;
use serde_json::json;

use crate::fixture::*;

#[tokio::test]
async fn a_completed_order_is_announced_by_email() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    fixture.receive_on_both(&completed(&anna)).await;
    let [mail] = &fixture.sent_emails().await[..] else { panic!("one e-mail") };
    assert_eq!(mail["Destination"]["ToAddresses"], json!([ADDRESS]));
    assert_eq!(mail["FromEmailAddress"], "shop@example.com");
    assert_eq!(mail["ConfigurationSetName"], "settings");
    assert_eq!(mail["EmailTags"], json!([{"Name": "user", "Value": anna.as_str()}]));
    let simple = &mail["Content"]["Simple"];
    assert!(simple["Subject"]["Data"].as_str().unwrap().contains(order_of(&anna).as_str()));
    assert!(simple["Body"]["Text"]["Data"].as_str().unwrap().contains("Hello Anna <b>,"));
    assert!(simple["Body"]["Html"]["Data"].as_str().unwrap().contains("Hello Anna &#60;b&#62;,"));
    assert!(fixture.sent_sms().await.is_empty());
}

#[tokio::test]
async fn an_sms_names_the_order_and_its_status() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, SMS).await;
    fixture.receive_on_both(&cancelled(&anna)).await;
    let [text] = &fixture.sent_sms().await[..] else { panic!("one SMS") };
    let said = format!("Message=Your%20order%20{}%20was%20cancelled.&", order_of(&anna));
    assert!(text.contains(&said), "{text}");
    assert!(text.contains("PhoneNumber=%2B14155550123") && text.contains("Transactional"), "{text}");
    assert!(fixture.sent_emails().await.is_empty());
}

#[tokio::test]
async fn the_event_of_a_registration_sends_nothing_because_users_sends_a_code() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.receive(&registered(&anna, BOTH)).await.unwrap();
    assert!(fixture.sent_emails().await.is_empty() && fixture.published().await.is_empty());
}

#[tokio::test]
async fn each_update_of_an_order_goes_out_on_both_channels() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, BOTH).await;
    let order_id = order_of(&anna);
    let of_payments = |payload: &PaymentPending| event(order_id.as_str(), Some(&anna), 2, payload);
    let shipped = ShipmentShipped {
        order_id: order_id.clone(),
        carrier: "Paper Post".to_owned(),
        tracking_number: "TRACK-1".to_owned(),
    };
    let events = [
        of_payments(&PaymentPending {
            order_id: order_id.clone(),
            amount: AMOUNT,
            waits_for: WaitsFor::Customer,
        }),
        completed(&anna),
        cancelled(&anna),
        refunded(&anna, RefundCause::OrderCancelled),
        event(order_id.as_str(), Some(&anna), 11, &shipped),
        event(order_id.as_str(), Some(&anna), 12, &ShipmentDelivered { order_id: order_id.clone() }),
    ];
    for (count, event) in (1..).zip(&events) {
        fixture.receive_on_both(event).await;
        assert_eq!(
            (fixture.sent_emails().await.len(), fixture.sent_sms().await.len()),
            (count, count),
            "{event:?}"
        );
    }
    let last = fixture.sent_emails().await;
    assert!(last[4]["Content"]["Simple"]["Body"]["Text"]["Data"].to_string().contains("TRACK-1"));
    assert!(!fixture.sent_sms().await[4].contains("TRACK"));
}

#[tokio::test]
async fn a_payment_that_waits_for_the_bank_is_not_announced() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, BOTH).await;
    let payload = PaymentPending { order_id: order_of(&anna), amount: AMOUNT, waits_for: WaitsFor::Bank };
    fixture.receive_on_both(&event(order_of(&anna).as_str(), Some(&anna), 2, &payload)).await;
    assert!(fixture.sent_emails().await.is_empty() && fixture.sent_sms().await.is_empty());
}

#[rstest]
#[case(EMAIL, 1, 0)]
#[case(SMS, 0, 1)]
#[case(BOTH, 1, 1)]
#[case(NONE, 0, 0)]
#[tokio::test]
async fn a_customer_is_notified_on_the_preferred_channels(
    #[case] wants: contracts::events::NotificationPreferences,
    #[case] mails: usize,
    #[case] texts: usize,
) {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, wants).await;
    fixture.receive_on_both(&completed(&anna)).await;
    assert_eq!((fixture.sent_emails().await.len(), fixture.sent_sms().await.len()), (mails, texts));
    assert_eq!(fixture.published().await.len(), mails + texts, "no event without a message");
}

#[tokio::test]
async fn a_customer_without_a_phone_number_gets_no_sms() {
    let anna = UserId::generate();
    let fixture = Fixture::open().await;
    let mut without = updated(&anna, 1, ADDRESS, BOTH);
    without.data["phone"] = json!(null);
    fixture.receive(&without).await.unwrap();
    fixture.receive_on_both(&completed(&anna)).await;
    assert_eq!((fixture.sent_emails().await.len(), fixture.sent_sms().await.len()), (1, 0));
}

#[tokio::test]
async fn a_message_that_was_sent_is_an_event_and_nothing_but_the_contact_is_personal() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, BOTH).await;
    let about = completed(&anna);
    fixture.receive_on_both(&about).await;
    let events = fixture.published().await;
    assert_eq!(events.len(), 2);
    for event in &events {
        let sent: NotificationSent = event.decode().unwrap();
        assert_eq!((sent.about, sent.order_id), (about.event_id.clone(), Some(order_of(&anna))));
        assert_eq!(sent.channel, sent.sent_by);
        assert_eq!((&event.correlation_id, event.sequence), (&about.correlation_id, 1));
        assert_eq!(event.causation_id, about.event_id.as_str());
        assert_eq!(event.source, "notifications");
    }
    assert_ne!(events[0].subject, events[1].subject);
    assert!(events.iter().any(|event| event.data["channel"] == Channel::Sms.as_str()));
    for item in fixture.items().await {
        let text = format!("{item:?}");
        let personal = [ADDRESS, PHONE, "Anna"].iter().any(|word| text.contains(word));
        assert_eq!(personal, text.contains("CONTACT#"), "{text}");
    }
}

#[tokio::test]
async fn an_event_without_a_user_is_retried() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    let mut without_user = completed(&anna);
    without_user.metadata.user_id = None;
    fixture.receive(&without_user).await.unwrap_err();
    assert!(fixture.sent_emails().await.is_empty());
}

#[tokio::test]
async fn an_event_without_a_message_on_its_channel_is_acknowledged() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, BOTH).await;
    let mut other = completed(&anna);
    other.event_type = "order.inventory_reserved".to_owned();
    fixture.receive_on_both(&other).await;
    // Contact data comes through the e-mail queue only.
    fixture.receive_sms(&registered(&UserId::generate(), BOTH)).await.unwrap();
    assert!(fixture.sent_emails().await.is_empty() && fixture.sent_sms().await.is_empty());
}
