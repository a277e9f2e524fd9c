//! What was measured: the times of each route, of orders until their end, and the errors.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::OrderStatus;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The longest time that is told apart, in microseconds: 30 minutes.
const LONGEST: u64 = 1_800_000_000;
/// Digits of a time that are kept.
const DIGITS: u8 = 3;

/// Shared by all customers.
#[derive(Debug, Default)]
pub struct Records(Mutex<Figures>);

#[derive(Debug, Default)]
pub struct Figures {
    /// By route.
    pub routes: BTreeMap<&'static str, Times>,
    /// From an order's request until the customer saw its end.
    pub ends: BTreeMap<&'static str, Times>,
    /// By route and kind.
    pub errors: BTreeMap<(&'static str, String), u64>,
    pub arrivals: u64,
    pub placed: u64,
    /// Orders whose end the customer did not see in time.
    pub unseen: u64,
}

/// Times in microseconds.
#[derive(Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_max(LONGEST, DIGITS).expect("the limits are in order"))
    }
}

impl Times {
    fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// In milliseconds.
    pub fn percentile(&self, percentile: u8) -> u64 {
        self.0.value_at_percentile(f64::from(percentile)) / 1_000
    }

    pub fn longest(&self) -> u64 {
        self.0.max() / 1_000
    }

    pub fn as_json(&self) -> Value {
        let at = |percentile| self.percentile(percentile);
        json!({"count": self.count(), "p50": at(50), "p90": at(90), "p99": at(99), "max": self.longest()})
    }
}

impl Records {
    pub fn arrived(&self) {
        self.figures().arrivals += 1;
    }

    pub fn placed(&self) {
        self.figures().placed += 1;
    }

    pub fn answered(&self, route: &'static str, time: Duration) {
        self.figures().routes.entry(route).or_default().record(time);
    }

    pub fn failed(&self, route: &'static str, error: &shop_client::Error) {
        let kind = match error {
            shop_client::Error::Refused { status, .. } | shop_client::Error::NotLetIn { status } => {
                status.as_u16().to_string()
            }
            shop_client::Error::NoAnswer { .. } => "no answer".to_owned(),
            _ => "broken".to_owned(),
        };
        *self.figures().errors.entry((route, kind)).or_default() += 1;
    }

    pub fn ended(&self, status: OrderStatus, time: Duration) {
        let name = match status {
            OrderStatus::OrderCompleted => "completed",
            _ => "cancelled",
        };
        self.figures().ends.entry(name).or_default().record(time);
    }

    pub fn unseen(&self) {
        self.figures().unseen += 1;
    }

    pub fn take(&self) -> Figures {
        std::mem::take(&mut *self.figures())
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    pub fn ended_as(&self, end: &str) -> u64 {
        self.ends.get(end).map_or(0, Times::count)
    }

    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times() {
        let records = Records::default();
        (1..=100).for_each(|n| records.answered("GET /v1/products", Duration::from_millis(n)));
        records.ended(OrderStatus::OrderCompleted, Duration::from_secs(2));
        let figures = records.take();
        let times = &figures.routes["GET /v1/products"];
        assert_eq!((times.count(), times.percentile(50), times.percentile(99)), (100, 50, 99));
        assert_eq!((figures.ended_as("completed"), figures.ended_as("cancelled")), (1, 0));
    }
}
