//! SES fails: messages are retried, then put back while the breaker is open, and finally go to the
//! dead-letter queue.

use contracts::{
    Envelope, UserId,
    events::{Channel, NotificationFailed, NotificationSent, Undelivered},
};
use lambda_kit::command::chain;
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::office::*;

/// SES is down and its breaker is open, after five failed e-mails.
async fn with_ses_down(anna: &UserId) -> (Office, usize) {
    let office = Office::with(anna, EMAIL).await;
    office.ses(30, down()).await;
    let events: Vec<Envelope> = (0..5).map(|n| completed_as(anna, &format!("down-{n}"))).collect();
    let told = futures::future::join_all(events.iter().map(|event| office.tell(event))).await;
    assert!(told.iter().all(Result::is_err));
    let calls = office.mails().await.len();
    assert_eq!(calls, 30);
    (office, calls)
}

#[tokio::test]
async fn ses_failing_now_and_then_is_asked_again_at_once() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    office.ses(1, ResponseTemplate::new(429)).await;
    office.ses(1, ResponseTemplate::new(500)).await;
    office.tell(&completed(&anna)).await.unwrap();
    assert_eq!(office.mails().await.len(), 3);
}

#[tokio::test]
async fn a_message_that_ses_does_not_take_comes_again_later_each_time_and_is_then_given_up() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    let event = completed(&anna);
    office.ses(5, ses_refusal("MessageRejected")).await;
    for receives in 1..=4 {
        office.hand(Channel::Email, &event, NOW, receives).await.unwrap_err();
    }
    assert_eq!(office.hidden().await, [2, 10, 50, 250]);
    assert!(office.published().await.is_empty());
    office.hand(Channel::Email, &event, NOW, 5).await.unwrap_err();
    let told = office.published().await;
    let failed: NotificationFailed = told[0].decode().unwrap();
    assert_eq!((failed.reason, failed.channel), (Undelivered::Provider, Channel::Email));

    // An operator redrove it.
    office.tell(&event).await.unwrap();
    let told = office.published().await;
    told[0].decode::<NotificationSent>().unwrap();
    assert_eq!(told[0].sequence, 2);
}

#[tokio::test]
async fn while_ses_is_down_events_go_back_into_the_queue_and_come_out_when_it_may_be_back() {
    let anna = UserId::generate();
    let (office, calls) = with_ses_down(&anna).await;
    let waiting = completed(&anna);
    office.tell(&waiting).await.unwrap();
    assert_eq!(office.mails().await.len(), calls, "SES is not called");
    let [(event, delay)] = &office.put_back().await[..] else { panic!("one event") };
    assert_eq!(event, &waiting);
    assert!((30..=60).contains(delay), "when SES may be back, and spread over half a minute: {delay}");

    office.wait(*delay);
    office.tell_at(event, NOW + delay).await.unwrap();
    office.tell_at(event, NOW + delay + 1).await.unwrap();
    assert_eq!(office.mails().await.len(), calls + 1, "once");
}

#[tokio::test]
async fn a_message_whose_probe_is_not_let_through_any_more_comes_back() {
    let anna = UserId::generate();
    let (office, calls) = with_ses_down(&anna).await;
    office.wait(30);
    // Four at once, for three slots.
    let slow = ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m-2"}));
    office.ses(3, slow.set_delay(std::time::Duration::from_millis(300))).await;
    let events: Vec<Envelope> = (0..4).map(|n| completed_as(&anna, &format!("back-{n}"))).collect();
    let told = futures::future::join_all(events.iter().map(|event| office.tell_at(event, NOW + 30))).await;
    assert!(told.iter().all(Result::is_ok), "{told:?}");
    assert_eq!(office.mails().await.len(), calls + 3);
    let [(event, delay)] = &office.put_back().await[..] else { panic!("one event") };

    office.wait(*delay);
    office.tell_at(event, NOW + 30 + delay).await.unwrap();
    assert_eq!(office.mails().await.len(), calls + 4);
}

#[tokio::test]
async fn an_event_that_cannot_go_back_comes_again_by_itself() {
    let anna = UserId::generate();
    let (office, _) = with_ses_down(&anna).await;
    office.sqs(ResponseTemplate::new(400).set_body_json(json!({"__type": "AccessDenied"}))).await;
    assert!(office.tell(&completed(&anna)).await.is_err());
}

#[tokio::test]
async fn a_failure_does_not_say_whose_address_it_was() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    let body = json!({"message": format!("Email address is not verified: {ADDRESS}")});
    office.ses(1, ses_refusal("MessageRejected").set_body_json(body)).await;
    let error = office.tell(&completed(&anna)).await.unwrap_err();
    assert_eq!(
        chain(&error),
        "the event cannot be handled: the provider refused the message: MessageRejected"
    );
}

/// More failures than open a breaker.
const MANY: u64 = 12;

#[tokio::test]
async fn while_ses_is_busy_events_wait_and_its_breaker_stays_closed() {
    let anna = UserId::generate();
    let office = Office::with(&anna, EMAIL).await;
    office
        .ses(MANY * u64::from(lambda_kit::numbers::SEND.tries), ses_refusal("TooManyRequestsException"))
        .await;
    let events: Vec<Envelope> = (0..MANY).map(|n| completed_as(&anna, &format!("busy-{n}"))).collect();
    let told = futures::future::join_all(events.iter().map(|event| office.tell_at(event, NOW))).await;
    assert!(told.iter().all(Result::is_ok), "no receive is spent: {told:?}");
    let back = office.put_back().await;
    assert_eq!(back.len(), events.len());
    assert!(back.iter().all(|(_, delay)| (1..=62).contains(delay)), "{back:?}");

    let calls = office.mails().await.len();
    office.tell_at(&events[0], NOW + 70).await.unwrap();
    assert_eq!(office.mails().await.len(), calls + 1, "it is called at once");
}
