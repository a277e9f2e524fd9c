//! A gateway that is down for longer than a call.

use super::*;

const DOWN: [Fault; 30] = [Fault::FailedBefore; 30];

impl Fixture {
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
    let fixture = Fixture::new().await;
    fixture.opened_by_another().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!((fixture.stripe.calls().len(), fixture.aws.results().len()), (0, 0));
    // When the breaker may let it through, and spread over half a minute and the first check's few seconds after that.
    assert!((30..=65).contains(&fixture.last_delay()), "{}", fixture.last_delay());
    let (check, _) = fixture.aws.sent().pop().expect("a check is on its way");
    assert_eq!(check["looks"], 0, "the gateway was not called, so the delay does not grow");

    fixture.wait(30);
    fixture.check_at(30).await.unwrap();
    assert_eq!((fixture.aws.results(), fixture.stripe.money_held()), (vec![paid("t1")], 4200));
}

#[tokio::test]
async fn a_gateway_that_stays_down_opens_the_breaker_and_at_the_deadline_the_payment_is_given_up() {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("create", &DOWN);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    let mut delays = vec![fixture.last_delay()];
    for attempt in 1..8 {
        let check = CheckPayment {
            order_id: fixture.order.clone(),
            correlation_id: crate::testing::correlation(),
            attempt,
        };
        fixture.payments.check(check, fixture.at(i64::from(attempt))).await.unwrap();
        delays.push(fixture.last_delay());
    }
    assert_eq!(fixture.stripe.calls().len(), 5, "then it is not called any more");
    for (attempt, delay) in delays.iter().enumerate().take(5) {
        assert!((1..=5 << attempt).contains(delay), "attempt {attempt} comes after {delay} s");
    }
    assert!(delays[5..].iter().all(|delay| *delay >= 29), "the breaker is open: {delays:?}");

    fixture.check_at(DEADLINE).await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "PaymentTimeout")]);
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn an_intent_that_was_made_before_the_gateway_went_down_is_voided_when_it_is_back() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.opened_by_another().await;
    // This instance uses the breaker's state that it has read for a second.
    fixture.wait(1);
    fixture.check_at(DEADLINE).await.unwrap();
    assert_eq!(
        fixture.aws.results(),
        [failed("t1", "PaymentTimeout")],
        "the saga does not wait for the gateway"
    );
    assert!(matches!(fixture.undo().await, Err(PaymentsError::Gateway(GatewayError::Open(_)))));

    fixture.wait(30);
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
    assert_eq!((fixture.stripe.open(), fixture.stripe.money_held()), (0, 0));
}

#[tokio::test]
async fn declined_cards_and_refused_requests_do_not_open_the_breaker() {
    let fixture = Fixture::new().await;
    for _ in 0..9 {
        assert!(matches!(
            fixture.payments.gateway.cancel("pi_0", crate::testing::CALL).await,
            Err(GatewayError::Refused { .. })
        ));
    }
    fixture.take("pm_declined", "t1").await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "PaymentDeclined")]);
    fixture.wait(2);
    assert!(fixture.breaker().acquire().await.is_ok());
}

#[tokio::test]
async fn a_gateway_that_has_too_many_requests_is_not_taken_to_be_down() {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("create", &[Fault::Busy; 30]);
    for seconds in 0..30 {
        fixture.payments.take(fixture.take_of("pm_card_visa", "t1"), fixture.at(seconds)).await.unwrap();
    }
    assert_eq!(fixture.stripe.calls().len(), 30, "each was made");
    fixture.wait(2);
    assert!(fixture.breaker().acquire().await.is_ok());
    fixture.check_at(31).await.unwrap();
    assert_eq!((fixture.aws.results(), fixture.stripe.money_held()), (vec![paid("t1")], 4200));
}

#[tokio::test]
async fn throttled_messages_come_back_spread_over_a_time_that_grows() {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("create", &[Fault::Busy; 100]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    let mut delays = Vec::new();
    for _ in 0..40 {
        let check = CheckPayment {
            order_id: fixture.order.clone(),
            correlation_id: crate::testing::correlation(),
            attempt: 3,
        };
        fixture.payments.check(check, fixture.at(1)).await.unwrap();
        delays.push(fixture.last_delay());
    }
    assert!(delays.iter().all(|delay| (1..=40).contains(delay)), "{delays:?}");
    for part in [1..=20, 21..=40] {
        assert!(delays.iter().any(|delay| part.contains(delay)), "{part:?} of {delays:?}");
    }
}

#[tokio::test]
async fn calls_wait_for_the_gateways_rate_and_go_back_to_the_queue_when_that_would_take_too_long() {
    let mut fixture = Fixture::new().await;
    fixture.payments.gateway = fixture.gateway_at_most(4);
    let orders: Vec<Fixture> = (0..8).map(|_| fixture.another_order()).collect();
    let started = std::time::Instant::now();
    let taken = orders.iter().map(|order| order.take("pm_card_visa", "t"));
    futures::future::try_join_all(taken).await.unwrap();
    let took = started.elapsed();
    assert_eq!(fixture.stripe.money_held(), 8 * 4200);
    assert!(took >= Duration::from_millis(7 * 250), "eight payments at four a second, in {took:?}");
    assert_eq!(fixture.aws.sent(), [], "all had a turn in time");

    // Time for one call and no waiting.
    let orders: Vec<Fixture> = (0..8).map(|_| fixture.another_order()).collect();
    let mut short = fixture.at(1);
    short.ends = Instant::now() + payments::ONE_CALL + Duration::from_millis(300);
    let taken = orders.iter().map(|order| order.payments.take(order.take_of("pm_card_visa", "t"), short));
    futures::future::try_join_all(taken).await.unwrap();
    assert!(!fixture.aws.sent().is_empty(), "the others wait in the queue");
    let made = fixture.stripe.charges();
    assert!(made < 16, "{made} payments");
    assert!(fixture.breaker().acquire().await.is_ok());
}
