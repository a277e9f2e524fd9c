//! Actions in the gateway's dashboard, and by the customer's bank.

use contracts::saga::UndoOutcome;

use super::*;
use crate::{
    commands::Invocation,
    domain::Dispute,
    queue::{Message, RecordDispute},
    testing::Fault,
};

impl Fixture {
    pub(super) async fn refund_in_dashboard(&self, amount: i64) {
        let charge = self.stripe.refund_in_dashboard("pi_1", amount);
        assert_eq!(self.event("charge.refunded", charge).await, StatusCode::OK);
    }

    /// The refunds that the payment's customer sees.
    pub(super) async fn shown(&self) -> (Value, Value) {
        let tokens = Tokens::new();
        let body = self.get(&tokens, &tokens.user(&self.user), self.order.as_str()).await.body;
        (body["status"].clone(), body["refunded"]["amount"].clone())
    }

    async fn last_refund(&self) -> Value {
        let event = self.last_event().await.unwrap();
        assert_eq!(event.event_type, "payment.refunded");
        event.data
    }

    fn disputed(&self, status: &str) -> Value {
        json!({
            "id": "dp_1", "object": "dispute", "amount": 4200, "currency": "usd", "charge": "ch_1",
            "payment_intent": "pi_1", "reason": "fraudulent", "status": status, "metadata": {},
        })
    }

    /// Works on the last message of the queue, which is about a dispute.
    async fn work_on_dispute(&self) -> Result<(), crate::commands::PaymentsError> {
        let (message, _) = self.aws.sent().pop().unwrap();
        let Message::RecordDispute(record) = serde_json::from_value(message).unwrap() else {
            panic!("another message")
        };
        self.payments.dispute(record, self.at(1)).await
    }
}

#[tokio::test]
async fn refunds_made_in_the_dashboard_are_shown_as_they_add_up_and_published_one_by_one() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.refund_in_dashboard(1200).await;
    assert_eq!(fixture.shown().await, (json!("succeeded"), json!(1200)));
    let event = fixture.last_refund().await;
    assert_eq!((&event["amount"]["amount"], &event["cause"]), (&json!(1200), &json!("by_staff")));

    fixture.refund_in_dashboard(3000).await;
    assert_eq!(fixture.shown().await, (json!("refunded"), json!(4200)));
    assert_eq!(fixture.last_refund().await["amount"]["amount"], 3000);
}

#[tokio::test]
async fn an_older_webhook_of_a_refund_takes_nothing_back() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    let older = fixture.stripe.refund_in_dashboard("pi_1", 1000);
    fixture.refund_in_dashboard(1000).await;
    let version = fixture.payment().await.version;
    fixture.event("charge.refunded", older).await;
    assert_eq!((fixture.shown().await.1, fixture.payment().await.version), (json!(2000), version));
}

#[tokio::test]
async fn an_undo_after_a_whole_refund_in_the_dashboard_gives_nothing_back_again() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.refund_in_dashboard(4200).await;
    let calls = fixture.stripe.calls();
    assert_eq!(fixture.undo().await.unwrap().outcome, UndoOutcome::Refunded);
    assert_eq!((fixture.stripe.calls(), fixture.stripe.money_held()), (calls, 0));
}

#[tokio::test]
async fn an_undo_after_a_refund_in_the_dashboard_without_a_webhook_succeeds() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.stripe.refund_in_dashboard("pi_1", 4200);
    assert_eq!(fixture.undo().await.unwrap().outcome, UndoOutcome::Refunded);
    assert_eq!((fixture.stripe.money_held(), fixture.shown().await.1), (0, json!(4200)));
}

#[tokio::test]
async fn an_undo_after_a_partial_refund_in_the_dashboard_gives_back_the_rest() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.refund_in_dashboard(1200).await;
    assert_eq!(fixture.undo().await.unwrap().outcome, UndoOutcome::Refunded);
    assert_eq!((fixture.stripe.money_held(), fixture.shown().await.1), (0, json!(4200)));
    let event = fixture.last_refund().await;
    assert_eq!((&event["amount"]["amount"], &event["cause"]), (&json!(3000), &json!("order_cancelled")));
    // The webhook of our own refund brings nothing new.
    let version = fixture.payment().await.version;
    fixture.event("charge.refunded", fixture.stripe.refund_in_dashboard("pi_1", 0)).await;
    assert_eq!(fixture.payment().await.version, version);
}

#[tokio::test]
async fn money_that_comes_after_the_deadline_goes_back_by_itself_and_the_event_says_why() {
    let fixture = Fixture::new().await;
    fixture.take("pm_slow", "t1").await.unwrap();
    fixture.check_at(DEADLINE).await.unwrap();
    assert_eq!(fixture.failures(), [Some("PaymentTimeout".to_owned())]);
    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.event("payment_intent.succeeded", fixture.stripe.object("pi_1")).await;
    fixture.check_at(DEADLINE + 1).await.unwrap();
    assert_eq!((fixture.stripe.money_held(), fixture.shown().await), (0, (json!("refunded"), json!(4200))));
    assert_eq!(fixture.last_refund().await["cause"], "late_payment");
}

#[tokio::test]
async fn a_refund_webhook_before_the_payments_success_ends_the_payment_as_refunded() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.refund_in_dashboard(4200).await;
    assert_eq!(fixture.status().await, Status::Pending);
    fixture.event("payment_intent.succeeded", fixture.stripe.object("pi_1")).await;
    assert_eq!(fixture.status().await, Status::Refunded);
    assert_eq!(fixture.failures(), [Some("OrderCancelRequested".to_owned())]);
}

#[tokio::test]
async fn a_dispute_is_recorded_on_its_payment_and_a_late_webhook_does_not_open_it_again() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    for (kind, status, recorded) in [
        ("charge.dispute.created", "needs_response", "needs_response"),
        ("charge.dispute.closed", "lost", "lost"),
        ("charge.dispute.created", "needs_response", "lost"),
    ] {
        assert_eq!(fixture.event(kind, fixture.disputed(status)).await, StatusCode::OK);
        fixture.work_on_dispute().await.unwrap();
        let [Dispute { id, amount, status, .. }] = &fixture.payment().await.disputes[..] else {
            panic!("one")
        };
        assert_eq!((id.as_str(), *amount, status.as_str()), ("dp_1", 4200, recorded));
    }
    assert_eq!(fixture.status().await, Status::Succeeded);
}

#[tokio::test]
async fn what_a_lost_dispute_took_is_not_given_back_again_when_the_order_is_undone() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.event("charge.dispute.closed", fixture.disputed("lost")).await;
    fixture.work_on_dispute().await.unwrap();
    let calls = fixture.stripe.calls();
    assert_eq!(fixture.undo().await.unwrap().outcome, UndoOutcome::Refunded);
    assert_eq!(fixture.stripe.calls(), calls);
}

#[rstest]
#[case::won("won", 0)]
#[case::lost("lost", 4200)]
#[tokio::test]
async fn a_refund_that_waits_for_a_dispute_to_end_is_settled_by_its_end(
    #[case] status: &str,
    #[case] kept: i64,
) {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.stripe.fail("refund", &[Fault::Disputed]);
    assert!(fixture.undo().await.is_err(), "the gateway refunds no disputed charge");
    fixture.event("charge.dispute.closed", fixture.disputed(status)).await;
    fixture.work_on_dispute().await.unwrap();
    assert_eq!((fixture.status().await, fixture.stripe.money_held()), (Status::Refunded, kept));
    assert_eq!(fixture.undo().await.unwrap().outcome, UndoOutcome::Refunded);
}

#[tokio::test]
async fn a_dispute_waits_for_a_gateway_that_is_away_and_one_of_another_account_is_ignored() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.stripe.fail("retrieve", &[Fault::FailedBefore]);
    fixture.event("charge.dispute.created", fixture.disputed("needs_response")).await;
    assert_eq!(fixture.aws.sent().last().unwrap().1, 0);
    fixture.work_on_dispute().await.unwrap();
    assert_eq!(fixture.payment().await.disputes.len(), 0);
    assert!((60..=120).contains(&fixture.aws.sent().last().unwrap().1));
    fixture.work_on_dispute().await.unwrap();
    assert_eq!(fixture.payment().await.disputes.len(), 1);

    let mut others = fixture.disputed("needs_response");
    others["payment_intent"] = Value::Null;
    let sent = fixture.aws.sent().len();
    assert_eq!(fixture.event("charge.dispute.created", others).await, StatusCode::OK);
    assert_eq!(fixture.aws.sent().len(), sent);
    let strange = json!({"payment_intent": "pi_1"});
    assert_eq!(fixture.event("charge.dispute.created", strange).await, StatusCode::BAD_REQUEST);
    let dispute = Dispute { id: "dp_2".into(), amount: 1, reason: "x".into(), status: "lost".into() };
    let record = RecordDispute { intent_id: "pi_9".into(), dispute, event_id: "evt_2".into() };
    let invocation: Invocation = fixture.at(1);
    assert!(
        fixture.payments.dispute(record, invocation).await.is_err(),
        "an intent that the gateway does not know"
    );
}

#[tokio::test]
async fn webhooks_signed_with_the_old_secret_or_the_new_one_are_both_taken_while_it_is_rotated() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    let event = json!({"id": "evt_1", "type": "customer.created", "data": {"object": {}}}).to_string();
    let now = Timestamp::now().as_second();
    for (secret, status) in [
        ("whsec_one", StatusCode::OK),
        ("whsec_two", StatusCode::OK),
        ("whsec_three", StatusCode::BAD_REQUEST),
    ] {
        let signature = sign(secret, now, event.as_bytes());
        assert_eq!(
            fixture.webhook(Some(&signature), event.clone().into_bytes()).await.status,
            status,
            "{secret}"
        );
    }
}

#[tokio::test]
async fn a_webhook_that_died_before_it_queued_a_check_queues_it_when_retried() {
    let fixture = Fixture::new().await;
    fixture.take("pm_slow", "t1").await.unwrap();
    fixture.check_at(DEADLINE).await.unwrap();
    fixture.stripe.set_status("pi_1", "succeeded");
    let object = fixture.stripe.object("pi_1");
    fixture.aws_faults.refuse("SendMessage", lambda_kit::aws::MAX_ATTEMPTS);
    let sent = fixture.aws.sent().len();
    assert_eq!(
        fixture.event("payment_intent.succeeded", object.clone()).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!((fixture.status().await, fixture.aws.sent().len()), (Status::Refunding, sent));
    assert_eq!(fixture.event("payment_intent.succeeded", object).await, StatusCode::OK);
    assert_eq!(fixture.aws.sent().len(), sent + 1);
    fixture.check_at(DEADLINE + 1).await.unwrap();
    assert_eq!(fixture.stripe.money_held(), 0);
}
