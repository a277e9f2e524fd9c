//! `GET /v2/reports/sales`: what was sold on each day, for administrators. Version 1 has the cancellations as an object,
//! whose names a generated client cannot know.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use contracts::{Currency, Money};
use jiff::{
    ToSpan,
    civil::{Date, date},
};
use lambda_kit::http::{Admin, Deprecation, List, Problem, Query};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::view::CACHE;
use crate::{
    domain::{DailyTotals, SalesMetric},
    store::Store,
};

/// Of version 1.
pub(super) static VERSION_1: Deprecation = Deprecation {
    since: date(2026, 12, 1),
    // Half a year, in which clients change to version 2.
    sunset: date(2027, 6, 1),
    successor: "/v2/reports/sales",
};

/// The longest report.
// A leap year, so that a whole year fits. It is read within the function's 3 s.
const MAX_DAYS: i32 = 366;

#[derive(Deserialize)]
pub(super) struct Range {
    from: Option<String>,
    to: Option<String>,
}

/// One day, by what happened on it (UTC): an order that was placed on one day and completed on the next is in both.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct DayView {
    date: Date,
    orders: i64,
    completed: i64,
    /// Of what was completed, by currency.
    revenue: Vec<Money>,
    /// By reason.
    cancellations: Vec<Cancellations>,
}

/// The orders that were cancelled for one reason.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct Cancellations {
    reason: String,
    orders: i64,
}

/// One day in version 1.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "DayViewV1"))]
pub(super) struct DayV1 {
    date: Date,
    orders: i64,
    completed: i64,
    /// Of what was completed, by currency.
    revenue: Vec<Money>,
    /// By reason.
    cancellations: BTreeMap<String, i64>,
}

/// The days from `from` to `to`, both included.
pub(super) async fn sales(
    State(store): State<Store>,
    _: Admin,
    Query(range): Query<Range>,
) -> Result<Response, Problem> {
    report(days(&store, range).await?)
}

/// The same in version 1.
pub(super) async fn sales_v1(
    State(store): State<Store>,
    _: Admin,
    Query(range): Query<Range>,
) -> Result<Response, Problem> {
    report(days(&store, range).await?.into_iter().map(DayV1::from).collect())
}

fn report<D: Serialize>(days: Vec<D>) -> Result<Response, Problem> {
    Ok(([(header::CACHE_CONTROL, CACHE)], Json(List::whole(days))).into_response())
}

async fn days(store: &Store, Range { from, to }: Range) -> Result<Vec<DayView>, Problem> {
    let (from, to) = (date_of("from", from)?, date_of("to", to)?);
    if from > to {
        return Err(Problem::field("to", "must not be before `from`"));
    }
    if from.until(to).is_ok_and(|span| span.get_days() >= MAX_DAYS) {
        return Err(Problem::field("to", format!("must be within {MAX_DAYS} days from `from`")));
    }
    let mut sold = store.sales(from, to).await?;
    let days = from.series(1.day()).take_while(|day| *day <= to);
    Ok(days.map(|day| DayView::new(day, sold.remove(&day).unwrap_or_default())).collect())
}

fn date_of(name: &str, date: Option<String>) -> Result<Date, Problem> {
    // Longer ones would be times, of which a part would be left out.
    let date = date.filter(|date| date.len() == 10).and_then(|date| date.parse().ok());
    date.ok_or_else(|| Problem::field(name, "must be a date such as 2026-11-20"))
}

impl DayView {
    fn new(date: Date, totals: DailyTotals) -> Self {
        let empty = Self { date, orders: 0, completed: 0, revenue: vec![], cancellations: vec![] };
        totals.into_iter().fold(empty, |mut day, (metric, count)| {
            match metric {
                SalesMetric::Orders => day.orders = count,
                SalesMetric::Completed => day.completed = count,
                SalesMetric::Revenue(code) => {
                    // Only codes of currencies are counted.
                    day.revenue
                        .extend(Currency::from_code(&code).map(|currency| Money::new(count, currency)));
                }
                SalesMetric::Cancelled(reason) => {
                    day.cancellations.push(Cancellations { reason, orders: count });
                }
            }
            day
        })
    }
}

impl From<DayView> for DayV1 {
    fn from(DayView { date, orders, completed, revenue, cancellations }: DayView) -> Self {
        let cancellations =
            cancellations.into_iter().map(|Cancellations { reason, orders }| (reason, orders));
        Self { date, orders, completed, revenue, cancellations: cancellations.collect() }
    }
}

#[cfg(test)]
mod tests;
