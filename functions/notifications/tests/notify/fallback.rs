//! When SMS fails, the same text goes by e-mail.

use contracts::{
    Position, UserId,
    events::{Channel, NotificationFailed, NotificationSent, Undelivered},
};
use wiremock::ResponseTemplate;

use crate::fixture::*;

async fn assert_email_instead(fixture: &Fixture, anna: &UserId) {
    let [mail] = &fixture.sent_emails().await[..] else { panic!("one e-mail") };
    let text = mail["Content"]["Simple"]["Body"]["Text"]["Data"].as_str().unwrap();
    assert!(text.contains(&format!("Your order {} was cancelled.", order_of(anna))), "{text}");
    let sent: NotificationSent = fixture.published().await[0].decode().unwrap();
    assert_eq!((sent.channel, sent.sent_by), (Channel::Sms, Channel::Email));
}

#[tokio::test]
async fn while_sns_fails_the_same_text_goes_by_email_once() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, SMS).await;
    fixture.sns(100, down()).await;
    fixture.receive_sms(&cancelled(&anna)).await.unwrap();
    fixture.receive_sms(&cancelled(&anna)).await.unwrap();
    assert_eq!(fixture.sent_sms().await.len(), 6, "tried as often as there is time for");
    assert_email_instead(&fixture, &anna).await;
}

#[tokio::test]
async fn an_invalid_number_is_not_retried_and_the_text_goes_by_email() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, SMS).await;
    fixture.sns(100, sns_refusal("InvalidParameter")).await;
    fixture.receive_sms(&cancelled(&anna)).await.unwrap();
    assert_eq!(fixture.sent_sms().await.len(), 1);
    assert_email_instead(&fixture, &anna).await;
}

#[tokio::test]
async fn with_the_breaker_open_sns_is_not_called_and_the_text_goes_by_email() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, SMS).await;
    fixture.sns(1000, down()).await;
    let orders: Vec<_> = (0..5).map(|n| completed_as(&anna, &format!("down-{n}"))).collect();
    futures::future::join_all(orders.iter().map(|order| fixture.receive_sms(order))).await;
    let (calls, mails) = (fixture.sent_sms().await.len(), fixture.sent_emails().await.len());
    assert_eq!(mails, 5);
    fixture.receive_sms(&cancelled(&anna)).await.unwrap();
    assert_eq!((fixture.sent_sms().await.len(), fixture.sent_emails().await.len()), (calls, 6));
}

#[tokio::test]
async fn with_sms_off_sns_is_not_called_and_the_text_goes_by_email() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, SMS).await;
    fixture.notifier.sms_switch.set(Position::Off);
    fixture.receive_sms(&cancelled(&anna)).await.unwrap();
    fixture.receive_sms(&cancelled(&anna)).await.unwrap();
    assert!(fixture.sent_sms().await.is_empty());
    assert_email_instead(&fixture, &anna).await;

    fixture.notifier.sms_switch.set(Position::On);
    fixture.receive_sms(&completed_as(&anna, "after")).await.unwrap();
    assert_eq!((fixture.sent_sms().await.len(), fixture.sent_emails().await.len()), (1, 1));
}

#[tokio::test]
async fn a_customer_who_gets_emails_gets_no_second_one_instead_of_an_sms() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, BOTH).await;
    fixture.sns(100, down()).await;
    fixture.receive_on_both(&cancelled(&anna)).await;
    fixture.receive_sms(&cancelled(&anna)).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 1);
    let events = fixture.published().await;
    let failed = events.iter().find_map(|event| event.decode::<NotificationFailed>().ok()).unwrap();
    assert_eq!((failed.channel, failed.reason), (Channel::Sms, Undelivered::Provider));
}

#[tokio::test]
async fn with_both_providers_failing_the_message_is_retried() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, SMS).await;
    fixture.sns(6, down()).await;
    fixture.ses(6, down()).await;
    fixture.receive_sms(&cancelled(&anna)).await.unwrap_err();
    fixture.receive_sms(&cancelled(&anna)).await.unwrap();
    assert_eq!((fixture.sent_sms().await.len(), fixture.sent_emails().await.len()), (7, 6));
}

#[tokio::test]
async fn a_failed_call_of_sns_is_retried_and_causes_no_email() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, SMS).await;
    fixture.sns(1, sns_refusal("Throttling")).await;
    fixture.sns(1, ResponseTemplate::new(500)).await;
    fixture.receive_sms(&cancelled(&anna)).await.unwrap();
    assert_eq!((fixture.sent_sms().await.len(), fixture.sent_emails().await.len()), (3, 0));
}
