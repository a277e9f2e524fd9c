//! The message that an order was received: only for orders that have not ended after a while.

use contracts::{
    UserId,
    events::{Channel, NotificationPreferences, NotificationSent},
};
use lambda_kit::aws::MAX_ATTEMPTS;
use rstest::rstest;

use crate::fixture::*;

const DUE: i64 = NOW + CONFIRMATION_DELAY;

/// The subjects of all e-mails.
async fn subjects(fixture: &Fixture) -> Vec<String> {
    let mails = fixture.sent_emails().await;
    let subject = |mail: &serde_json::Value| mail["Content"]["Simple"]["Subject"]["Data"].to_string();
    mails.iter().map(subject).collect()
}

#[tokio::test]
async fn an_order_that_ends_before_the_confirmation_is_due_gets_one_email() {
    let anna = UserId::generate();
    for end in [completed(&anna), cancelled(&anna)] {
        let fixture = Fixture::with(&anna, EMAIL).await;
        fixture.receive(&created(&anna)).await.unwrap();
        assert_eq!(fixture.requeued().await, [(created_again(&fixture).await, CONFIRMATION_DELAY)]);
        fixture.receive_at(&end, NOW + 2).await.unwrap();
        fixture.receive_at(&created(&anna), DUE).await.unwrap();
        assert_eq!(subjects(&fixture).await.len(), 1, "{}", end.event_type);
        assert_eq!(fixture.published().await.len(), 1);
    }
}

/// The event that waits in the queue: its correlation id is new in each call of `created`.
async fn created_again(fixture: &Fixture) -> contracts::Envelope {
    fixture.requeued().await.remove(0).0
}

#[tokio::test]
async fn an_order_that_has_not_ended_is_confirmed_when_it_is_due_and_its_end_is_told_too() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    fixture.receive_at(&created(&anna), NOW + 20).await.unwrap();
    assert_eq!(fixture.requeued().await[0].1, CONFIRMATION_DELAY - 20);
    assert!(subjects(&fixture).await.is_empty());
    for _ in 0..2 {
        fixture.receive_at(&created(&anna), DUE).await.unwrap();
    }
    assert!(subjects(&fixture).await[0].contains("We have received"), "{:?}", subjects(&fixture).await);
    fixture.receive_at(&completed(&anna), DUE + 1).await.unwrap();
    assert_eq!(subjects(&fixture).await.len(), 2);
    assert_eq!(fixture.published().await.len(), 2);
}

#[rstest]
#[case(EMAIL, false)]
#[case(SMS, true)]
#[case(BOTH, true)]
#[case(NONE, false)]
#[tokio::test]
async fn a_confirmation_that_is_due_goes_to_the_sms_queue_of_customers_who_get_sms(
    #[case] wants: NotificationPreferences,
    #[case] is_forwarded: bool,
) {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, wants).await;
    let event = created(&anna);
    fixture.receive_at(&event, DUE).await.unwrap();
    let sent = fixture.queued("SendMessage").await;
    let to_sms = |body: &&serde_json::Value| body["QueueUrl"].as_str().unwrap().ends_with("/sms");
    assert_eq!(sent.iter().filter(to_sms).count(), usize::from(is_forwarded));
    // Twice, as after a failed e-mail.
    for _ in 0..2 {
        fixture.deliver(Channel::Sms, &event, DUE, 1).await.unwrap();
    }
    assert_eq!(fixture.sent_sms().await.len(), usize::from(is_forwarded));
    let by_sms = |event: &contracts::Envelope| {
        event.decode::<NotificationSent>().is_ok_and(|sent| sent.channel == Channel::Sms)
    };
    assert_eq!(
        fixture.published().await.iter().filter(|event| by_sms(event)).count(),
        usize::from(is_forwarded)
    );
}

/// The confirmation must not be lost, and not be sent before it is due.
#[tokio::test]
async fn a_confirmation_that_cannot_be_put_back_is_retried() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    fixture.sqs(down()).await;
    fixture.receive(&created(&anna)).await.unwrap_err();
    assert!(subjects(&fixture).await.is_empty());
}

#[tokio::test]
async fn the_end_of_an_order_is_retried_when_its_confirmation_could_not_be_superseded() {
    let anna = UserId::generate();
    let fixture = Fixture::with(&anna, EMAIL).await;
    fixture.faults.refuse("PutItem", MAX_ATTEMPTS);
    fixture.receive(&completed(&anna)).await.unwrap_err();
    assert!(subjects(&fixture).await.is_empty());
    fixture.receive(&completed(&anna)).await.unwrap();
    fixture.receive_at(&created(&anna), DUE).await.unwrap();
    assert_eq!(subjects(&fixture).await.len(), 1);
}
