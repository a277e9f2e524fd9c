//! An order's contribution to the sales of a day.

use std::collections::BTreeMap;

use contracts::{
    DecodeError, EventPayload,
    events::{OrderCancelled, OrderCompleted, OrderCreated},
    saga::reasons,
};
use jiff::{civil::Date, tz::TimeZone};

use super::History;

/// The name under which all other reasons are counted.
// These are faults of ours. Each name is an attribute of the day's item, and errors of Lambda and AWS have
// too many names for that.
const OTHER: &str = "Other";

/// A figure of the sales report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SalesMetric {
    Orders,
    Completed,
    /// In minor units of this currency (ISO 4217).
    Revenue(String),
    /// Orders that were cancelled for this reason.
    Cancelled(String),
}

/// The totals of one day.
pub type DailyTotals = BTreeMap<SalesMetric, i64>;

impl SalesMetric {
    /// Its name where it is stored.
    pub fn name(&self) -> String {
        match self {
            Self::Orders => "orders".to_owned(),
            Self::Completed => "completed".to_owned(),
            Self::Revenue(currency) => format!("revenue.{currency}"),
            Self::Cancelled(reason) => format!("cancelled.{reason}"),
        }
    }

    /// The metric of that name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Some(match (name, name.split_once('.')) {
            ("orders", _) => Self::Orders,
            ("completed", _) => Self::Completed,
            (_, Some(("revenue", currency))) => Self::Revenue(currency.to_owned()),
            (_, Some(("cancelled", reason))) => Self::Cancelled(reason.to_owned()),
            _ => return None,
        })
    }
}

/// The contributions of an order's events after version `after`, by the day (UTC) of each event.
///
/// # Errors
/// When an event cannot be parsed.
pub fn daily_totals(history: &History, after: u64) -> Result<BTreeMap<Date, DailyTotals>, DecodeError> {
    let mut days: BTreeMap<Date, DailyTotals> = BTreeMap::new();
    // An order that needed attention after it was cancelled is cancelled again, and counts once.
    let cancelled = history.events.iter().map(|event| &event.envelope);
    let cancelled =
        cancelled.filter(|event| event.event_type == OrderCancelled::TYPE).map(|event| event.sequence);
    let first_cancelled = cancelled.min();
    for event in history.events.iter().map(|event| &event.envelope).filter(|event| event.sequence > after) {
        let mut add = |metric, amount| {
            let day = event.occurred_at.to_zoned(TimeZone::UTC).date();
            *days.entry(day).or_default().entry(metric).or_default() += amount;
        };
        match event.event_type.as_str() {
            OrderCreated::TYPE => add(SalesMetric::Orders, 1),
            OrderCompleted::TYPE => {
                let OrderCompleted { total, .. } = event.decode()?;
                add(SalesMetric::Completed, 1);
                add(SalesMetric::Revenue(total.currency.code().to_owned()), total.amount);
            }
            OrderCancelled::TYPE if first_cancelled == Some(event.sequence) => {
                let OrderCancelled { reason, .. } = event.decode()?;
                let reason =
                    reasons().map(|known| known.name).find(|known| *known == reason).unwrap_or(OTHER);
                add(SalesMetric::Cancelled(reason.to_owned()), 1);
            }
            _ => {}
        }
    }
    Ok(days)
}

#[cfg(test)]
mod tests;
