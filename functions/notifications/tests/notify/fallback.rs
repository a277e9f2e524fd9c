//! When SMS fails, the same text goes by e-mail.

use contracts::{
    UserId,
    events::{Channel, NotificationFailed, NotificationSent, Undelivered},
};
use wiremock::ResponseTemplate;

use crate::office::*;

async fn is_told_by_email_instead(office: &Office, anna: &UserId) {
    let [mail] = &office.mails().await[..] else { panic!("one e-mail") };
    let text = mail["Content"]["Simple"]["Body"]["Text"]["Data"].as_str().unwrap();
    assert!(text.contains(&format!("Your order {} was cancelled.", order_of(anna))), "{text}");
    let sent: NotificationSent = office.published().await[0].decode().unwrap();
    assert_eq!((sent.channel, sent.sent_by), (Channel::Sms, Channel::Email));
}

#[tokio::test]
async fn while_sns_fails_the_same_text_goes_by_email_once() {
    let anna = UserId::generate();
    let office = Office::with(&anna, SMS).await;
    office.sns(100, down()).await;
    office.text(&cancelled(&anna)).await.unwrap();
    office.text(&cancelled(&anna)).await.unwrap();
    assert_eq!(office.texts().await.len(), 6, "tried as often as there is time for");
    is_told_by_email_instead(&office, &anna).await;
}

#[tokio::test]
async fn a_number_that_sns_says_is_none_is_not_tried_again_and_the_text_goes_by_email() {
    let anna = UserId::generate();
    let office = Office::with(&anna, SMS).await;
    office.sns(100, sns_refusal("InvalidParameter")).await;
    office.text(&cancelled(&anna)).await.unwrap();
    assert_eq!(office.texts().await.len(), 1);
    is_told_by_email_instead(&office, &anna).await;
}

#[tokio::test]
async fn with_the_breaker_open_sns_is_not_called_and_the_text_goes_by_email() {
    let anna = UserId::generate();
    let office = Office::with(&anna, SMS).await;
    office.sns(1000, down()).await;
    let orders: Vec<_> = (0..5).map(|n| completed_as(&anna, &format!("down-{n}"))).collect();
    futures::future::join_all(orders.iter().map(|order| office.text(order))).await;
    let (calls, mails) = (office.texts().await.len(), office.mails().await.len());
    assert_eq!(mails, 5);
    office.text(&cancelled(&anna)).await.unwrap();
    assert_eq!((office.texts().await.len(), office.mails().await.len()), (calls, 6));
}

#[tokio::test]
async fn who_gets_emails_has_the_events_own_one_and_no_second() {
    let anna = UserId::generate();
    let office = Office::with(&anna, BOTH).await;
    office.sns(100, down()).await;
    office.both(&cancelled(&anna)).await;
    office.text(&cancelled(&anna)).await.unwrap();
    assert_eq!(office.mails().await.len(), 1);
    let events = office.published().await;
    let failed = events.iter().find_map(|event| event.decode::<NotificationFailed>().ok()).unwrap();
    assert_eq!((failed.channel, failed.reason), (Channel::Sms, Undelivered::Provider));
}

#[tokio::test]
async fn with_both_providers_failing_it_comes_again() {
    let anna = UserId::generate();
    let office = Office::with(&anna, SMS).await;
    office.sns(6, down()).await;
    office.ses(6, down()).await;
    office.text(&cancelled(&anna)).await.unwrap_err();
    office.text(&cancelled(&anna)).await.unwrap();
    assert_eq!((office.texts().await.len(), office.mails().await.len()), (7, 6));
}

#[tokio::test]
async fn sns_failing_now_and_then_costs_a_second_call_and_no_email() {
    let anna = UserId::generate();
    let office = Office::with(&anna, SMS).await;
    office.sns(1, sns_refusal("Throttling")).await;
    office.sns(1, ResponseTemplate::new(500)).await;
    office.text(&cancelled(&anna)).await.unwrap();
    assert_eq!((office.texts().await.len(), office.mails().await.len()), (3, 0));
}
