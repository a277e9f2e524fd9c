//! The function payments-reconciler: invoked by its schedule and by `cargo ops payments`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use contracts::{OrderId, metrics};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use lambda_kit::{
    MainResult,
    command::parse,
    error::error_chain,
    health::Check,
    invoke,
    telemetry::{self, Outcome},
};
use lambda_runtime::{Context, Diagnostic};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    CheckError, ComparisonReport, Reconciler,
    settlement::{RecordedSettlement, SettlementError},
};

/// Left of an invocation's time for its last calls and its answer.
const RESERVE: Duration = Duration::from_secs(30);

/// The function's requests.
#[derive(Debug, Deserialize)]
#[serde(tag = "action")]
enum Request {
    /// Compare the payments of a day (UTC); of yesterday, without one.
    CheckPayments {
        #[serde(default)]
        date: Option<Date>,
    },
    /// Record that the money of a refund that failed was paid to the customer outside the gateway.
    SettleRefund { order_id: OrderId, by: String, note: String },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Report(ComparisonReport),
    RecordedSettlement(RecordedSettlement),
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
            match parse::<Request>(payload.get())? {
                Request::CheckPayments { date } => {
                    reconciler.run_check(date, &context).await.map(Answer::Report)
                }
                Request::SettleRefund { order_id, by, note } => {
                    reconciler.settle_refund(&order_id, &by, &note).await.map(Answer::RecordedSettlement)
                }
            }
        }
    })
    .await
}

impl Reconciler {
    async fn run_check(&self, date: Option<Date>, context: &Context) -> Result<ComparisonReport, Diagnostic> {
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
            tracing::error!(
                error = error_chain(&error),
                "the payments could not be compared with the gateway"
            );
            Diagnostic { error_type: "Transient".to_owned(), error_message: error_chain(&error) }
        })?;
        // Payments that were not compared may differ.
        let may_differ = report.different.max(u64::from(!report.complete));
        telemetry::emit(&metrics::PAYMENTS_DIFFERENT, may_differ);
        let ComparisonReport { date, compared, different, complete, .. } = &report;
        tracing::info!(%date, compared, different, complete, "payments compared with the gateway");
        Ok(report)
    }

    async fn settle_refund(
        &self,
        order_id: &OrderId,
        by: &str,
        note: &str,
    ) -> Result<RecordedSettlement, Diagnostic> {
        let recorded =
            self.record_settlement(order_id, by, note, Timestamp::now()).await.map_err(|error| {
                let error_type = match &error {
                    // The operator's mistake, and no failure of ours: it is answered, and not logged as an
                    // error.
                    SettlementError::NoPayment(_) | SettlementError::NothingFailed(_) => "NothingToSettle",
                    SettlementError::Table(_) | SettlementError::Record(_) => {
                        tracing::error!(
                            order_id = order_id.as_str(),
                            error = error_chain(&error),
                            "a payment outside the gateway could not be recorded"
                        );
                        "Transient"
                    }
                };
                Diagnostic { error_type: error_type.to_owned(), error_message: error_chain(&error) }
            })?;
        tracing::info!(
            order_id = order_id.as_str(),
            new = recorded.new,
            "a payment outside the gateway is recorded"
        );
        Ok(recorded)
    }
}

fn yesterday(now: Timestamp) -> Result<Date, CheckError> {
    let today = now.to_zoned(TimeZone::UTC).date();
    today.yesterday().map_err(|_| CheckError::Date(today))
}
