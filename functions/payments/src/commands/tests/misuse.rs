//! Refusals by the gateway that are caused by us or our account, and not by the card.

use super::*;

#[rstest]
#[case::creating("create")]
#[case::confirming("confirm")]
#[tokio::test]
async fn a_refusal_that_is_not_about_the_card_is_retried_like_an_outage_and_is_no_decline(
    #[case] operation: &str,
) {
    let fixture = Fixture::new().await;
    fixture.stripe.fail(operation, &[Fault::Misused; 2]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!((fixture.aws.results().len(), fixture.aws.sent().len()), (0, 1), "the payment waits");
    fixture.check_at(5).await.unwrap();
    assert_eq!(fixture.status().await, Status::Pending);

    fixture.check_at(15).await.unwrap();
    assert_eq!((fixture.aws.results(), fixture.stripe.money_held()), (vec![paid("t1")], 4200));
    // The key keeps the refusal, so that each try has another.
    assert_eq!(
        fixture.payment().await.attempts.of(Operation::Create),
        if operation == "create" { 3 } else { 1 }
    );
}

#[tokio::test]
async fn an_account_that_may_not_charge_times_orders_out_and_its_code_is_never_a_decline() {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("create", &[Fault::Misused; 9]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.check_at(DEADLINE).await.unwrap();
    assert_eq!(fixture.aws.results(), [failed("t1", "PaymentTimeout")]);
    assert_eq!(fixture.payment().await.decline_code, None);
}

#[tokio::test]
async fn misused_requests_do_not_open_the_breaker() {
    let fixture = Fixture::new().await;
    fixture.stripe.fail("create", &[Fault::Misused; 9]);
    for seconds in 0..9 {
        fixture.payments.take(fixture.take_of("pm_card_visa", "t1"), fixture.at(seconds)).await.unwrap();
    }
    assert_eq!(fixture.stripe.calls().len(), 9);
}

#[tokio::test]
async fn a_refund_that_the_gateway_does_not_understand_is_tried_again_and_not_given_up() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.stripe.fail("refund", &[Fault::Misused]);
    assert!(matches!(fixture.undo().await, Err(PaymentsError::Gateway(GatewayError::Misused { .. }))));
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(fixture.stripe.money_held(), 0);
}
