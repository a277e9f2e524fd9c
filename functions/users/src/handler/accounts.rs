//! What operators do with accounts. Each change is written with its entry of the audit trail.

use contracts::{CorrelationId, UserId};
use jiff::Timestamp;
use lambda_kit::{
    audit::{Actor, Entry},
    dynamodb::{TableError, retry_on_conflict},
    jwt::Role,
    telemetry::{SecurityEvent, security},
};
use serde_json::json;

use super::DECISIONS;
use crate::{
    domain::{Account, Email, Profile},
    error::UsersError,
    store::Store,
};

/// Who changes an account, and why.
#[derive(Debug, Clone)]
pub struct Operator<'a> {
    /// As AWS STS names the caller.
    pub name: &'a str,
    pub reason: Option<&'a str>,
    pub now: Timestamp,
    pub correlation_id: &'a CorrelationId,
}

impl Operator<'_> {
    fn entry(&self, action: &str, user: &UserId) -> Entry {
        let actor = Actor::Operator(self.name.to_owned());
        let entry = Entry::new(self.now, actor, action, user.as_str(), self.correlation_id);
        match self.reason {
            Some(reason) => entry.with_reason(reason),
            None => entry,
        }
    }
}

/// The account with this user id or e-mail address, however the address is written.
///
/// # Errors
/// When the table does not answer.
pub async fn find(store: &Store, named: &str) -> Result<Option<(Profile, Account)>, TableError> {
    let user = match named.trim().parse::<UserId>() {
        Ok(user) => user,
        Err(_) => {
            let Ok(email) = named.parse::<Email>() else { return Ok(None) };
            let Some(account) = store.account(&email).await? else { return Ok(None) };
            account.user_id
        }
    };
    let Some(profile) = store.profile(&user).await? else { return Ok(None) };
    let account = store.account(&profile.email).await?;
    Ok(account.filter(|account| account.user_id == user).map(|account| (profile, account)))
}

/// Gives the account a role, or takes it back. Returns whether that changed anything. Tokens that were issued before
/// keep their roles until they expire.
///
/// # Errors
/// `UnknownUser`, and `NotVerified` for a grant to an unverified address unless `unverified` allows it.
pub async fn change_role(
    store: &Store,
    user: &UserId,
    role: &Role,
    change: RoleChange,
    operator: &Operator<'_>,
) -> Result<bool, UsersError> {
    let changed = retry_on_conflict(DECISIONS, || async {
        let (profile, account) = find(store, user.as_str()).await?.ok_or(UsersError::UnknownUser)?;
        if matches!(change, RoleChange::Grant { unverified: false }) && !profile.email_verified {
            return Err(UsersError::NotVerified);
        }
        let mut roles = account.roles.clone();
        roles.retain(|other| other != role);
        let action = match change {
            RoleChange::Grant { .. } => {
                roles.push(role.clone());
                "role.granted"
            }
            RoleChange::Revoke => "role.revoked",
        };
        if roles.len() == account.roles.len() {
            return Ok(Ok(false));
        }
        let difference = (json!({"roles": account.roles}), json!({"roles": roles}));
        let entry = operator.entry(action, user).with_change(difference);
        let written = store.change_roles(&profile.email, &account, &roles, &entry).await?;
        Ok::<_, UsersError>(written.map(|()| true))
    });
    let changed = changed.await??;
    if changed {
        let event = match change {
            RoleChange::Grant { .. } => SecurityEvent::RoleGranted,
            RoleChange::Revoke => SecurityEvent::RoleRevoked,
        };
        security(event, Some(operator.name));
    }
    Ok(changed)
}

/// What happens to a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleChange {
    Grant {
        /// Also when the user has not shown that the e-mail address is theirs.
        unverified: bool,
    },
    Revoke,
}

/// Suspends the account and ends its sessions, or restores it. Returns whether the account was not so before, and how
/// many sessions have ended.
///
/// # Errors
/// `UnknownUser`.
pub async fn change_suspension(
    store: &Store,
    user: &UserId,
    suspended: bool,
    operator: &Operator<'_>,
) -> Result<(bool, usize), UsersError> {
    let changed = retry_on_conflict(DECISIONS, || async {
        let profile = store.profile(user).await?.ok_or(UsersError::UnknownUser)?;
        let change = profile.set_suspended(suspended, operator.now, operator.correlation_id)?;
        let Some(change) = change else { return Ok(Ok(false)) };
        let action = if suspended { "account.suspended" } else { "account.restored" };
        let state = |suspended: bool| json!({"suspended": suspended});
        let entry = operator.entry(action, user).with_change((state(!suspended), state(suspended)));
        let written = store.change_suspension(&change, &entry).await?;
        Ok::<_, UsersError>(written.map(|()| true))
    });
    let changed = changed.await??;
    if changed {
        let event = if suspended { SecurityEvent::AccountSuspended } else { SecurityEvent::AccountRestored };
        security(event, Some(operator.name));
    }
    // No session of a suspended account is refreshed. They end nevertheless, so that none goes on when the account
    // is restored. Also when it was suspended before: that run may have been interrupted.
    let ended = if suspended { end_all_sessions(store, user, operator).await? } else { 0 };
    Ok((changed, ended))
}

/// Ends all sessions of a user, and returns how many there were.
///
/// # Errors
/// When the table does not answer.
pub async fn end_all_sessions(
    store: &Store,
    user: &UserId,
    operator: &Operator<'_>,
) -> Result<usize, UsersError> {
    let ended = store.end_sessions(user, None, operator.now, operator.correlation_id).await?;
    if ended > 0 {
        security(SecurityEvent::SessionsEnded, Some(operator.name));
    }
    Ok(ended)
}
