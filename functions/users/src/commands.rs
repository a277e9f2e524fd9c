//! The function users-commands: what operators do with accounts (`cargo ops users`). There is no API for it:
//! permission is `lambda:InvokeFunction` on this function. Each change is written with its entry of the audit trail.

use std::time::Instant;

use contracts::{CorrelationId, UserId};
use jiff::Timestamp;
use lambda_kit::{
    MainResult,
    command::parse,
    error::error_chain,
    health::Check,
    invoke,
    jwt::Role,
    telemetry::{self, Outcome},
};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};
use tracing::Span;

use crate::{
    domain::{Account, Profile},
    error::UsersError,
    handler::{self, Operator, RoleChange},
    store::Store,
};

/// The name of the error for what is refused. Everything else may pass by itself.
const REFUSED: &str = "Refused";

/// What an operator asks for.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Request {
    #[serde(flatten)]
    action: Action,
    /// A user id, or the e-mail address of the account.
    account: String,
    /// The operator, as AWS STS names the caller.
    by: String,
    /// The operator's words for the audit trail.
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "action")]
enum Action {
    ShowAccount,
    GrantRole {
        role: Role,
        /// Also when the e-mail address is not verified.
        #[serde(default)]
        unverified: bool,
    },
    RevokeRole {
        role: Role,
    },
    SuspendAccount,
    RestoreAccount,
    EndSessions,
}

impl Action {
    const fn name(&self) -> &'static str {
        match self {
            Self::ShowAccount => "ShowAccount",
            Self::GrantRole { .. } => "GrantRole",
            Self::RevokeRole { .. } => "RevokeRole",
            Self::SuspendAccount => "SuspendAccount",
            Self::RestoreAccount => "RestoreAccount",
            Self::EndSessions => "EndSessions",
        }
    }
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// As it is now. `null` when ShowAccount finds none.
    account: Option<AccountView>,
    /// Whether a role or the suspension is not what it was.
    changed: bool,
    sessions_ended: usize,
}

#[derive(Debug, Serialize)]
struct AccountView {
    user_id: UserId,
    email: String,
    name: String,
    /// `null` for an id that holds no time.
    registered_at: Option<Timestamp>,
    email_verified: bool,
    phone_verified: bool,
    roles: Vec<Role>,
    suspended_at: Option<Timestamp>,
    open_sessions: usize,
}

/// Serves until the process ends.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run(checks: Vec<Check>, store: Store) -> MainResult {
    invoke::run(checks, move |payload, _| {
        let store = store.clone();
        async move {
            let request = parse::<Request>(payload.get())?;
            let (started, action) = (Instant::now(), request.action.name());
            let result = answer(&store, &request, Timestamp::now()).await;
            let (outcome, result) = match result {
                Ok(answer) => (Outcome::Ok, Ok(answer)),
                Err(error) => refused_or_failed(action, &error),
            };
            telemetry::record(action, outcome, started.elapsed());
            result
        }
    })
    .await
}

fn refused_or_failed(action: &str, error: &UsersError) -> (Outcome, Result<Answer, Diagnostic>) {
    let (outcome, error_type) = match error {
        UsersError::UnknownUser | UsersError::NotVerified => {
            tracing::info!(action, refusal = %error, "command refused");
            (Outcome::Refused, REFUSED)
        }
        _ => {
            tracing::error!(action, error = error_chain(error), "command failed");
            (Outcome::Error, contracts::saga::TRANSIENT)
        }
    };
    (outcome, Err(Diagnostic { error_type: error_type.to_owned(), error_message: error_chain(error) }))
}

async fn answer(store: &Store, request: &Request, now: Timestamp) -> Result<Answer, UsersError> {
    let correlation_id = CorrelationId::generate();
    Span::current().record("correlation_id", correlation_id.as_str());
    let found = handler::find(store, &request.account).await?;
    let Some((Profile { user_id: user, .. }, _)) = &found else {
        return match request.action {
            Action::ShowAccount => Ok(Answer { account: None, changed: false, sessions_ended: 0 }),
            _ => Err(UsersError::UnknownUser),
        };
    };
    Span::current().record("user_id", user.as_str());
    let reason = request.reason.as_deref();
    let operator = &Operator { name: &request.by, reason, now, correlation_id: &correlation_id };
    let (changed, sessions_ended) = match &request.action {
        Action::ShowAccount => (false, 0),
        Action::GrantRole { role, unverified } => {
            let change = RoleChange::Grant { unverified: *unverified };
            (handler::change_role(store, user, role, change, operator).await?, 0)
        }
        Action::RevokeRole { role } => {
            (handler::change_role(store, user, role, RoleChange::Revoke, operator).await?, 0)
        }
        Action::SuspendAccount => handler::change_suspension(store, user, true, operator).await?,
        Action::RestoreAccount => handler::change_suspension(store, user, false, operator).await?,
        Action::EndSessions => (false, handler::end_all_sessions(store, user, operator).await?),
    };
    tracing::info!(action = request.action.name(), by = request.by, changed, sessions_ended, "command done");
    let current = match request.action {
        Action::ShowAccount => found,
        _ => handler::find(store, user.as_str()).await?,
    };
    let account = match current {
        Some((profile, account)) => Some(view(store, profile, account, now).await?),
        None => None,
    };
    Ok(Answer { account, changed, sessions_ended })
}

async fn view(
    store: &Store,
    profile: Profile,
    account: Account,
    now: Timestamp,
) -> Result<AccountView, UsersError> {
    let sessions = store.sessions(&profile.user_id).await?;
    let open = sessions.iter().filter(|session| session.is_open(now.as_second()));
    Ok(AccountView {
        registered_at: profile.registered_at(),
        open_sessions: open.count(),
        user_id: profile.user_id,
        email: profile.email.into(),
        name: profile.name.into(),
        email_verified: profile.email_verified,
        phone_verified: profile.phone_verified,
        roles: account.roles,
        suspended_at: profile.suspended_at,
    })
}

#[cfg(test)]
mod tests;
