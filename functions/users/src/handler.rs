//! Decides about logins, sessions and profiles, and writes the result. After a conflict it reads and decides again.

mod accounts;
mod logins;
mod password;
mod reset;
mod sessions;
mod verification;

use contracts::{CorrelationId, UserId};
use jiff::Timestamp;
use lambda_kit::dynamodb::{Budget, retry_on_conflict};

pub use self::{
    accounts::{Operator, RoleChange, change_role, change_suspension, end_all_sessions, find},
    logins::check_password,
    password::{NewPassword, change_password},
    reset::{confirm_reset, request_reset},
    sessions::{Credentials, Tokens, end_other_sessions, end_session, log_in, log_out, refresh},
    verification::{
        CodeRandom, EventContext, confirm_code, notice, request_email_change, send_code, tell, welcome,
    },
};
use crate::{
    domain::{Profile, ProfileChange},
    error::UsersError,
    store::{Store, StoredUser},
};

/// Decisions about a change when a concurrent one is faster.
// One person changes one profile: two concurrent changes are two devices, and more than a few are a fault.
const DECISIONS: Budget = Budget::Tries(4);

/// Changes what `change` names, if the current profile passes `check`, and returns the profile after it. A repeat
/// finds it changed and publishes nothing.
///
/// # Errors
/// `UnknownUser` when the user was deleted, `Suspended`, and those of `check`.
pub async fn change_profile(
    store: &Store,
    user_id: &UserId,
    change: &ProfileChange,
    check: impl Fn(&Profile) -> Result<(), UsersError>,
    correlation_id: &CorrelationId,
) -> Result<Profile, UsersError> {
    let check = &check;
    let changed = retry_on_conflict(DECISIONS, || async move {
        let profile = store.profile(user_id).await?.ok_or(UsersError::UnknownUser)?;
        profile.check_active()?;
        check(&profile)?;
        let Some(changed) = profile.change(change, Timestamp::now(), correlation_id)? else {
            return Ok(Ok(profile));
        };
        let written = store.change(&changed).await?;
        Ok::<_, UsersError>(written.map(|()| {
            tracing::info!("profile changed");
            changed.profile
        }))
    });
    Ok(changed.await??)
}

/// Erases the person here at once, and in the other contexts by the event. A repeat is a success.
///
/// # Errors
/// `UnknownUser` when there was never such a user, and `Suspended`: a stranger may hold a suspended account.
pub async fn erase(
    store: &Store,
    user_id: &UserId,
    correlation_id: &CorrelationId,
) -> Result<(), UsersError> {
    let erased = retry_on_conflict(DECISIONS, || async {
        let profile = match store.user(user_id).await? {
            Some(StoredUser::Active(profile)) => profile,
            // A client repeats its request when the answer was lost.
            Some(StoredUser::Erased(_)) => return Ok(Ok(())),
            None => return Err(UsersError::UnknownUser),
        };
        profile.check_active()?;
        let written = store.erase(&profile.erase(Timestamp::now(), correlation_id)?).await?;
        Ok::<_, UsersError>(written.inspect(|()| tracing::info!("user erased")))
    });
    Ok(erased.await??)
}

#[cfg(test)]
mod tests;
