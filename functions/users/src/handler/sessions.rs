//! The life of a session: login, refresh, end.

use std::net::IpAddr;

use contracts::{CorrelationId, SessionId, UserId};
use jiff::Timestamp;
use lambda_kit::{
    jwt::{Audience, Role, Signer, Subject},
    telemetry::{SecurityEvent, security},
};
use tracing::Span;

use super::check_password;
use crate::{
    domain::{PART_BYTES, Profile, RefreshToken, Refused, Secret, Session},
    error::UsersError,
    store::{Rotation, Store},
};

/// What a client logs in with.
pub struct Credentials<'a> {
    pub email: &'a str,
    pub password: &'a Secret,
    /// The client's network; `None` when no gateway knows it.
    pub network: Option<IpAddr>,
}

/// What a client gets for a login or a refresh.
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: RefreshToken,
}

/// Opens a session for an e-mail address and its password, with `random` in its refresh token. Ends the oldest one
/// when the account has more than 20 then.
///
/// # Errors
/// Those of `check_password`, and `Suspended`, which only a client with the right password learns.
pub async fn log_in(
    store: &Store,
    signer: &Signer,
    Credentials { email, password, network }: Credentials<'_>,
    random: [[u8; PART_BYTES]; 2],
    now: Timestamp,
    correlation_id: &CorrelationId,
) -> Result<Tokens, UsersError> {
    let seconds = now.as_second();
    let (account, attempts) = check_password(store, email, password, network, seconds).await?;
    Span::current().record("user_id", account.user_id.as_str());
    let (profile, ()) = tokio::try_join!(store.profile(&account.user_id), attempts.give_back(store))?;
    // The user may have been erased after the account was read.
    let profile = profile.ok_or(UsersError::WrongCredentials)?;
    profile.check_active()?;
    let refresh_token = RefreshToken::new(account.user_id, SessionId::generate(), random);
    let session = Session::open(&refresh_token, account.password_hash.fingerprint(), seconds);
    let subject = subject(&session, &profile, account.roles);
    // They run concurrently, because neither needs the other. If only the signing fails, the session remains
    // until it expires, under a token that no client has.
    let (access_token, ()) = tokio::try_join!(
        async { signer.sign(&subject, Audience::Api, seconds).await.map_err(UsersError::from) },
        async { store.open_session(&session, now, correlation_id).await.map_err(UsersError::from) },
    )?;
    Ok(Tokens { access_token, refresh_token })
}

/// The user of a session's access tokens.
fn subject(session: &Session, profile: &Profile, roles: Vec<Role>) -> Subject {
    Subject {
        user_id: session.user_id.clone(),
        session_id: session.session_id.clone(),
        roles,
        auth_time: session.opened_at,
        email_verified: profile.email_verified,
    }
}

/// Replaces the refresh token `spent` by one with `random` in it, and returns an access token with the roles that the
/// account has now.
///
/// # Errors
/// `InvalidRefreshToken` when the token is unknown or its session has ended, or when it was spent before: then its
/// session ends.
pub async fn refresh(
    store: &Store,
    signer: &Signer,
    spent: &RefreshToken,
    random: [u8; PART_BYTES],
    now: Timestamp,
    correlation_id: &CorrelationId,
) -> Result<Tokens, UsersError> {
    let seconds = now.as_second();
    // Both are read concurrently, because the token names the user. The profile has the address, which is the
    // key of the account.
    let (session, profile) =
        tokio::try_join!(store.session(spent.user_id(), spent.session_id()), store.profile(spent.user_id()))?;
    let (Some(session), Some(profile)) = (session, profile) else {
        return Err(UsersError::InvalidRefreshToken);
    };
    let next = spent.next(random);
    let refreshed = match session.refresh(spent, &next, seconds) {
        Ok(refreshed) => refreshed,
        Err(Refused::Unknown | Refused::Expired) => return Err(UsersError::InvalidRefreshToken),
        Err(Refused::Reused) => return Err(end_reused(store, &session, now, correlation_id).await),
    };
    Span::current().record("user_id", session.user_id.as_str());
    let access_token = renew_access(store, signer, &session, &profile, seconds).await?;
    // Last, because it cannot be undone: until here, a failure leaves the client's token valid.
    match store.rotate(&session, &refreshed).await? {
        Rotation::Done => Ok(Tokens { access_token, refresh_token: next }),
        Rotation::Ended => Err(UsersError::InvalidRefreshToken),
        Rotation::Spent => Err(end_reused(store, &session, now, correlation_id).await),
    }
}

/// With the roles that the account has now, unless the account has ended or is suspended, or has another password.
async fn renew_access(
    store: &Store,
    signer: &Signer,
    session: &Session,
    profile: &Profile,
    now: i64,
) -> Result<String, UsersError> {
    profile.check_active().map_err(|_| UsersError::InvalidRefreshToken)?;
    let account = store.account(&profile.email).await?;
    let account = account
        // The user may have been erased after the profile was read, and another person may have registered the
        // address. And a login with the old password may have been under way while it was changed.
        .filter(|account| {
            account.user_id == session.user_id && account.password_hash.fingerprint() == session.password
        })
        .ok_or(UsersError::InvalidRefreshToken)?;
    Ok(signer.sign(&subject(session, profile, account.roles), Audience::Api, now).await?)
}

/// Ends the session of a token that was used twice, and returns the client's error.
async fn end_reused(
    store: &Store,
    session: &Session,
    now: Timestamp,
    correlation_id: &CorrelationId,
) -> UsersError {
    Span::current().record("user_id", session.user_id.as_str());
    security(SecurityEvent::RefreshTokenReused, None);
    match store.end_session(session, now, correlation_id).await {
        Ok(()) => UsersError::InvalidRefreshToken,
        Err(error) => error.into(),
    }
}

/// Ends the session of a refresh token, which may be spent. Does nothing when there is none.
///
/// # Errors
/// When the table does not answer.
pub async fn log_out(
    store: &Store,
    token: &RefreshToken,
    now: Timestamp,
    correlation_id: &CorrelationId,
) -> Result<(), UsersError> {
    let session = store.session(token.user_id(), token.session_id()).await?;
    if let Some(session) = session.filter(|session| session.has(token)) {
        store.end_session(&session, now, correlation_id).await?;
    }
    Ok(())
}

/// Ends one session of the user.
///
/// # Errors
/// `UnknownSession` when the user has no such session, or it has ended.
pub async fn end_session(
    store: &Store,
    user: &UserId,
    session: &SessionId,
    now: Timestamp,
    correlation_id: &CorrelationId,
) -> Result<(), UsersError> {
    let session = store.session(user, session).await?.filter(|session| session.is_open(now.as_second()));
    let session = session.ok_or(UsersError::UnknownSession)?;
    store.end_session(&session, now, correlation_id).await?;
    security(SecurityEvent::SessionsEnded, None);
    Ok(())
}

/// Ends all sessions of the user but `current`.
///
/// # Errors
/// When the table does not answer.
pub async fn end_other_sessions(
    store: &Store,
    user: &UserId,
    current: &SessionId,
    now: Timestamp,
    correlation_id: &CorrelationId,
) -> Result<(), UsersError> {
    let ended = store.end_sessions(user, Some(current), now, correlation_id).await?;
    if ended > 0 {
        security(SecurityEvent::SessionsEnded, None);
    }
    tracing::info!(ended, "other sessions ended");
    Ok(())
}
