//! Sets a new password by a token that was sent to the account's address.

use std::net::IpAddr;

use contracts::{AccountContent, AccountMessage, MessageId, Recipient, UserId};
use lambda_kit::{
    error::error_chain,
    telemetry::{SecurityEvent, security},
};

use super::{EventContext, notice, tell};
use crate::{
    domain::{
        Email, FailureSource, Password, PasswordHash, PasswordReset, RESET_LIFETIME, ResetToken, SALT_BYTES,
    },
    error::UsersError,
    messages::Messages,
    store::{PasswordChange, Store},
};

/// Sends a token to the address, if an account has it.
///
/// An unknown address costs the same calls as a known one: the same reads, a token that nothing accepts, and a
/// message that notifications drops.
///
/// # Errors
/// When the table or the queue does not answer.
pub async fn request_reset(
    store: &Store,
    messages: &Messages,
    email: &str,
    token: &ResetToken,
    context: EventContext<'_>,
) -> Result<(), UsersError> {
    // No account has such an address.
    let Ok(email) = email.parse::<Email>() else { return Ok(()) };
    let account = store.account(&email).await?;
    let is_known = account.is_some();
    let (user_id, password) = account.map_or_else(
        || (UserId::generate(), PasswordHash::dummy()),
        |account| (account.user_id, account.password_hash),
    );
    let (profile, allowed) = tokio::join!(store.profile(&user_id), store.take_reset(&email, context.now));
    let verified = profile?.is_some_and(|profile| profile.email_verified);
    let source = FailureSource::Email(email.clone()).digest();
    security(SecurityEvent::PasswordResetRequested, Some(&source));
    if allowed.is_err() {
        tracing::warn!(source, "no token is sent: there were too many for this address");
    }
    store
        .save_reset(token, &PasswordReset::new(user_id.clone(), &email, &password, context.now.as_second()))
        .await?;
    let message = AccountMessage {
        message_id: MessageId::generate(),
        user_id,
        recipient: (is_known && allowed.is_ok()).then(|| Recipient::Email(email.into())),
        verified,
        content: AccountContent::ResetPassword { token: token.expose() },
        expires_at: context.after(RESET_LIFETIME),
        correlation_id: context.correlation_id.clone(),
    };
    Ok(messages.send(&message).await?)
}

/// Sets a new password, and ends all sessions. The owner may log in again at once, however many logins failed.
///
/// # Errors
/// `InvalidResetToken` for an unknown, used or old one, and `Suspended`.
pub async fn confirm_reset(
    store: &Store,
    messages: &Messages,
    token: &ResetToken,
    password: &Password,
    salt: &[u8; SALT_BYTES],
    network: Option<IpAddr>,
    context: EventContext<'_>,
) -> Result<(), UsersError> {
    let reset = store.reset(token).await?.filter(|reset| reset.is_open(context.now.as_second()));
    let reset = reset.ok_or(UsersError::InvalidResetToken)?;
    let hash = &password.hash(salt)?;
    let EventContext { now, correlation_id } = context;
    let profile = store.profile(&reset.user_id).await?.ok_or(UsersError::InvalidResetToken)?;
    profile.check_active()?;
    let account = store.account(&profile.email).await?.filter(|account| {
        account.user_id == reset.user_id && reset.is_for(&profile.email, &account.password_hash)
    });
    let account = account.ok_or(UsersError::InvalidResetToken)?;
    match store.change_password(&profile.email, &account, hash, None, now, correlation_id).await? {
        PasswordChange::Done => {}
        PasswordChange::AccountChanged => return Err(UsersError::InvalidResetToken),
    }
    tracing::Span::current().record("user_id", profile.user_id.as_str());
    security(SecurityEvent::PasswordReset, None);
    let in_network = FailureSource::EmailInNetwork(profile.email.clone(), network);
    let everywhere = FailureSource::Email(profile.email.clone());
    let forgotten = tokio::try_join!(store.forget_failures(&in_network), store.forget_failures(&everywhere));
    if let Err(error) = forgotten {
        // The password is set, and a repeat of the request would be refused.
        tracing::warn!(error = error_chain(&error), "the failed logins of a reset account are still counted");
    }
    tell(messages, &notice(&profile, AccountContent::PasswordChanged, context)).await;
    Ok(())
}
