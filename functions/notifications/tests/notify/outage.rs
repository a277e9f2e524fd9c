//! SES fails: messages are retried, then put back while the breaker is open, and finally go to the
//! dead-letter queue.

use contracts::{
    Envelope, UserId,
    events::{Channel, NotificationFailed, NotificationSent, Undelivered},
};
use lambda_kit::error::error_chain;
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::fixture::*;

/// SES is down and its breaker is open, after five failed e-mails.
async fn with_ses_down(anna: &UserId) -> (Fixture, usize) {
    let fixture = Fixture::with(anna, EMAIL).await;
    fixture.ses(30, down()).await;
    let events: Vec<Envelope> = (0..5).map(|n| completed_as(anna, &format!("down-{n}"))).collect();
    let results = futures::future::join_all(events.iter().map(|event| fixture.receive(event))).await;
    assert!(results.iter().all(Result::is_err));
    let calls = fixture.sent_emails().await.len();
    assert_eq!(calls, 30);
    (fixture, calls)
}

#[tokio::test]
async fn a_failed_call_of_ses_is_retried_at_once() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    fixture.ses(1, ResponseTemplate::new(429)).await;
    fixture.ses(1, ResponseTemplate::new(500)).await;
    fixture.receive(&completed(&anna)).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), 3);
}

#[tokio::test]
async fn a_message_that_ses_refuses_is_retried_with_growing_delays_and_then_given_up() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    let event = completed(&anna);
    fixture.ses(5, ses_refusal("MessageRejected")).await;
    for receives in 1..=4 {
        fixture.deliver(Channel::Email, &event, NOW, receives).await.unwrap_err();
    }
    assert_eq!(fixture.hidden().await, [2, 10, 50, 250]);
    assert!(fixture.published().await.is_empty());
    fixture.deliver(Channel::Email, &event, NOW, 5).await.unwrap_err();
    let results = fixture.published().await;
    let failed: NotificationFailed = results[0].decode().unwrap();
    assert_eq!((failed.reason, failed.channel), (Undelivered::Provider, Channel::Email));

    // An operator redrove it.
    fixture.receive(&event).await.unwrap();
    let results = fixture.published().await;
    results[0].decode::<NotificationSent>().unwrap();
    assert_eq!(results[0].sequence, 2);
}

#[tokio::test]
async fn while_ses_is_down_events_are_requeued_until_the_next_probe() {
    let anna = UserId::generate();
    let (fixture, calls) = with_ses_down(&anna).await;
    let waiting = completed(&anna);
    fixture.receive(&waiting).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), calls, "SES is not called");
    let [(event, delay)] = &fixture.requeued().await[..] else { panic!("one event") };
    assert_eq!(event, &waiting);
    assert!((30..=60).contains(delay), "when SES may be back, and spread over half a minute: {delay}");

    fixture.wait(*delay);
    fixture.receive_at(event, NOW + delay).await.unwrap();
    fixture.receive_at(event, NOW + delay + 1).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), calls + 1, "once");
}

#[tokio::test]
async fn a_message_that_gets_no_probe_is_requeued() {
    let anna = UserId::generate();
    let (fixture, calls) = with_ses_down(&anna).await;
    fixture.wait(30);
    // Four at once, for three slots.
    let slow = ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m-2"}));
    fixture.ses(3, slow.set_delay(std::time::Duration::from_millis(300))).await;
    let events: Vec<Envelope> = (0..4).map(|n| completed_as(&anna, &format!("back-{n}"))).collect();
    let results =
        futures::future::join_all(events.iter().map(|event| fixture.receive_at(event, NOW + 30))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(fixture.sent_emails().await.len(), calls + 3);
    let [(event, delay)] = &fixture.requeued().await[..] else { panic!("one event") };

    fixture.wait(*delay);
    fixture.receive_at(event, NOW + 30 + delay).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), calls + 4);
}

#[tokio::test]
async fn an_event_that_cannot_be_requeued_is_retried_by_its_queue() {
    let anna = UserId::generate();
    let (fixture, _) = with_ses_down(&anna).await;
    fixture.sqs(ResponseTemplate::new(400).set_body_json(json!({"__type": "AccessDenied"}))).await;
    assert!(fixture.receive(&completed(&anna)).await.is_err());
}

#[tokio::test]
async fn an_error_does_not_contain_the_address() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    let body = json!({"message": format!("Email address is not verified: {ADDRESS}")});
    fixture.ses(1, ses_refusal("MessageRejected").set_body_json(body)).await;
    let error = fixture.receive(&completed(&anna)).await.unwrap_err();
    assert_eq!(
        error_chain(&error),
        "the event cannot be handled: the provider refused the message: MessageRejected"
    );
}

/// More failures than open a breaker.
const MANY: u64 = 12;

#[tokio::test]
async fn while_ses_throttles_events_are_requeued_and_the_breaker_stays_closed() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    fixture
        .ses(MANY * u64::from(lambda_kit::limits::SEND.tries), ses_refusal("TooManyRequestsException"))
        .await;
    let events: Vec<Envelope> = (0..MANY).map(|n| completed_as(&anna, &format!("busy-{n}"))).collect();
    let results = futures::future::join_all(events.iter().map(|event| fixture.receive_at(event, NOW))).await;
    assert!(results.iter().all(Result::is_ok), "no receive is spent: {results:?}");
    let back = fixture.requeued().await;
    assert_eq!(back.len(), events.len());
    assert!(back.iter().all(|(_, delay)| (1..=62).contains(delay)), "{back:?}");

    let calls = fixture.sent_emails().await.len();
    fixture.receive_at(&events[0], NOW + 70).await.unwrap();
    assert_eq!(fixture.sent_emails().await.len(), calls + 1, "it is called at once");
}
