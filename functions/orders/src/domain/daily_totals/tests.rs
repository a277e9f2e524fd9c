use contracts::saga::UndoOutcome::{Failed, NotNeeded, Refunded, Released};

use super::*;
use crate::{
    domain::Command,
    testing::{cancel, cancel_after, commits, complete, order_id, place, refund_failed},
};

fn history(commands: Vec<Command>) -> History {
    History::replay(&order_id(), commits(commands)).unwrap().unwrap()
}

/// The counts of one day, by their names.
fn counted(history: &History, after: u64) -> Vec<(String, i64)> {
    let days = daily_totals(history, after).unwrap();
    assert!(days.len() <= 1);
    days.into_values().flatten().map(|(metric, count)| (metric.name(), count)).collect()
}

fn named(counts: &[(&str, i64)]) -> Vec<(String, i64)> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn a_completed_order_is_revenue_in_its_currency() {
    let history = history(vec![place(), Command::RecordReservation, complete()]);
    assert_eq!(counted(&history, 0), named(&[("orders", 1), ("completed", 1), ("revenue.USD", 8400)]));
    // Events up to the counted version are not counted again.
    assert_eq!(counted(&history, 1), named(&[("completed", 1), ("revenue.USD", 8400)]));
    assert_eq!(counted(&history, 6), named(&[]));
}

#[test]
fn a_cancelled_order_is_counted_by_its_reason_once_it_has_ended() {
    let declined =
        history(vec![place(), Command::RecordReservation, cancel("TakePayment", "PaymentDeclined")]);
    assert_eq!(counted(&declined, 0), named(&[("orders", 1), ("cancelled.PaymentDeclined", 1)]));
    let away = history(vec![place(), cancel("ReserveInventory", "ServiceUnavailable")]);
    assert_eq!(counted(&away, 1), named(&[("cancelled.ServiceUnavailable", 1)]));
    let fault = history(vec![place(), cancel("ReserveInventory", "Lambda.Unknown")]);
    assert_eq!(counted(&fault, 1), named(&[("cancelled.Other", 1)]));
    let stuck =
        |outcome| cancel_after("ScheduleShipment", "ShipmentRejected", [NotNeeded, NotNeeded, outcome]);
    let attention = history(vec![place(), Command::RecordReservation, stuck(Failed)]);
    assert_eq!(counted(&attention, 1), named(&[]));
    let ended = history(vec![place(), Command::RecordReservation, stuck(Failed), stuck(Released)]);
    assert_eq!(counted(&ended, 1), named(&[("cancelled.ShipmentRejected", 1)]));
}

#[test]
fn an_order_that_is_cancelled_again_after_its_refund_failed_counts_once() {
    let cancelled =
        |outcome| cancel_after("ScheduleShipment", "ShipmentRejected", [NotNeeded, outcome, Released]);
    let first = vec![place(), Command::RecordReservation, cancelled(Refunded)];
    let again = [first, vec![refund_failed("re_1"), cancelled(Refunded)]].concat();
    let once = named(&[("orders", 1), ("cancelled.ShipmentRejected", 1)]);
    let history = history(again);
    assert_eq!(counted(&history, 0), once);
    let cancelled_at =
        history.events.iter().position(|e| e.envelope.event_type == OrderCancelled::TYPE).unwrap();
    assert_eq!(counted(&history, u64::try_from(cancelled_at).unwrap() + 1), named(&[]));
}

#[test]
fn an_event_counts_on_its_own_day() {
    let mut commits = commits(vec![place(), Command::RecordReservation, complete()]);
    for event in &mut commits[2].events {
        event.occurred_at = "2030-01-02T00:00:00Z".parse().unwrap();
    }
    let history = History::replay(&order_id(), commits).unwrap().unwrap();
    let days = daily_totals(&history, 0).unwrap();
    let of_day = |day: jiff::civil::Date| days[&day].keys().map(SalesMetric::name).collect::<Vec<_>>();
    assert_eq!(of_day(jiff::civil::date(2026, 11, 18)), ["orders"]);
    assert_eq!(of_day(jiff::civil::date(2030, 1, 2)), ["completed", "revenue.USD"]);
}

#[test]
fn a_metric_is_found_by_its_name() {
    let all = [
        SalesMetric::Orders,
        SalesMetric::Completed,
        SalesMetric::Revenue("USD".to_owned()),
        SalesMetric::Cancelled("Other".to_owned()),
    ];
    for metric in all {
        assert_eq!(SalesMetric::named(&metric.name()), Some(metric));
    }
    assert_eq!(SalesMetric::named("pk"), None);
}
