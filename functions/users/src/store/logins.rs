//! The counts of failed logins.

use lambda_kit::dynamodb::{Expression, Item, TableError, key, number, retry_on_conflict};

use super::{CONFLICTS, Store};
use crate::domain::{FailureSource, Failures, WINDOW};

/// The outcome of counting an attempt to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    Counted,
    /// There are as many failures as the limit. Nothing was counted.
    LimitReached {
        /// Seconds until they are forgotten.
        wait: i64,
    },
}

impl Store {
    /// Counts an attempt as failed, if the limit allows one more. If the answer is lost, it may be counted twice.
    ///
    /// # Errors
    /// When the table does not answer, or too many requests count at the same time.
    pub async fn count_attempt(&self, source: &FailureSource, now: i64) -> Result<Attempt, TableError> {
        const OPERATION: &str = "counting an attempt to log in";
        let counted = retry_on_conflict(CONFLICTS, || async {
            let update = if source.extends_window() {
                "SET expires_at = :until ADD failures :one"
            } else {
                "SET expires_at = if_not_exists(expires_at, :until) ADD failures :one"
            };
            let below_limit =
                Expression::new("attribute_not_exists(pk) OR (expires_at > :now AND failures < :limit)")
                    .value(":now", number(now))
                    .value(":limit", number(source.limit()));
            let update = begin_window(update, now);
            if self.table.update_if(OPERATION, failures_key(source), update, below_limit).await?.is_ok() {
                return Ok(Ok(Attempt::Counted));
            }
            let failures: Option<Failures> = self.table.get(OPERATION, failures_key(source)).await?;
            if let Some(wait) = failures.and_then(|failures| failures.wait(source, now)) {
                return Ok(Ok(Attempt::LimitReached { wait }));
            }
            // This count is over, and DynamoDB has not deleted it yet.
            let anew = begin_window("SET expires_at = :until, failures = :one", now);
            // Two requests may find that the count is over. One of them begins the new count. The other one
            // meets a conflict, and adds to it.
            let is_over = Expression::new("expires_at <= :now").value(":now", number(now));
            let counted = self.table.update_if(OPERATION, failures_key(source), anew, is_over).await?;
            Ok(counted.map(|()| Attempt::Counted))
        });
        counted.await?.map_err(|conflict| TableError::call(OPERATION, conflict))
    }

    /// Takes one attempt back that was counted as failed.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn give_attempt_back(&self, source: &FailureSource) -> Result<(), TableError> {
        let update = Expression::new("ADD failures :minus_one").value(":minus_one", number(-1));
        let counted = Expression::new("failures > :none").value(":none", number(0));
        let key = failures_key(source);
        // A conflict means that there is nothing to give back, because the failures were forgotten meanwhile.
        self.table.update_if("giving an attempt back", key, update, counted).await.map(drop)
    }

    /// Forgets the failures of this source.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn forget_failures(&self, source: &FailureSource) -> Result<(), TableError> {
        self.table.delete("forgetting failed logins", failures_key(source)).await
    }
}

fn begin_window(update: &'static str, now: i64) -> Expression {
    Expression::new(update).value(":one", number(1)).value(":until", number(now + WINDOW))
}

pub(super) fn failures_key(source: &FailureSource) -> Item {
    key(format!("LOGIN#{}", source.digest()), "FAILURES")
}
