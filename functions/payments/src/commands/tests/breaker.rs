//! A gateway that is down for longer than a call.

use super::*;

const DOWN: [Fault; 30] = [Fault::FailedBefore; 30];

impl Lab {
    /// Five failures of another instance's calls.
    async fn opened_by_another(&self) {
        let breaker = self.breaker();
        for _ in 0..5 {
            let _ = breaker.guard(async { Err::<(), _>(GatewayError::Failed(500)) }).await;
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
    // When the breaker may let it through, and spread over half a minute and the first check's few seconds after that.
    assert!((30..=65).contains(&lab.last_delay()), "{}", lab.last_delay());
    let (check, _) = lab.aws.sent().pop().expect("a check is on its way");
    assert_eq!(check["looks"], 0, "the gateway was not called, so the delay does not grow");

    lab.wait(30);
    lab.check_at(30).await.unwrap();
    assert_eq!((lab.aws.results(), lab.stripe.money_held()), (vec![paid("t1")], 4200));
}

#[tokio::test]
async fn a_gateway_that_stays_down_opens_the_breaker_and_at_the_deadline_the_payment_is_given_up() {
    let lab = Lab::new().await;
    lab.stripe.fail("create", &DOWN);
    lab.take("pm_card_visa", "t1").await.unwrap();
    let mut delays = vec![lab.last_delay()];
    for attempt in 1..8 {
        let check = CheckPayment {
            order_id: lab.order.clone(),
            correlation_id: crate::testing::correlation(),
            attempt,
        };
        lab.payments.check(check, lab.at(i64::from(attempt))).await.unwrap();
        delays.push(lab.last_delay());
    }
    assert_eq!(lab.stripe.calls().len(), 5, "then it is not called any more");
    for (attempt, delay) in delays.iter().enumerate().take(5) {
        assert!((1..=5 << attempt).contains(delay), "attempt {attempt} comes after {delay} s");
    }
    assert!(delays[5..].iter().all(|delay| *delay >= 29), "the breaker is open: {delays:?}");

    lab.check_at(DEADLINE).await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentTimeout")]);
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn an_intent_that_was_made_before_the_gateway_went_down_is_voided_when_it_is_back() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t1").await.unwrap();
    lab.opened_by_another().await;
    // This instance uses the breaker's state that it has read for a second.
    lab.wait(1);
    lab.check_at(DEADLINE).await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentTimeout")], "the saga does not wait for the gateway");
    assert!(matches!(lab.undo().await, Err(PaymentsError::Gateway(GatewayError::Open(_)))));

    lab.wait(30);
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
    assert_eq!((lab.stripe.open(), lab.stripe.money_held()), (0, 0));
}

#[tokio::test]
async fn declined_cards_and_refused_requests_do_not_open_the_breaker() {
    let lab = Lab::new().await;
    for _ in 0..9 {
        assert!(matches!(
            lab.payments.gateway.cancel("pi_0", crate::testing::CALL).await,
            Err(GatewayError::Refused { .. })
        ));
    }
    lab.take("pm_declined", "t1").await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentDeclined")]);
    lab.wait(2);
    assert!(lab.breaker().acquire().await.is_ok());
}

#[tokio::test]
async fn a_gateway_that_has_too_many_requests_is_not_taken_to_be_down() {
    let lab = Lab::new().await;
    lab.stripe.fail("create", &[Fault::Busy; 30]);
    for seconds in 0..30 {
        lab.payments.take(lab.take_of("pm_card_visa", "t1"), lab.at(seconds)).await.unwrap();
    }
    assert_eq!(lab.stripe.calls().len(), 30, "each was made");
    lab.wait(2);
    assert!(lab.breaker().acquire().await.is_ok());
    lab.check_at(31).await.unwrap();
    assert_eq!((lab.aws.results(), lab.stripe.money_held()), (vec![paid("t1")], 4200));
}

#[tokio::test]
async fn throttled_messages_come_back_spread_over_a_time_that_grows() {
    let lab = Lab::new().await;
    lab.stripe.fail("create", &[Fault::Busy; 100]);
    lab.take("pm_card_visa", "t1").await.unwrap();
    let mut delays = Vec::new();
    for _ in 0..40 {
        let check = CheckPayment {
            order_id: lab.order.clone(),
            correlation_id: crate::testing::correlation(),
            attempt: 3,
        };
        lab.payments.check(check, lab.at(1)).await.unwrap();
        delays.push(lab.last_delay());
    }
    assert!(delays.iter().all(|delay| (1..=40).contains(delay)), "{delays:?}");
    for part in [1..=20, 21..=40] {
        assert!(delays.iter().any(|delay| part.contains(delay)), "{part:?} of {delays:?}");
    }
}

#[tokio::test]
async fn calls_wait_for_the_gateways_rate_and_go_back_to_the_queue_when_that_would_take_too_long() {
    let mut lab = Lab::new().await;
    lab.payments.gateway = lab.gateway_at_most(4);
    let orders: Vec<Lab> = (0..8).map(|_| lab.another_order()).collect();
    let started = std::time::Instant::now();
    let taken = orders.iter().map(|order| order.take("pm_card_visa", "t"));
    futures::future::try_join_all(taken).await.unwrap();
    let took = started.elapsed();
    assert_eq!(lab.stripe.money_held(), 8 * 4200);
    assert!(took >= Duration::from_millis(7 * 250), "eight payments at four a second, in {took:?}");
    assert_eq!(lab.aws.sent(), [], "all had a turn in time");

    // Time for one call and no waiting.
    let orders: Vec<Lab> = (0..8).map(|_| lab.another_order()).collect();
    let mut short = lab.at(1);
    short.ends = Instant::now() + payments::ONE_CALL + Duration::from_millis(300);
    let taken = orders.iter().map(|order| order.payments.take(order.take_of("pm_card_visa", "t"), short));
    futures::future::try_join_all(taken).await.unwrap();
    assert!(!lab.aws.sent().is_empty(), "the others wait in the queue");
    let made = lab.stripe.charges();
    assert!(made < 16, "{made} payments");
    assert!(lab.breaker().acquire().await.is_ok());
}
