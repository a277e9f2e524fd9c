//! Refunds that the customer's bank returns days later.

use contracts::saga::UndoOutcome;

use super::*;
use crate::{
    commands::PaymentsError,
    queue::{Message, RecordRefunds},
    testing::Fault,
};

impl Fixture {
    /// A payment that we refunded, by the refund `re_1`.
    async fn refunded() -> Self {
        let fixture = Self::new().await;
        fixture.take("pm_card_visa", "t1").await.unwrap();
        fixture.undo().await.unwrap();
        assert_eq!(fixture.shown().await, (json!("refunded"), json!(4200)));
        fixture
    }

    /// The gateway's webhook about a refund, and the work that it leaves.
    async fn receive_refund(&self, kind: &str, refund: Value) {
        assert_eq!(self.event(kind, refund).await, StatusCode::OK);
        self.work_on_refunds().await.unwrap();
    }

    async fn work_on_refunds(&self) -> Result<(), PaymentsError> {
        self.payments.refunds(self.last_record(), self.at(2)).await
    }

    fn last_record(&self) -> RecordRefunds {
        let (message, _) = self.aws.sent().pop().unwrap();
        match serde_json::from_value(message).unwrap() {
            Message::RecordRefunds(record) => record,
            _ => panic!("another message"),
        }
    }
}

#[rstest]
#[case("refund.failed")]
#[case("refund.updated")]
#[case("charge.refund.updated")]
#[tokio::test]
async fn a_refund_that_fails_later_is_taken_out_of_what_went_back_and_the_event_says_so(#[case] kind: &str) {
    let fixture = Fixture::refunded().await;
    let failed = fixture.stripe.refund_fails("re_1");
    fixture.receive_refund(kind, failed.clone()).await;
    assert_eq!(fixture.shown().await, (json!("refund_failed"), json!(0)));
    let event = fixture.last_event().await.unwrap();
    assert_eq!(event.event_type, "payment.refund_failed");
    assert_eq!(
        event.data,
        json!({
            "order_id": fixture.order, "amount": {"amount": 4200, "currency": "USD"},
            "refunded": {"amount": 0, "currency": "USD"}, "refund_id": "re_1",
            "reason": "expired_or_canceled_card",
        })
    );

    // Stripe sends several events about it, each perhaps more than once.
    let version = fixture.payment().await.version;
    for kind in ["refund.failed", "charge.refund.updated"] {
        fixture.receive_refund(kind, failed.clone()).await;
    }
    assert_eq!(fixture.payment().await.version, version);
}

#[tokio::test]
async fn an_undo_after_a_refund_that_failed_makes_another_one() {
    let fixture = Fixture::refunded().await;
    fixture.receive_refund("refund.failed", fixture.stripe.refund_fails("re_1")).await;
    assert_eq!(fixture.stripe.money_held(), 4200);
    assert_eq!(fixture.undo().await.unwrap().outcome, UndoOutcome::Refunded);
    assert_eq!((fixture.shown().await, fixture.stripe.money_held()), ((json!("refunded"), json!(4200)), 0));
    assert_eq!(fixture.last_event().await.unwrap().event_type, "payment.refunded");
    assert_eq!(fixture.stripe.calls().iter().filter(|call| call.starts_with("refund refund.")).count(), 2);
}

#[tokio::test]
async fn another_refund_that_the_gateway_refuses_is_not_taken_for_done() {
    let fixture = Fixture::refunded().await;
    fixture.receive_refund("refund.failed", fixture.stripe.refund_fails("re_1")).await;
    fixture.stripe.fail("refund", &[Fault::AlreadyRefunded]);
    assert!(
        fixture.undo().await.is_err(),
        "the charge's own sum says 4200, and none of it is with the customer"
    );
    assert_eq!(fixture.shown().await, (json!("refunding"), json!(0)));
}

#[tokio::test]
async fn a_refund_of_the_staff_that_fails_leaves_the_order_paid_once_it_is_made_again() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.refund_in_dashboard(1200).await;
    fixture.receive_refund("refund.failed", fixture.stripe.refund_fails("re_1")).await;
    assert_eq!(fixture.shown().await, (json!("refund_failed"), json!(0)));
    assert_eq!(fixture.stripe.money_held(), 4200);

    fixture.refund_in_dashboard(1200).await;
    fixture.work_on_refunds().await.unwrap();
    assert_eq!(fixture.shown().await, (json!("succeeded"), json!(1200)));
    assert_eq!(fixture.stripe.money_held(), 3000);
}

#[tokio::test]
async fn a_webhook_of_the_refund_itself_that_comes_after_its_failure_does_not_bring_it_back() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    let made = fixture.stripe.refund_in_dashboard("pi_1", 4200);
    fixture.receive_refund("refund.failed", fixture.stripe.refund_fails("re_1")).await;
    assert_eq!(fixture.event("charge.refunded", made).await, StatusCode::OK);
    fixture.work_on_refunds().await.unwrap();
    assert_eq!(fixture.shown().await, (json!("refund_failed"), json!(0)));
}

#[tokio::test]
async fn a_refund_webhook_is_recorded_once_the_gateway_is_back() {
    let fixture = Fixture::refunded().await;
    let failed = fixture.stripe.refund_fails("re_1");
    fixture.stripe.fail("retrieve", &[Fault::FailedBefore]);
    fixture.receive_refund("refund.failed", failed).await;
    assert_eq!(fixture.shown().await.0, json!("refunded"));
    assert!((60..=120).contains(&fixture.aws.sent().last().unwrap().1));
    fixture.work_on_refunds().await.unwrap();
    assert_eq!(fixture.shown().await.0, json!("refund_failed"));
}

#[tokio::test]
async fn refunds_that_go_well_or_are_not_ours_leave_no_work() {
    let fixture = Fixture::refunded().await;
    let sent = fixture.aws.sent().len();
    let well = json!({"id": "re_1", "object": "refund", "amount": 1, "payment_intent": "pi_1", "status": "succeeded"});
    let others =
        json!({"id": "re_9", "object": "refund", "amount": 1, "payment_intent": null, "status": "failed"});
    for refund in [well, others] {
        assert_eq!(fixture.event("charge.refund.updated", refund).await, StatusCode::OK);
    }
    assert_eq!(fixture.event("refund.failed", json!({"status": "failed"})).await, StatusCode::BAD_REQUEST);
    assert_eq!(fixture.aws.sent().len(), sent);
}

#[rstest]
#[case::of_version_2(json!({
    "id": "evt_1", "object": "v2.core.event", "type": "v2.core.event_destination.ping",
    "created": "2026-11-28T12:00:00.000Z", "data": {}, "livemode": false,
}))]
#[case::without_data(json!({"id": "evt_1", "type": "v2.core.event_destination.ping", "created": "2026-11-28T12:00:00Z"}))]
#[case::with_nothing_as_data(json!({"id": "evt_1", "type": "customer.created", "created": 1, "data": null}))]
#[case::with_nothing_as_object(json!({"id": "evt_1", "type": "customer.created", "created": 1, "data": {"object": null}}))]
#[tokio::test]
async fn a_signed_event_that_means_nothing_here_is_taken(#[case] event: Value) {
    let fixture = Fixture::new().await;
    let body = event.to_string().into_bytes();
    let signature = sign("whsec_one", Timestamp::now().as_second(), &body);
    assert_eq!(fixture.webhook(Some(&signature), body).await.status, StatusCode::OK);
}
