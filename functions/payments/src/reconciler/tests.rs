use jiff::SignedDuration;

use super::{settlement::SettlementError, *};
use crate::{
    commands::Payments,
    domain::{FailedRefund, PaymentInput, Status},
    recorder::InputRecorder,
    testing::{DEADLINE, Fault, Fixture},
};

impl Fixture {
    fn reconciler(&self) -> Reconciler {
        let Payments { recorder: InputRecorder { store, .. }, gateway, .. } = self.payments.clone();
        Reconciler { store, gateway, deadline_seconds: DEADLINE }
    }

    async fn settled(&self, by: &str) -> Result<settlement::RecordedSettlement, SettlementError> {
        self.reconciler().record_settlement(&self.order, by, "transfer of 42 USD", self.start).await
    }

    async fn books(&self) -> ComparisonReport {
        let reconciler = self.reconciler();
        let date = self.start.to_zoned(TimeZone::UTC).date();
        let later = self.start + SignedDuration::from_hours(24);
        reconciler.check(date, later, Instant::now() + Duration::from_secs(60)).await.unwrap()
    }

    /// The kinds of what differs, with the amounts.
    async fn differences(&self) -> Vec<(DifferenceKind, i64, i64)> {
        let report = self.books().await;
        assert!(report.complete);
        assert_eq!(report.different, report.differences.len() as u64);
        report.differences.into_iter().map(|it| (it.kind, it.books, it.gateway)).collect()
    }
}

#[tokio::test]
async fn payments_that_went_well_or_badly_or_back_do_not_differ() {
    let fixture = Fixture::new().await;
    for method in ["pm_card_visa", "pm_declined", "pm_3ds"] {
        fixture.another_order().take(method, "t").await.unwrap();
    }
    let refunded = fixture.another_order();
    refunded.take("pm_card_visa", "t").await.unwrap();
    refunded.undo().await.unwrap();
    let report = fixture.books().await;
    assert_eq!((report.compared, report.different, report.complete), (4, 0, true));
}

#[tokio::test]
async fn a_refund_that_failed_does_not_differ_although_the_charges_own_sum_counts_it() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t").await.unwrap();
    fixture.undo().await.unwrap();
    fixture.stripe.refund_fails("re_1");
    assert_eq!(fixture.differences().await, [(DifferenceKind::Refunded, 4200, 0)], "no webhook came");
    let failed = FailedRefund { id: "re_1".into(), amount: 4200, reason: "unknown".into() };
    let known = Some(fixture.payment().await);
    let input = PaymentInput::RefundFailed(failed);
    crate::handler::record(
        &fixture.payments.recorder.store,
        &fixture.order,
        known,
        &input,
        fixture.event_context(),
    )
    .await
    .unwrap();
    assert_eq!(fixture.status().await, Status::RefundFailed);
    assert_eq!(fixture.differences().await, []);

    fixture.settled("alice").await.unwrap();
    assert_eq!(fixture.status().await, Status::Refunded);
    assert_eq!(fixture.differences().await, [], "the gateway has the money still, and the books say so");
}

#[tokio::test]
async fn what_was_paid_past_the_gateway_is_recorded_once_and_only_for_a_refund_that_failed() {
    let fixture = Fixture::new().await;
    assert!(matches!(fixture.settled("alice").await, Err(SettlementError::NoPayment(_))));
    fixture.take("pm_card_visa", "t").await.unwrap();
    assert!(matches!(fixture.settled("alice").await, Err(SettlementError::NothingFailed(_))));
    fixture.undo().await.unwrap();
    assert!(matches!(fixture.settled("alice").await, Err(SettlementError::NothingFailed(_))));
    fixture.stripe.refund_fails("re_1");
    let failed = FailedRefund { id: "re_1".into(), amount: 4200, reason: "unknown".into() };
    let known = Some(fixture.payment().await);
    crate::handler::record(
        &fixture.payments.recorder.store,
        &fixture.order,
        known,
        &PaymentInput::RefundFailed(failed),
        fixture.event_context(),
    )
    .await
    .unwrap();

    fixture.faults.lose_answers("PutItem", 1);
    let first = fixture.settled("alice").await.unwrap();
    assert_eq!((first.amount.amount, &*first.by, &*first.note), (4200, "alice", "transfer of 42 USD"));
    let event = fixture.last_event().await.unwrap();
    assert_eq!((event.event_type.as_str(), &event.data["cause"]), ("payment.refunded", &"by_staff".into()));
    let again = fixture.settled("bob").await.unwrap();
    assert_eq!((again.new, again.by), (false, first.by), "a repeat says what was recorded");
    assert_eq!(
        fixture.undo().await.unwrap().outcome,
        contracts::saga::UndoOutcome::Refunded,
        "the order can end"
    );
    assert_eq!(fixture.stripe.money_held(), 4200, "and the gateway refunds nothing");
}

#[tokio::test]
async fn a_refund_in_the_dashboard_without_a_webhook_differs() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t").await.unwrap();
    fixture.stripe.refund_in_dashboard("pi_1", 1000);
    assert_eq!(fixture.differences().await, [(DifferenceKind::Refunded, 0, 1000)]);
}

#[tokio::test]
async fn money_that_the_books_do_not_have_differs() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t").await.unwrap();
    fixture.stripe.fail("cancel", &[Fault::Unreachable]);
    fixture.check_at(DEADLINE).await.unwrap();
    fixture.stripe.set_status("pi_1", "succeeded");
    assert_eq!(fixture.differences().await, [(DifferenceKind::NotRecorded, 0, 4200)]);
}

#[tokio::test]
async fn another_amount_differs() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t").await.unwrap();
    fixture.stripe.charge_instead("pi_1", 420_000);
    assert_eq!(fixture.differences().await, [(DifferenceKind::Amount, 4200, 420_000)]);
}

#[tokio::test]
async fn a_payment_whose_intent_the_gateway_does_not_know_or_did_not_take_differs() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t").await.unwrap();
    fixture.stripe.set_status("pi_1", "canceled");
    assert_eq!(fixture.differences().await, [(DifferenceKind::NotTaken, 4200, 0)]);
    fixture.stripe.forget("pi_1");
    assert_eq!(fixture.differences().await, [(DifferenceKind::NoIntent, 4200, 0)]);
}

#[tokio::test]
async fn money_for_an_order_without_a_payment_differs_and_what_is_not_ours_does_not() {
    let (fixture, other) = (Fixture::new().await, Fixture::new().await);
    fixture.take("pm_card_visa", "t").await.unwrap();
    // The same gateway, another table.
    let store = other.payments.recorder.store.clone();
    let gateway = fixture.payments.gateway.clone();
    let reconciler = Reconciler { store, gateway, deadline_seconds: DEADLINE };
    let date = fixture.start.to_zoned(TimeZone::UTC).date();
    let report =
        reconciler.check(date, fixture.start, Instant::now() + Duration::from_secs(60)).await.unwrap();
    let [Difference { kind, gateway, .. }] = &report.differences[..] else { panic!("{report:?}") };
    assert_eq!((*kind, *gateway), (DifferenceKind::NoPayment, 4200));
}

#[tokio::test]
async fn a_check_whose_time_is_up_says_that_it_is_not_complete() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t").await.unwrap();
    let Payments { recorder: InputRecorder { store, .. }, gateway, .. } = fixture.payments.clone();
    let reconciler = Reconciler { store, gateway, deadline_seconds: DEADLINE };
    let date = fixture.start.to_zoned(TimeZone::UTC).date();
    let report = reconciler.check(date, fixture.start, Instant::now()).await.unwrap();
    assert_eq!((report.complete, report.compared), (false, 0));
}
