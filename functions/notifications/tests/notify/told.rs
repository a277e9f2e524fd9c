//! Which messages customers get, by which channel.

use contracts::{
    UserId,
    events::{
        Channel, NotificationSent, PaymentPending, RefundCause, ShipmentDelivered, ShipmentShipped, WaitsFor,
    },
};
use rstest::rstest;
use serde_json::json;

use crate::office::*;

#[tokio::test]
async fn a_customer_is_told_by_email_that_the_order_is_complete() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    office.both(&completed(&anna)).await;
    let [mail] = &office.mails().await[..] else { panic!("one e-mail") };
    assert_eq!(mail["Destination"]["ToAddresses"], json!([ADDRESS]));
    assert_eq!(mail["FromEmailAddress"], "shop@example.com");
    assert_eq!(mail["ConfigurationSetName"], "settings");
    assert_eq!(mail["EmailTags"], json!([{"Name": "user", "Value": anna.as_str()}]));
    let simple = &mail["Content"]["Simple"];
    assert!(simple["Subject"]["Data"].as_str().unwrap().contains(order_of(&anna).as_str()));
    assert!(simple["Body"]["Text"]["Data"].as_str().unwrap().contains("Hello Anna <b>,"));
    assert!(simple["Body"]["Html"]["Data"].as_str().unwrap().contains("Hello Anna &#60;b&#62;,"));
    assert!(office.texts().await.is_empty());
}

#[tokio::test]
async fn a_text_message_says_which_order_and_what_became_of_it() {
    let anna = UserId::generate();
    let office = Office::with(&anna, SMS).await;
    office.both(&cancelled(&anna)).await;
    let [text] = &office.texts().await[..] else { panic!("one text message") };
    let said = format!("Message=Your%20order%20{}%20was%20cancelled.&", order_of(&anna));
    assert!(text.contains(&said), "{text}");
    assert!(text.contains("PhoneNumber=%2B14155550123") && text.contains("Transactional"), "{text}");
    assert!(office.mails().await.is_empty());
}

#[tokio::test]
async fn who_registers_is_welcomed_by_email() {
    let (office, anna) = (Office::open().await, UserId::generate());
    office.tell(&registered(&anna, BOTH)).await.unwrap();
    office.tell(&registered(&anna, BOTH)).await.unwrap();
    let [mail] = &office.mails().await[..] else { panic!("one e-mail") };
    assert_eq!(mail["Content"]["Simple"]["Subject"]["Data"], "Welcome");
    assert!(!mail["Content"]["Simple"]["Body"].to_string().contains("Anna"), "nothing that was typed");
}

#[tokio::test]
async fn each_thing_that_happens_to_an_order_is_told_by_both_channels() {
    let anna = UserId::generate();
    let office = Office::with(&anna, BOTH).await;
    let order_id = order_of(&anna);
    let of_payments = |payload: &PaymentPending| event(order_id.as_str(), Some(&anna), 2, payload);
    let shipped = ShipmentShipped {
        order_id: order_id.clone(),
        carrier: "Paper Post".to_owned(),
        tracking_number: "TRACK-1".to_owned(),
    };
    let events = [
        created(&anna),
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
    for (told, event) in (1..).zip(&events) {
        office.both(event).await;
        assert_eq!((office.mails().await.len(), office.texts().await.len()), (told, told), "{event:?}");
    }
    let last = office.mails().await;
    assert!(last[5]["Content"]["Simple"]["Body"]["Text"]["Data"].to_string().contains("TRACK-1"));
    assert!(!office.texts().await[5].contains("TRACK"));
}

#[tokio::test]
async fn what_the_bank_does_by_itself_is_not_told() {
    let anna = UserId::generate();
    let office = Office::with(&anna, BOTH).await;
    let payload = PaymentPending { order_id: order_of(&anna), amount: AMOUNT, waits_for: WaitsFor::Bank };
    office.both(&event(order_of(&anna).as_str(), Some(&anna), 2, &payload)).await;
    assert!(office.mails().await.is_empty() && office.texts().await.is_empty());
}

#[rstest]
#[case(EMAIL, 1, 0)]
#[case(SMS, 0, 1)]
#[case(BOTH, 1, 1)]
#[case(NONE, 0, 0)]
#[tokio::test]
async fn a_customer_is_told_by_the_channels_that_he_wants(
    #[case] wants: contracts::events::NotificationPreferences,
    #[case] mails: usize,
    #[case] texts: usize,
) {
    let anna = UserId::generate();
    let office = Office::with(&anna, wants).await;
    office.both(&completed(&anna)).await;
    assert_eq!((office.mails().await.len(), office.texts().await.len()), (mails, texts));
    assert_eq!(office.published().await.len(), mails + texts, "who is not told leaves no trace");
}

#[tokio::test]
async fn who_wants_text_messages_and_has_no_number_gets_none() {
    let anna = UserId::generate();
    let office = Office::open().await;
    let mut without = updated(&anna, 1, ADDRESS, BOTH);
    without.data["phone"] = json!(null);
    office.tell(&without).await.unwrap();
    office.both(&completed(&anna)).await;
    assert_eq!((office.mails().await.len(), office.texts().await.len()), (1, 0));
}

#[tokio::test]
async fn a_message_that_was_sent_is_an_event_and_nothing_but_the_contact_is_personal() {
    let anna = UserId::generate();
    let office = Office::with(&anna, BOTH).await;
    let about = completed(&anna);
    office.both(&about).await;
    let events = office.published().await;
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
    for item in office.items().await {
        let text = format!("{item:?}");
        let personal = [ADDRESS, PHONE, "Anna"].iter().any(|word| text.contains(word));
        assert_eq!(personal, text.contains("CONTACT#"), "{text}");
    }
}

#[tokio::test]
async fn what_nobody_can_be_told_comes_again() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    let mut nobodys = completed(&anna);
    nobodys.metadata.user_id = None;
    office.tell(&nobodys).await.unwrap_err();
    assert!(office.mails().await.is_empty());
}

#[tokio::test]
async fn an_event_that_a_channel_does_not_tell_of_is_acknowledged() {
    let anna = UserId::generate();
    let office = Office::with(&anna, BOTH).await;
    let mut other = completed(&anna);
    other.event_type = "order.inventory_reserved".to_owned();
    office.both(&other).await;
    // Contact data comes through the e-mail queue only.
    office.text(&registered(&UserId::generate(), BOTH)).await.unwrap();
    assert!(office.mails().await.is_empty() && office.texts().await.is_empty());
}
