//! Payments while an operator has paused them.

use contracts::Position;

use super::*;

impl Fixture {
    fn pause(&self) {
        self.payments.switch.set(Position::Off);
    }

    fn resume(&self) {
        self.payments.switch.set(Position::On);
    }

    fn last_check(&self) -> (serde_json::Value, i64) {
        self.aws.sent().pop().expect("a check is on its way")
    }
}

#[tokio::test]
async fn a_paused_payment_waits_without_a_call_of_the_gateway_and_goes_on_afterwards() {
    let fixture = Fixture::new().await;
    fixture.pause();
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!((fixture.stripe.calls().len(), fixture.aws.results().len()), (0, 0));
    let (check, delay) = fixture.last_check();
    assert_eq!(check["looks"], 0, "the delay does not grow");
    assert!((30..=35).contains(&delay), "{delay}");

    fixture.resume();
    fixture.check_at(30).await.unwrap();
    assert_eq!((fixture.aws.results(), fixture.stripe.money_held()), (vec![paid("t1")], 4200));
}

#[tokio::test]
async fn an_intent_that_is_not_confirmed_stays_so_while_payments_are_paused() {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("confirm", &[Fault::FailedBefore]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.pause();
    let before = fixture.stripe.calls().len();
    fixture.check_at(5).await.unwrap();
    let calls = fixture.stripe.calls().split_off(before);
    assert!(calls.iter().all(|call| call.starts_with("retrieve")), "{calls:?}");
    assert_eq!(fixture.stripe.money_held(), 0);
    fixture.resume();
    fixture.check_at(40).await.unwrap();
    assert_eq!((fixture.aws.results(), fixture.stripe.money_held()), (vec![paid("t1")], 4200));
}

#[tokio::test]
async fn a_confirmation_whose_answer_was_lost_is_recorded_while_payments_are_paused() {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("confirm", &[Fault::LostAnswer]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert!(fixture.aws.results().is_empty());
    fixture.pause();
    fixture.check_at(5).await.unwrap();
    assert_eq!(fixture.aws.results(), [paid("t1")]);
}

#[tokio::test]
async fn a_paused_payment_ends_at_its_deadline() {
    let fixture = Fixture::new().await;
    fixture.pause();
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.check_at(DEADLINE).await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "PaymentTimeout")]);
    fixture.resume();
    fixture.check_at(DEADLINE + 1).await.unwrap();
    assert_eq!(fixture.stripe.calls().len(), 0);
}

#[tokio::test]
async fn money_goes_back_while_payments_are_paused() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.pause();
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(fixture.stripe.money_held(), 0);
}
