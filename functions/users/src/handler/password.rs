//! Changing one's password.

use std::net::IpAddr;

use contracts::{AccountContent, CorrelationId};
use jiff::Timestamp;
use lambda_kit::{
    http::Identity,
    telemetry::{SecurityEvent, security},
};

use super::{EventContext, check_password, notice, tell};
use crate::{
    domain::{Password, SALT_BYTES, Secret},
    error::UsersError,
    messages::Messages,
    store::{PasswordChange, Store},
};

/// What a client changes its password with.
pub struct NewPassword<'a> {
    pub current: &'a Secret,
    pub new: Password,
    pub salt: [u8; SALT_BYTES],
    /// The client's network; `None` when no gateway knows it.
    pub network: Option<IpAddr>,
}

/// Replaces the user's password, and ends all sessions but the one of `identity`. Tells the user by e-mail.
///
/// # Errors
/// `WrongPassword` when `current` is not the password, `TooManyFailures` as at logins, `UnknownUser` when the user was
/// deleted, and `Suspended`.
pub async fn change_password(
    store: &Store,
    messages: &Messages,
    identity: &Identity,
    NewPassword { current, new, salt, network }: NewPassword<'_>,
    now: Timestamp,
    correlation_id: &CorrelationId,
) -> Result<(), UsersError> {
    let profile = store.profile(&identity.user_id).await?.ok_or(UsersError::UnknownUser)?;
    profile.check_active()?;
    // Guesses count as those of logins do: a stolen access token must not allow more of them.
    let checked = check_password(store, profile.email.as_str(), current, network, now.as_second()).await;
    let (account, attempts) = checked.map_err(|error| match error {
        UsersError::WrongCredentials => UsersError::WrongPassword,
        other => other,
    })?;
    attempts.give_back(store).await?;
    let (hash, session) = (new.hash(&salt)?, Some(&identity.session_id));
    match store.change_password(&profile.email, &account, &hash, session, now, correlation_id).await? {
        PasswordChange::Done => {
            security(SecurityEvent::PasswordChanged, None);
            let context = EventContext { now, correlation_id };
            tell(messages, &notice(&profile, AccountContent::PasswordChanged, context)).await;
            Ok(())
        }
        PasswordChange::AccountChanged => Err(UsersError::WrongPassword),
    }
}
