//! Changes of an account: its password, its roles, its suspension.

use contracts::{CorrelationId, SessionId};
use jiff::Timestamp;
use lambda_kit::{
    audit::{self, Entry},
    dynamodb::{
        Conflict, Expression, TableError, TransactOutcome, Write, at_version, retry_on_conflict, string,
    },
    http::{List, Page, Problem},
    jwt::Role,
};

use super::{
    Store, account_key,
    sessions::{AT_ONCE, ENDING, ending, session_key},
    with_events,
};
use crate::domain::{Account, Email, PasswordHash, Session, Suspension};

/// The outcome of replacing a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordChange {
    Done,
    /// The account has another password by now, or was deleted.
    AccountChanged,
}

impl Store {
    /// Replaces the password of an account, if it still is `account`'s, and ends all sessions but `keep` (`None`: all),
    /// in one transaction.
    ///
    /// # Errors
    /// When the table does not answer, or too many requests end sessions of this user.
    pub async fn change_password(
        &self,
        email: &Email,
        account: &Account,
        new: &PasswordHash,
        keep: Option<&SessionId>,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<PasswordChange, TableError> {
        const OPERATION: &str = "changing a password";
        let is_same = Expression::new("user_id = :user AND password_hash = :old")
            .value(":user", string(account.user_id.as_str()))
            .value(":old", string(account.password_hash.as_str()));
        let change = Expression::new("SET password_hash = :new").value(":new", string(new.as_str()));
        let change = Write::update(account_key(email), change).when(is_same);
        let fingerprint = string(new.fingerprint().as_str());
        let changed = retry_on_conflict(ENDING, || async {
            let sessions = self.sessions(&account.user_id).await?;
            let (kept, ended): (Vec<Session>, Vec<Session>) =
                sessions.into_iter().partition(|session| Some(&session.session_id) == keep);
            let mut writes = vec![change.clone()];
            writes.extend(kept.iter().map(|session| {
                let update = Expression::new("SET #password = :fingerprint")
                    .name("#password", "password")
                    .value(":fingerprint", fingerprint.clone());
                Write::update(session_key(&session.user_id, &session.session_id), update)
                    .when("attribute_exists(pk)")
            }));
            // An account has at most 20 sessions, and a few more while logins are under way. What does not fit
            // into the transaction cannot be refreshed, because it was opened with the old password.
            writes.extend(ending(&ended[..ended.len().min(AT_ONCE)], now, correlation_id)?);
            Ok::<_, TableError>(match self.table.transact(OPERATION, writes).await? {
                TransactOutcome::Done => Ok(PasswordChange::Done),
                TransactOutcome::ConditionFailed { index: 0 } => Ok(PasswordChange::AccountChanged),
                TransactOutcome::ConditionFailed { .. } | TransactOutcome::Conflict => Err(Conflict),
            })
        });
        changed.await?.map_err(|conflict| TableError::call(OPERATION, conflict))
    }

    /// Replaces the roles of an account, if they still are `account`'s, with the audit entry of that. Conflicts when
    /// the account has changed.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn change_roles(
        &self,
        email: &Email,
        account: &Account,
        roles: &[Role],
        entry: &Entry,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "changing the roles of an account";
        let list = |roles: &[Role]| {
            serde_dynamo::to_attribute_value(roles).map_err(|error| TableError::item(OPERATION, error))
        };
        let is_same = Expression::new("user_id = :user AND #roles = :old")
            .value(":user", string(account.user_id.as_str()))
            .value(":old", list(&account.roles)?);
        let change = Expression::new("SET #roles = :new").name("#roles", "roles").value(":new", list(roles)?);
        let writes = vec![Write::update(account_key(email), change).when(is_same), entry.write()?];
        Ok(self.table.transact(OPERATION, writes).await?.done())
    }

    /// Suspends or restores an account, with the audit entry of that. Conflicts when the profile has changed.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn change_suspension(
        &self,
        suspension: &Suspension,
        entry: &Entry,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "suspending or restoring an account";
        let Suspension { profile, events, decided_on } = suspension;
        let item = with_events(OPERATION, profile, &profile.user_id, events)?;
        let writes = vec![Write::put(item).when(at_version(*decided_on)), entry.write()?];
        Ok(self.table.transact(OPERATION, writes).await?.done())
    }

    /// What operators and staff changed of this user, the newest first.
    ///
    /// # Errors
    /// A cursor of another list, or a table that does not answer.
    pub async fn audit(&self, subject: &str, page: Page) -> Result<List<Entry>, Problem> {
        audit::list(&self.table, subject, page).await
    }
}
