use contracts::{NewEvent, saga::UndoOutcome};
use lambda_kit::aws::MAX_ATTEMPTS;

use super::*;
use crate::{
    domain::Status,
    testing::{Fixture, correlation},
};

impl Fixture {
    async fn cancel(&self) -> Result<(), MessageError> {
        let new = NewEvent {
            source: "orders",
            subject: self.order.as_str(),
            sequence: 3,
            occurred_at: self.start,
            correlation_id: &correlation(),
            causation_id: "test",
            user_id: Some(&self.user),
        };
        let event =
            Envelope::new(new, &OrderCancelRequested { requested_by: "customer".to_owned() }).unwrap();
        handle(&self.recorder(), event, self.start).await
    }

    fn sent_errors(&self) -> Vec<Option<String>> {
        self.aws.results().into_iter().map(|(_, error)| error).collect()
    }
}

fn cancelled() -> Option<String> {
    Some("OrderCancelRequested".to_owned())
}

#[tokio::test]
async fn a_cancel_ends_a_payment_that_waits_for_the_customer_at_once_and_its_intent_is_closed() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    let calls = fixture.stripe.calls();
    fixture.cancel().await.unwrap();
    assert_eq!((fixture.status().await, fixture.sent_errors()), (Status::Voided, vec![cancelled()]));
    assert_eq!(fixture.stripe.calls(), calls, "the gateway is left to the queue");
    assert_eq!(fixture.aws.sent().last().unwrap().1, 0);
    fixture.check_at(1).await.unwrap();
    assert_eq!((fixture.stripe.open(), fixture.stripe.money_held()), (0, 0));
    assert_eq!(fixture.undo().await.unwrap().outcome, UndoOutcome::Voided);
}

#[tokio::test]
async fn money_that_came_while_the_cancel_was_on_its_way_goes_back() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.cancel().await.unwrap();
    fixture.check_at(1).await.unwrap();
    assert_eq!((fixture.status().await, fixture.stripe.money_held()), (Status::Refunded, 0));
    assert_eq!(fixture.undo().await.unwrap().outcome, UndoOutcome::Refunded);
}

#[tokio::test]
async fn a_cancel_before_the_payment_leaves_its_mark_and_the_payment_is_not_taken() {
    let fixture = Fixture::new().await;
    fixture.cancel().await.unwrap();
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!((fixture.sent_errors(), fixture.stripe.calls().len()), (vec![cancelled()], 0));
    assert_eq!(fixture.undo().await.unwrap().outcome, UndoOutcome::NothingTaken);
}

#[tokio::test]
async fn a_payment_that_succeeded_before_the_cancel_is_the_sagas_to_give_back() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    let calls = fixture.stripe.calls();
    fixture.cancel().await.unwrap();
    assert_eq!((fixture.status().await, fixture.stripe.calls()), (Status::Succeeded, calls));
    assert!(fixture.sent_errors().iter().all(Option::is_none));
    assert_eq!(fixture.undo().await.unwrap().outcome, UndoOutcome::Refunded);
}

#[tokio::test]
async fn a_repeated_cancel_changes_nothing_and_answers_again_what_may_not_have_been_answered() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.aws.refuse("t1", 400, "AccessDeniedException");
    assert!(fixture.cancel().await.is_err(), "the event will be retried");
    let version = fixture.payment().await.version;
    fixture.cancel().await.unwrap();
    assert_eq!((fixture.payment().await.version, fixture.sent_errors()), (version, vec![cancelled()]));
}

#[tokio::test]
async fn lost_answers_of_a_cancel_end_the_payment_once() {
    for (operation, lost) in [("GetItem", 1), ("PutItem", 1), ("PutItem", MAX_ATTEMPTS)] {
        let fixture = Fixture::new().await;
        fixture.take("pm_3ds", "t1").await.unwrap();
        fixture.faults.lose_answers(operation, lost);
        if fixture.cancel().await.is_err() {
            fixture.cancel().await.unwrap();
        }
        assert_eq!(
            (fixture.status().await, fixture.payment().await.version),
            (Status::Voided, 4),
            "{operation}"
        );
        assert_eq!(fixture.sent_errors(), [cancelled()], "{operation}");
    }
}

#[tokio::test]
async fn another_event_is_not_taken_for_a_cancel() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    let pending = fixture.last_event().await.unwrap();
    assert!(handle(&fixture.recorder(), pending, fixture.start).await.is_err());
    assert_eq!(fixture.status().await, Status::Pending);
}
