//! The reads of a login, and the count of failed ones.

use lambda_kit::dynamodb::{
    BatchRead, Conflict, Expression, Item, PK, TableError, from_item, key, number, retry_on_conflict,
    string_of,
};

use super::{CONFLICTS, Store, account_key};
use crate::domain::{Account, Email, FailureSource, Failures, WINDOW};

/// The outcome of resetting the failures at a successful login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReset {
    Done,
    /// There were as many failures as the limit. Nothing was reset.
    LimitExceeded,
}

/// The stored data that a login reads before it checks the password.
#[derive(Debug, Default)]
pub struct LoginState {
    pub account: Option<Account>,
    failures: Vec<(String, Failures)>,
}

impl LoginState {
    pub fn failures(&self, source: &FailureSource) -> Failures {
        let digest = source.digest();
        self.failures.iter().find(|(of, _)| *of == digest).map(|(_, failures)| *failures).unwrap_or_default()
    }
}

impl Store {
    /// The account of an e-mail address and the failures of these sources, in one call.
    ///
    /// # Errors
    /// When the table does not answer, or an item cannot be read.
    pub async fn login_state(
        &self,
        email: Option<&Email>,
        sources: &[FailureSource],
    ) -> Result<LoginState, TableError> {
        const OPERATION: &str = "reading an account and its failed logins";
        let keys = email.map(account_key).into_iter().chain(sources.iter().map(failures_key)).collect();
        let mut state = LoginState::default();
        for item in self.table.batch_get(OPERATION, keys, BatchRead::CONSISTENT).await? {
            state.read(OPERATION, item)?;
        }
        Ok(state)
    }

    /// Counts one more failed login. If the answer is lost, it may be counted twice.
    ///
    /// # Errors
    /// When the table does not answer, or too many requests count at the same time.
    pub async fn record_failure(&self, source: &FailureSource, now: i64) -> Result<(), TableError> {
        const OPERATION: &str = "counting a failed login";
        let counted = retry_on_conflict(CONFLICTS, || async {
            let count = |update: &str, condition: &str| {
                let update = Expression::new(update)
                    .value(":one", number(1))
                    .value(":until", number(now + WINDOW))
                    .value(":now", number(now));
                self.table.update_if(OPERATION, failures_key(source), update, Expression::new(condition))
            };
            let counting = "attribute_not_exists(pk) OR expires_at > :now";
            match count("SET expires_at = :until ADD failures :one", counting).await? {
                Ok(()) => Ok(Ok(())),
                // This count is over, and DynamoDB has not deleted it yet.
                Err(Conflict) => {
                    count("SET expires_at = :until, failures = :one", "expires_at <= :now").await
                }
            }
        });
        counted.await?.map_err(|conflict| TableError::call(OPERATION, conflict))
    }

    /// Resets the failures of this source to none, unless there were `limit` of them.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn reset_failures(
        &self,
        source: &FailureSource,
        limit: u32,
        now: i64,
    ) -> Result<FailureReset, TableError> {
        let below_limit =
            Expression::new("attribute_not_exists(pk) OR failures < :limit OR expires_at <= :now")
                .value(":limit", number(limit))
                .value(":now", number(now));
        let reset = self.table.delete_if("resetting failed logins", failures_key(source), below_limit);
        Ok(match reset.await? {
            Ok(()) => FailureReset::Done,
            Err(Conflict) => FailureReset::LimitExceeded,
        })
    }
}

impl LoginState {
    fn read(&mut self, operation: &'static str, item: Item) -> Result<(), TableError> {
        let digest = string_of(&item, PK).and_then(|pk| pk.strip_prefix(LOGIN)).map(str::to_owned);
        match digest {
            Some(digest) => self.failures.push((digest, from_item(operation, item)?)),
            None => self.account = Some(from_item(operation, item)?),
        }
        Ok(())
    }
}

const LOGIN: &str = "LOGIN#";

pub(super) fn failures_key(source: &FailureSource) -> Item {
    key(format!("{LOGIN}{}", source.digest()), "FAILURES")
}
