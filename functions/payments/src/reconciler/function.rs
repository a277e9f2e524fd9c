//! The function payments-reconciler: run by its schedule, and asked by `cargo ops payments check`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use lambda_kit::{
    MainResult,
    command::{chain, parse},
    health::Check,
    invoke,
    telemetry::{self, Outcome},
};
use lambda_runtime::{Context, Diagnostic};
use serde::Deserialize;
use tokio::time::Instant;

use super::{CheckError, Reconciler, Report};

/// Left of an invocation's time for its last calls and its answer.
const RESERVE: Duration = Duration::from_secs(30);

/// What the function can be asked.
#[derive(Debug, Deserialize)]
#[serde(tag = "action")]
enum Request {
    /// Compare the payments of a day (UTC); of yesterday, without one.
    CheckPayments {
        #[serde(default)]
        date: Option<Date>,
    },
}

/// Serves until the process ends.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run(checks: Vec<Check>, reconciler: Reconciler) -> MainResult {
    let reconciler = Arc::new(reconciler);
    invoke::run(checks, move |payload, context| {
        let reconciler = Arc::clone(&reconciler);
        async move {
            let Request::CheckPayments { date } = parse::<Request>(payload.get())?;
            reconciler.answer(date, &context).await
        }
    })
    .await
}

impl Reconciler {
    async fn answer(&self, date: Option<Date>, context: &Context) -> Result<Report, Diagnostic> {
        let (now, started) = (Timestamp::now(), Instant::now());
        let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let ends = started + left.saturating_sub(RESERVE);
        let checked = match date.map_or_else(|| yesterday(now), Ok) {
            Ok(date) => self.check(date, now, ends).await,
            Err(error) => Err(error),
        };
        let complete = checked.as_ref().is_ok_and(|report| report.complete);
        telemetry::record(
            "CheckPayments",
            if complete { Outcome::Ok } else { Outcome::Error },
            started.elapsed(),
        );
        let report = checked.map_err(|error| {
            tracing::error!(error = chain(&error), "the payments could not be compared with the gateway");
            Diagnostic { error_type: "Transient".to_owned(), error_message: chain(&error) }
        })?;
        // What was not compared may differ.
        let may_differ = report.different.max(u64::from(!report.complete));
        telemetry::found("CheckPayments", "different", may_differ);
        let Report { date, compared, different, complete, .. } = &report;
        tracing::info!(%date, compared, different, complete, "payments compared with the gateway");
        Ok(report)
    }
}

fn yesterday(now: Timestamp) -> Result<Date, CheckError> {
    let today = now.to_zoned(TimeZone::UTC).date();
    today.yesterday().map_err(|_| CheckError::Date(today))
}
