//! A gateway that is down for longer than a call.

use super::*;

const DOWN: [Trouble; 30] = [Trouble::FailedBefore; 30];

impl Lab {
    /// Five failures of another instance's calls.
    async fn opened_by_another(&self) {
        let breaker = self.breaker();
        for _ in 0..5 {
            let _ = breaker.guard(async { Err::<(), _>(()) }, |()| true).await;
        }
    }

    fn last_delay(&self) -> i64 {
        self.aws.sent().last().expect("a check is on its way").1
    }
}

#[tokio::test]
async fn while_the_breaker_is_open_the_gateway_is_not_called_and_the_payment_comes_back_when_it_may_close() {
    let lab = Lab::new().await;
    lab.opened_by_another().await;
    lab.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!((lab.stripe.calls().len(), lab.aws.results().len()), (0, 0));
    assert!((29..=30).contains(&lab.last_delay()), "{}", lab.last_delay());
    let (check, _) = lab.aws.sent().pop().expect("a check is on its way");
    assert_eq!(check["looks"], 0, "the gateway was not asked, so the next look is not put off for longer");

    lab.wait(30);
    lab.check_at(30).await.unwrap();
    assert_eq!((lab.aws.results(), lab.stripe.kept()), (vec![paid("t1")], 4200));
}

#[tokio::test]
async fn a_gateway_that_stays_down_opens_the_breaker_and_at_the_deadline_the_payment_is_given_up() {
    let lab = Lab::new().await;
    lab.stripe.trouble("create", &DOWN);
    lab.take("pm_card_visa", "t1").await.unwrap();
    let mut delays = vec![lab.last_delay()];
    for looks in 1..8 {
        let check = CheckPayment {
            order_id: lab.order.clone(),
            correlation_id: crate::testing::correlation(),
            looks,
        };
        lab.payments.check(check, lab.at(i64::from(looks))).await.unwrap();
        delays.push(lab.last_delay());
    }
    assert_eq!(lab.stripe.calls().len(), 5, "then it is not called any more");
    assert!(delays.is_sorted() && delays.last() == Some(&60), "{delays:?}");

    lab.check_at(DEADLINE).await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentTimeout")]);
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn an_intent_that_was_made_before_the_gateway_went_down_is_voided_when_it_is_back() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    lab.opened_by_another().await;
    // What this instance's breaker has seen before is believed for a second.
    lab.wait(1);
    lab.check_at(DEADLINE).await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentTimeout")], "nobody waits for the gateway's return");
    assert!(matches!(lab.undo().await, Err(PaymentsError::Gateway(GatewayError::Open(_)))));

    lab.wait(30);
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
    assert_eq!((lab.stripe.open(), lab.stripe.kept()), (0, 0));
}

#[tokio::test]
async fn declined_cards_and_refused_requests_do_not_open_the_breaker() {
    let lab = Lab::new().await;
    for _ in 0..9 {
        assert!(matches!(lab.payments.gateway.cancel("pi_0").await, Err(GatewayError::Refused { .. })));
    }
    lab.take("pm_declined", "t1").await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentDeclined")]);
    lab.wait(2);
    assert!(lab.breaker().enter().await.is_ok());
}
