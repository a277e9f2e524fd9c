//! Refusals by the gateway that are caused by us or our account, and not by the card.

use super::*;

#[rstest]
#[case::creating("create")]
#[case::confirming("confirm")]
#[tokio::test]
async fn a_refusal_that_is_not_about_the_card_is_retried_like_an_outage_and_is_no_decline(
    #[case] operation: &str,
) {
    let lab = Lab::new().await;
    lab.stripe.fail(operation, &[Fault::Misused; 2]);
    lab.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!((lab.aws.results().len(), lab.aws.sent().len()), (0, 1), "the payment waits");
    lab.check_at(5).await.unwrap();
    assert_eq!(lab.status().await, Status::Pending);

    lab.check_at(15).await.unwrap();
    assert_eq!((lab.aws.results(), lab.stripe.money_held()), (vec![paid("t1")], 4200));
    // The key keeps the refusal, so that each try has another.
    assert_eq!(lab.payment().await.attempts.of(Operation::Create), if operation == "create" { 3 } else { 1 });
}

#[tokio::test]
async fn an_account_that_may_not_charge_times_orders_out_and_its_code_is_never_a_decline() {
    let lab = Lab::new().await;
    lab.stripe.fail("create", &[Fault::Misused; 9]);
    lab.take("pm_card_visa", "t1").await.unwrap();
    lab.check_at(DEADLINE).await.unwrap();
    assert_eq!(lab.aws.results(), [failed("t1", "PaymentTimeout")]);
    assert_eq!(lab.payment().await.decline_code, None);
}

#[tokio::test]
async fn misused_requests_do_not_open_the_breaker() {
    let lab = Lab::new().await;
    lab.stripe.fail("create", &[Fault::Misused; 9]);
    for seconds in 0..9 {
        lab.payments.take(lab.take_of("pm_card_visa", "t1"), lab.at(seconds)).await.unwrap();
    }
    assert_eq!(lab.stripe.calls().len(), 9);
}

#[tokio::test]
async fn a_refund_that_the_gateway_does_not_understand_is_tried_again_and_not_given_up() {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t1").await.unwrap();
    lab.stripe.fail("refund", &[Fault::Misused]);
    assert!(matches!(lab.undo().await, Err(PaymentsError::Gateway(GatewayError::Misused { .. }))));
    assert_eq!(lab.undo().await.unwrap(), undone(UndoOutcome::Refunded));
    assert_eq!(lab.stripe.money_held(), 0);
}
