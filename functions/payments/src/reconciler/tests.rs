use jiff::SignedDuration;

use super::{settlement::SettlementError, *};
use crate::{
    commands::Payments,
    domain::{FailedRefund, PaymentInput, Status},
    recorder::InputRecorder,
    testing::{DEADLINE, Fault, Lab},
};

impl Lab {
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
    let lab = Lab::new().await;
    for method in ["pm_card_visa", "pm_declined", "pm_3ds"] {
        lab.another_order().take(method, "t").await.unwrap();
    }
    let refunded = lab.another_order();
    refunded.take("pm_card_visa", "t").await.unwrap();
    refunded.undo().await.unwrap();
    let report = lab.books().await;
    assert_eq!((report.compared, report.different, report.complete), (4, 0, true));
}

#[tokio::test]
async fn a_refund_that_failed_does_not_differ_although_the_charges_own_sum_counts_it() {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t").await.unwrap();
    lab.undo().await.unwrap();
    lab.stripe.refund_fails("re_1");
    assert_eq!(lab.differences().await, [(DifferenceKind::Refunded, 4200, 0)], "no webhook came");
    let failed = FailedRefund { id: "re_1".into(), amount: 4200, reason: "unknown".into() };
    let known = Some(lab.payment().await);
    let input = PaymentInput::RefundFailed(failed);
    crate::handler::record(&lab.payments.recorder.store, &lab.order, known, &input, lab.event_context())
        .await
        .unwrap();
    assert_eq!(lab.status().await, Status::RefundFailed);
    assert_eq!(lab.differences().await, []);

    lab.settled("alice").await.unwrap();
    assert_eq!(lab.status().await, Status::Refunded);
    assert_eq!(lab.differences().await, [], "the gateway has the money still, and the books say so");
}

#[tokio::test]
async fn what_was_paid_past_the_gateway_is_recorded_once_and_only_for_a_refund_that_failed() {
    let lab = Lab::new().await;
    assert!(matches!(lab.settled("alice").await, Err(SettlementError::NoPayment(_))));
    lab.take("pm_card_visa", "t").await.unwrap();
    assert!(matches!(lab.settled("alice").await, Err(SettlementError::NothingFailed(_))));
    lab.undo().await.unwrap();
    assert!(matches!(lab.settled("alice").await, Err(SettlementError::NothingFailed(_))));
    lab.stripe.refund_fails("re_1");
    let failed = FailedRefund { id: "re_1".into(), amount: 4200, reason: "unknown".into() };
    let known = Some(lab.payment().await);
    crate::handler::record(
        &lab.payments.recorder.store,
        &lab.order,
        known,
        &PaymentInput::RefundFailed(failed),
        lab.event_context(),
    )
    .await
    .unwrap();

    lab.faults.lose_answers("PutItem", 1);
    let first = lab.settled("alice").await.unwrap();
    assert_eq!((first.amount.amount, &*first.by, &*first.note), (4200, "alice", "transfer of 42 USD"));
    let event = lab.last_event().await.unwrap();
    assert_eq!((event.event_type.as_str(), &event.data["cause"]), ("payment.refunded", &"by_staff".into()));
    let again = lab.settled("bob").await.unwrap();
    assert_eq!((again.new, again.by), (false, first.by), "a repeat says what was recorded");
    assert_eq!(
        lab.undo().await.unwrap().outcome,
        contracts::saga::UndoOutcome::Refunded,
        "the order can end"
    );
    assert_eq!(lab.stripe.money_held(), 4200, "and the gateway refunds nothing");
}

#[tokio::test]
async fn a_refund_in_the_dashboard_without_a_webhook_differs() {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t").await.unwrap();
    lab.stripe.refund_in_dashboard("pi_1", 1000);
    assert_eq!(lab.differences().await, [(DifferenceKind::Refunded, 0, 1000)]);
}

#[tokio::test]
async fn money_that_the_books_do_not_have_differs() {
    let lab = Lab::new().await;
    lab.take("pm_3ds", "t").await.unwrap();
    lab.stripe.fail("cancel", &[Fault::Unreachable]);
    lab.check_at(DEADLINE).await.unwrap();
    lab.stripe.set_status("pi_1", "succeeded");
    assert_eq!(lab.differences().await, [(DifferenceKind::NotRecorded, 0, 4200)]);
}

#[tokio::test]
async fn another_amount_differs() {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t").await.unwrap();
    lab.stripe.charge_instead("pi_1", 420_000);
    assert_eq!(lab.differences().await, [(DifferenceKind::Amount, 4200, 420_000)]);
}

#[tokio::test]
async fn a_payment_whose_intent_the_gateway_does_not_know_or_did_not_take_differs() {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t").await.unwrap();
    lab.stripe.set_status("pi_1", "canceled");
    assert_eq!(lab.differences().await, [(DifferenceKind::NotTaken, 4200, 0)]);
    lab.stripe.forget("pi_1");
    assert_eq!(lab.differences().await, [(DifferenceKind::NoIntent, 4200, 0)]);
}

#[tokio::test]
async fn money_for_an_order_without_a_payment_differs_and_what_is_not_ours_does_not() {
    let (lab, other) = (Lab::new().await, Lab::new().await);
    lab.take("pm_card_visa", "t").await.unwrap();
    // The same gateway, another table.
    let store = other.payments.recorder.store.clone();
    let gateway = lab.payments.gateway.clone();
    let reconciler = Reconciler { store, gateway, deadline_seconds: DEADLINE };
    let date = lab.start.to_zoned(TimeZone::UTC).date();
    let report = reconciler.check(date, lab.start, Instant::now() + Duration::from_secs(60)).await.unwrap();
    let [Difference { kind, gateway, .. }] = &report.differences[..] else { panic!("{report:?}") };
    assert_eq!((*kind, *gateway), (DifferenceKind::NoPayment, 4200));
}

#[tokio::test]
async fn a_check_whose_time_is_up_says_that_it_is_not_complete() {
    let lab = Lab::new().await;
    lab.take("pm_card_visa", "t").await.unwrap();
    let Payments { recorder: InputRecorder { store, .. }, gateway, .. } = lab.payments.clone();
    let reconciler = Reconciler { store, gateway, deadline_seconds: DEADLINE };
    let date = lab.start.to_zoned(TimeZone::UTC).date();
    let report = reconciler.check(date, lab.start, Instant::now()).await.unwrap();
    assert_eq!((report.complete, report.compared), (false, 0));
}
