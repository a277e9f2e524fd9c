//! Messages about accounts, and what customers get whose address or number is not verified.

use contracts::{
    AccountContent, AccountMessage, Position, Recipient, UserId,
    events::{Channel, NotificationSent},
};
use jiff::Timestamp;
use lambda_kit::{error::error_chain, limits::NOTIFICATION_RECEIVES};
use serde_json::{Value, json};

use crate::fixture::*;

fn to_address(user: &UserId) -> AccountMessage {
    code_to(user, Recipient::Email(ADDRESS.to_owned()))
}

fn to_phone(user: &UserId) -> AccountMessage {
    code_to(user, Recipient::Sms(PHONE.to_owned()))
}

fn text_of(mail: &Value) -> &str {
    mail["Content"]["Simple"]["Body"]["Text"]["Data"].as_str().unwrap()
}

/// Anna, whose address and number are not verified.
async fn with_unverified(anna: &UserId) -> Fixture {
    let fixture = Fixture::open().await;
    fixture.receive(&unverified(updated(anna, 1, ADDRESS, BOTH))).await.unwrap();
    fixture
}

/// Delivers the events of this many orders, each a second after the one before.
// A message's clock begins anew at its own time, and goes on while the message is handled.
async fn order_emails(fixture: &Fixture, anna: &UserId, orders: i64) {
    for order in 0..orders {
        fixture.receive_at(&completed_as(anna, &format!("k-{order}")), NOW + order).await.unwrap();
    }
}

#[tokio::test]
async fn a_code_goes_out_once_before_the_user_is_known_and_no_table_holds_it() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let message = to_address(&anna);
    for _ in 0..2 {
        fixture.receive_account(&message).await.unwrap();
    }
    let [mail] = &fixture.sent_emails().await[..] else { panic!("one e-mail") };
    assert_eq!(mail["Destination"]["ToAddresses"], json!([ADDRESS]));
    let text = text_of(mail);
    assert!(text.contains(CODE) && text.contains("https://shop.example/#confirm=12345678"), "{text}");
    let stored = format!("{:?}", fixture.items().await);
    assert!(!stored.contains(CODE) && !stored.contains(ADDRESS), "{stored}");
    assert!(fixture.published().await.is_empty(), "no event reports it");
}

#[tokio::test]
async fn a_code_for_a_number_goes_by_sms_and_never_by_email() {
    let anna = UserId::generate();
    let fixture = with_unverified(&anna).await;
    fixture.receive_account(&to_phone(&anna)).await.unwrap();
    let [sms] = &fixture.sent_sms().await[..] else { panic!("one SMS") };
    assert!(sms.contains("PhoneNumber=%2B14155550123") && sms.contains(CODE), "{sms}");
    fixture.sns(100, down()).await;
    fixture.receive_account(&to_phone(&anna)).await.unwrap_err();
    assert!(fixture.sent_emails().await.is_empty());
}

#[tokio::test]
async fn with_sms_off_a_code_for_a_number_is_dropped() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.notifier.sms_switch.set(Position::Off);
    fixture.receive_account(&to_phone(&anna)).await.unwrap();
    assert!(fixture.sent_sms().await.is_empty() && fixture.sent_emails().await.is_empty());
    assert!(fixture.requeued().await.is_empty(), "it would be too old when SMS are on again");
}

#[tokio::test]
async fn no_code_goes_to_a_country_that_is_not_listed_or_after_its_time_or_without_a_recipient() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    let elsewhere = code_to(&anna, Recipient::Sms("+4915112345678".to_owned()));
    let late = AccountMessage { expires_at: Timestamp::from_second(NOW).unwrap(), ..to_address(&anna) };
    let without = AccountMessage { recipient: None, ..to_address(&anna) };
    for message in [elsewhere, late, without] {
        fixture.receive_account(&message).await.unwrap();
    }
    assert!(fixture.sent_emails().await.is_empty() && fixture.sent_sms().await.is_empty());
}

#[tokio::test]
async fn no_code_goes_to_an_erased_user_or_a_suppressed_address() {
    let (anna, ben) = (UserId::generate(), UserId::generate());
    let fixture = with_unverified(&anna).await;
    let complaint = json!({
        "eventType": "Complaint", "mail": {"destination": [ADDRESS], "tags": {"user": [anna.as_str()]}},
    });
    fixture.message("notifications-feedback", &complaint.to_string(), NOW, 1).await.unwrap();
    fixture.receive_account(&to_address(&anna)).await.unwrap();
    fixture.receive(&deleted(&ben, 2)).await.unwrap();
    fixture.receive_account(&to_address(&ben)).await.unwrap();
    assert!(fixture.sent_emails().await.is_empty());
    let new = code_to(&anna, Recipient::Email("new@example.com".to_owned()));
    fixture.receive_account(&new).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 1, "another address is not suppressed");
}

#[tokio::test]
async fn a_code_waits_in_its_own_queue_while_its_provider_is_down() {
    let anna = UserId::generate();
    let fixture = with_unverified(&anna).await;
    fixture.ses(30, down()).await;
    let failing = futures::future::join_all(
        (0..5).map(|_| async { fixture.receive_account(&to_address(&anna)).await }),
    );
    assert!(failing.await.iter().all(Result::is_err));
    let waiting = to_address(&anna);
    fixture.receive_account(&waiting).await.unwrap();
    let [requeued] = &fixture.queued("SendMessage").await[..] else { panic!("one message") };
    assert!(requeued["QueueUrl"].as_str().unwrap().ends_with("/codes"), "{requeued}");
    assert_eq!(requeued["MessageBody"], serde_json::to_string(&waiting).unwrap());
}

#[tokio::test]
async fn a_code_that_is_given_up_says_nothing_of_its_address() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    fixture.ses(1, ses_refusal("MessageRejected")).await;
    let body = serde_json::to_string(&to_address(&anna)).unwrap();
    let error = fixture.message("notifications-codes", &body, NOW, NOTIFICATION_RECEIVES).await.unwrap_err();
    assert!(!error_chain(&error).contains("anna"), "{}", error_chain(&error));
    let body = body.replace("verify_email", CODE);
    let error = fixture.message("notifications-codes", &body, NOW, 1).await.unwrap_err();
    assert!(!error_chain(&error).contains(CODE), "{}", error_chain(&error));
}

#[tokio::test]
async fn sms_about_orders_go_to_verified_numbers_only() {
    let anna = UserId::generate();
    let fixture = with_unverified(&anna).await;
    fixture.receive_on_both(&completed(&anna)).await;
    assert!(fixture.sent_sms().await.is_empty());
    fixture.receive(&updated(&anna, 2, ADDRESS, BOTH)).await.unwrap();
    fixture.receive_on_both(&completed_as(&anna, "second")).await;
    assert_eq!(fixture.sent_sms().await.len(), 1);
}

#[tokio::test]
async fn no_sms_about_an_order_goes_to_a_country_that_is_not_listed() {
    let anna = UserId::generate();
    let fixture = Fixture::open().await;
    let mut elsewhere = updated(&anna, 1, ADDRESS, BOTH);
    elsewhere.data["phone"] = json!("+4915112345678");
    fixture.receive(&elsewhere).await.unwrap();
    fixture.receive_on_both(&completed(&anna)).await;
    assert_eq!((fixture.sent_emails().await.len(), fixture.sent_sms().await.len()), (1, 0));
}

#[tokio::test]
async fn an_unverified_address_gets_emails_without_the_name() {
    let anna = UserId::generate();
    let fixture = with_unverified(&anna).await;
    fixture.receive(&completed(&anna)).await.unwrap();
    let [mail] = &fixture.sent_emails().await[..] else { panic!("one e-mail") };
    assert!(text_of(mail).starts_with("Hello,") && !mail.to_string().contains("Anna"), "{mail}");
}

#[tokio::test]
async fn an_unverified_address_gets_ten_emails_whichever_accounts_they_are_about_and_a_verified_one_all() {
    let (anna, other) = (UserId::generate(), UserId::generate());
    let fixture = with_unverified(&anna).await;
    order_emails(&fixture, &anna, 8).await;
    for second in 0..4 {
        fixture.receive_account_at(&to_address(&other), NOW + 8 + second).await.unwrap();
    }
    fixture.receive_at(&completed_as(&anna, "one-more"), NOW + 12).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 10);
    assert_eq!(fixture.published().await.len(), 8, "a message that is dropped is no event");
    for (order, seconds) in [("first", 601), ("second", 602)] {
        fixture.receive_at(&completed_as(&anna, order), NOW + seconds).await.unwrap();
    }
    assert_eq!(fixture.sent_emails().await.len(), 11, "one in ten minutes");

    fixture.receive(&updated(&anna, 2, ADDRESS, EMAIL)).await.unwrap();
    for order in 0..12 {
        fixture.receive_at(&completed_as(&anna, &format!("verified-{order}")), NOW + 603).await.unwrap();
    }
    assert_eq!(fixture.sent_emails().await.len(), 23);
}

#[tokio::test]
async fn a_message_that_waited_or_failed_is_not_counted_again() {
    let anna = UserId::generate();
    let fixture = with_unverified(&anna).await;
    order_emails(&fixture, &anna, 12).await;
    assert_eq!(fixture.sent_emails().await.len(), 10);
    let admitted = json!({"Admitted": {
        "stringValue": "true", "dataType": "String", "stringListValues": [], "binaryListValues": []
    }});
    let body = serde_json::to_string(&completed_as(&anna, "waited")).unwrap();
    fixture.message_with("notifications-email", &body, NOW + 12, 1, &admitted).await.unwrap();
    fixture.deliver(Channel::Email, &completed_as(&anna, "failed"), NOW + 12, 2).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 12);
}

#[tokio::test]
async fn an_email_that_replaces_an_sms_counts_for_an_unverified_address() {
    let anna = UserId::generate();
    let fixture = Fixture::open().await;
    let mut contact = updated(&anna, 1, ADDRESS, SMS);
    contact.data["email_verified"] = json!(false);
    fixture.receive(&contact).await.unwrap();
    fixture.sns(1000, sns_refusal("InvalidParameter")).await;
    for order in 0..12 {
        let event = completed_as(&anna, &format!("k-{order}"));
        fixture.deliver(Channel::Sms, &event, NOW + order, 1).await.unwrap();
    }
    assert_eq!(fixture.sent_emails().await.len(), 10);
    let events = fixture.published().await;
    let sent = events.iter().filter(|event| event.decode::<NotificationSent>().is_ok()).count();
    assert_eq!((events.len(), sent), (12, 10));
}

#[tokio::test]
async fn the_old_address_is_told_of_a_change_without_a_code() {
    let (fixture, anna) = (Fixture::open().await, UserId::generate());
    for content in [AccountContent::EmailChangeRequested, AccountContent::EmailChanged] {
        let message = AccountMessage { verified: true, content, ..to_address(&anna) };
        fixture.receive_account(&message).await.unwrap();
    }
    let mails = fixture.sent_emails().await;
    let subjects: Vec<&Value> =
        mails.iter().map(|mail| &mail["Content"]["Simple"]["Subject"]["Data"]).collect();
    assert_eq!(subjects, ["Your e-mail address is about to change", "Your e-mail address was changed"]);
    assert!(mails.iter().all(|mail| !mail.to_string().contains(CODE)));
}
