use contracts::{NewEvent, saga::UndoOutcome};
use lambda_kit::aws::MAX_ATTEMPTS;

use super::*;
use crate::{
    domain::Status,
    testing::{Lab, correlation},
};

impl Lab {
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
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    let calls = lab.stripe.calls();
    lab.cancel().await.unwrap();
    assert_eq!((lab.status().await, lab.sent_errors()), (Status::Voided, vec![cancelled()]));
    assert_eq!(lab.stripe.calls(), calls, "the gateway is left to the queue");
    assert_eq!(lab.aws.sent().last().unwrap().1, 0);
    lab.check_at(1).await.unwrap();
    assert_eq!((lab.stripe.open(), lab.stripe.money_held()), (0, 0));
    assert_eq!(lab.undo().await.unwrap().outcome, UndoOutcome::Voided);
}

#[tokio::test]
async fn money_that_came_while_the_cancel_was_on_its_way_goes_back() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    lab.stripe.set_status("pi_1", "succeeded");
    lab.cancel().await.unwrap();
    lab.check_at(1).await.unwrap();
    assert_eq!((lab.status().await, lab.stripe.money_held()), (Status::Refunded, 0));
    assert_eq!(lab.undo().await.unwrap().outcome, UndoOutcome::Refunded);
}

#[tokio::test]
async fn a_cancel_before_the_payment_leaves_its_mark_and_the_payment_is_not_taken() {
    let lab = Lab::new().await;
    lab.cancel().await.unwrap();
    lab.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!((lab.sent_errors(), lab.stripe.calls().len()), (vec![cancelled()], 0));
    assert_eq!(lab.undo().await.unwrap().outcome, UndoOutcome::NothingTaken);
}

#[tokio::test]
async fn a_payment_that_succeeded_before_the_cancel_is_the_sagas_to_give_back() {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t1").await.unwrap();
    let calls = lab.stripe.calls();
    lab.cancel().await.unwrap();
    assert_eq!((lab.status().await, lab.stripe.calls()), (Status::Succeeded, calls));
    assert!(lab.sent_errors().iter().all(Option::is_none));
    assert_eq!(lab.undo().await.unwrap().outcome, UndoOutcome::Refunded);
}

#[tokio::test]
async fn a_repeated_cancel_changes_nothing_and_answers_again_what_may_not_have_been_answered() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    lab.aws.refuse("t1", 400, "AccessDeniedException");
    assert!(lab.cancel().await.is_err(), "the event will be retried");
    let version = lab.payment().await.version;
    lab.cancel().await.unwrap();
    assert_eq!((lab.payment().await.version, lab.sent_errors()), (version, vec![cancelled()]));
}

#[tokio::test]
async fn lost_answers_of_a_cancel_end_the_payment_once() {
    for (operation, lost) in [("GetItem", 1), ("PutItem", 1), ("PutItem", MAX_ATTEMPTS)] {
        let lab = Lab::new().await;
        lab.take("pm_3ds", "t1").await.unwrap();
        lab.faults.lose_answers(operation, lost);
        if lab.cancel().await.is_err() {
            lab.cancel().await.unwrap();
        }
        assert_eq!((lab.status().await, lab.payment().await.version), (Status::Voided, 4), "{operation}");
        assert_eq!(lab.sent_errors(), [cancelled()], "{operation}");
    }
}

#[tokio::test]
async fn another_event_is_not_taken_for_a_cancel() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    let pending = lab.last_event().await.unwrap();
    assert!(handle(&lab.recorder(), pending, lab.start).await.is_err());
    assert_eq!(lab.status().await, Status::Pending);
}
