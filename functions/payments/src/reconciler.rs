//! Compares the payments of a day with the gateway (`payments-reconciler`). A schedule runs it for the day before, and so
//! does `cargo ops payments check`. It changes nothing: a person decides about differences. It also records what a
//! person has paid to a customer outside the gateway (`cargo ops payments settled`).

mod function;
mod settlement;

use std::{collections::BTreeSet, ops::Range, time::Duration};

use contracts::OrderId;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use lambda_kit::dynamodb::TableError;
use serde::Serialize;
use tokio::time::Instant;

pub use function::run;

use crate::{
    domain::{Difference, DifferenceKind, Payment, compare},
    gateway::{Gateway, GatewayError, IntentObject},
    store::Store,
};

/// How long a gateway call may wait for its turn, and for the breaker to close.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The most differences in a report. The counts include all.
const LISTED: usize = 1000;

/// The dependencies of the comparison.
#[derive(Debug, Clone)]
pub struct Reconciler {
    pub store: Store,
    pub gateway: Gateway,
    /// The time from a payment's start to its deadline.
    pub deadline_seconds: i64,
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparisonReport {
    pub date: Date,
    /// Payments and intents that were compared.
    pub compared: u64,
    pub different: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Whether the whole day was compared. False when the time ran out.
    pub complete: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the gateway cannot be read")]
    Gateway(#[from] GatewayError),
    #[error("{0} is not a valid day")]
    Date(Date),
}

impl Reconciler {
    /// Compares the intents that the gateway made on a day (UTC), and the payments that began on it.
    ///
    /// # Errors
    /// When the table or the gateway cannot be read.
    pub async fn check(
        &self,
        date: Date,
        now: Timestamp,
        ends: Instant,
    ) -> Result<ComparisonReport, CheckError> {
        let day = seconds_of(date)?;
        let mut report =
            ComparisonReport { date, compared: 0, different: 0, differences: vec![], complete: true };
        let mut seen = BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            // A report that ends early says so. A run that the timeout cuts off would say nothing.
            if Instant::now() >= ends {
                report.complete = false;
                return Ok(report);
            }
            let page = self.gateway.intents(day.clone(), after.as_deref(), MAX_WAIT).await?;
            after = page.data.last().map(|intent| intent.id.clone());
            for intent in &page.data {
                // The account may be used for other things, too.
                let Some(order_id) = intent.order_id() else { continue };
                let payment = self.store.get(&order_id).await?;
                report.record(self.compared(&order_id, payment.as_ref(), intent, now).await?);
                seen.insert(intent.id.clone());
            }
            if !page.has_more || after.is_none() {
                break;
            }
        }
        self.check_books(&mut report, &seen, day, now, ends).await?;
        Ok(report)
    }

    /// Compares the payments that the gateway's list of the day does not have.
    async fn check_books(
        &self,
        report: &mut ComparisonReport,
        seen: &BTreeSet<String>,
        day: Range<i64>,
        now: Timestamp,
        ends: Instant,
    ) -> Result<(), CheckError> {
        // A payment stores its deadline and not its beginning, which is this much earlier.
        let deadlines = day.start + self.deadline_seconds..day.end + self.deadline_seconds;
        let mut from = None;
        loop {
            let (payments, next) = self.store.with_deadline_in(deadlines.clone(), from).await?;
            for payment in payments.iter().filter(|payment| payment.took_money()) {
                let Some(intent) = payment.intent.as_ref().filter(|ours| !seen.contains(&ours.id)) else {
                    continue;
                };
                if Instant::now() >= ends {
                    report.complete = false;
                    return Ok(());
                }
                report.record(self.retrieved(payment, &intent.id, now).await?);
            }
            match next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// The difference between a payment and its intent, which the list of the day does not have.
    // Perhaps the intent was made a moment before or after midnight. So only the gateway knows whether it exists.
    async fn retrieved(
        &self,
        payment: &Payment,
        intent_id: &str,
        now: Timestamp,
    ) -> Result<Option<Difference>, CheckError> {
        match self.gateway.retrieve(intent_id, MAX_WAIT).await {
            Ok(found) => self.compared(&payment.order_id, Some(payment), &found, now).await,
            Err(GatewayError::Refused { .. }) => Ok(Some(Difference {
                order_id: payment.order_id.clone(),
                intent_id: intent_id.to_owned(),
                kind: DifferenceKind::NoIntent,
                books: payment.total(),
                gateway: 0,
            })),
            Err(error) => Err(error.into()),
        }
    }

    /// The difference between a payment and its intent, if any.
    async fn compared(
        &self,
        order_id: &OrderId,
        payment: Option<&Payment>,
        intent: &IntentObject,
        now: Timestamp,
    ) -> Result<Option<Difference>, CheckError> {
        // A charge's own sum may count refunds that have failed since. Where money was refunded, each refund
        // is read.
        let mut gateway = intent.gateway_intent();
        if let Some(payment) = payment.filter(|payment| payment.refunded + gateway.refunded > 0) {
            let refunds = self.gateway.refunds(&intent.id, MAX_WAIT).await?;
            gateway.refunded = refunds.accepted(&payment.failed_refunds);
        }
        Ok(compare(order_id, payment, &gateway, now))
    }
}

impl ComparisonReport {
    fn record(&mut self, difference: Option<Difference>) {
        self.compared += 1;
        let Some(difference) = difference else { return };
        tracing::error!(
            order_id = difference.order_id.as_str(),
            intent_id = difference.intent_id,
            kind = ?difference.kind,
            books = difference.books,
            gateway = difference.gateway,
            "a payment and the gateway differ"
        );
        self.different += 1;
        if self.differences.len() < LISTED {
            self.differences.push(difference);
        }
    }
}

fn seconds_of(date: Date) -> Result<Range<i64>, CheckError> {
    let start = |date: Date| date.to_zoned(TimeZone::UTC).map(|start| start.timestamp().as_second());
    let end = date.tomorrow().and_then(start);
    Ok(start(date).map_err(|_| CheckError::Date(date))?..end.map_err(|_| CheckError::Date(date))?)
}

#[cfg(test)]
mod tests;
