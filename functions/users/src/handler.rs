//! Decides about logins, sessions and profiles, and writes the result. After a conflict it reads and decides again.

use std::net::IpAddr;

use contracts::{CorrelationId, UserId};
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{Budget, Conflict, retry_on_conflict},
    jwt::{Audience, Role, Signer},
};

use crate::{
    domain::{
        Account, Email, FailureLimits, FailureSource, PasswordHash, Profile, ProfileChange, RefreshToken,
        Refused, Secret, Session, WINDOW,
    },
    error::UsersError,
    store::{FailureReset, Store, StoredUser},
};

/// Decisions about a change when a concurrent one is faster. One person changes one profile: two concurrent
/// changes are two devices, more than a few are a fault.
const DECISIONS: Budget = Budget::Tries(4);

/// A user who has presented the right password.
pub struct Authenticated {
    pub user_id: UserId,
    pub email: Email,
    pub roles: Vec<Role>,
}

/// Checks an e-mail address and its password. An unknown address takes as long as a wrong password.
///
/// # Errors
/// `WrongCredentials` for both, and `TooManyFailures` after too many failures of the e-mail or client address.
pub async fn authenticate(
    store: &Store,
    limits: FailureLimits,
    email: &str,
    password: &Secret,
    address: Option<IpAddr>,
    now: i64,
) -> Result<Authenticated, UsersError> {
    let email: Option<Email> = email.parse().ok();
    let (by_email, by_address) =
        (email.clone().map(FailureSource::Email), address.map(FailureSource::Address));
    let sources: Vec<FailureSource> = by_email.iter().chain(&by_address).cloned().collect();
    let state = store.login_state(email.as_ref(), &sources).await?;
    let wait = |source: &Option<FailureSource>, limit| state.failures(source.as_ref()?).wait(limit, now);
    let waits = [wait(&by_email, limits.per_email), wait(&by_address, limits.per_address)];
    if let Some(seconds) = waits.into_iter().flatten().max() {
        tracing::warn!(seconds, "login refused: too many failed logins");
        return Err(UsersError::TooManyFailures { seconds });
    }
    let hash =
        state.account.as_ref().map_or_else(PasswordHash::dummy, |account| account.password_hash.clone());
    let matches = hash.matches(password)?;
    if let (Some(email), Some(Account { user_id, roles, .. }), true) = (email, state.account, matches) {
        return Ok(Authenticated { user_id, email, roles });
    }
    futures::future::try_join_all(sources.iter().map(|source| store.record_failure(source, now))).await?;
    Err(UsersError::WrongCredentials)
}

/// Resets the failures before a successful login, but never those of the client's address: an attacker may
/// own an account, too. Concurrent guesses are checked before the first of them has failed, so a correct one
/// is refused when too many others were wrong meanwhile. (Counting them before they fail would lock out an
/// owner who logs in from six places at once.)
///
/// # Errors
/// `TooManyFailures` when there were too many meanwhile.
pub async fn reset_failures(
    store: &Store,
    limits: FailureLimits,
    email: Email,
    now: i64,
) -> Result<(), UsersError> {
    match store.reset_failures(&FailureSource::Email(email), limits.per_email, now).await? {
        FailureReset::Done => Ok(()),
        FailureReset::LimitExceeded => Err(UsersError::TooManyFailures { seconds: WINDOW }),
    }
}

/// Replaces the refresh token `spent` by `next`, and returns an access token with the roles that the account has now.
///
/// # Errors
/// `InvalidRefreshToken` when the token is unknown, expired or revoked, or was spent before: then its whole family is
/// revoked.
pub async fn refresh(
    store: &Store,
    signer: &Signer,
    spent: &RefreshToken,
    next: &RefreshToken,
    now: i64,
) -> Result<String, UsersError> {
    let (session, profile) = tokio::try_join!(store.session(spent), store.profile(spent.user_id()))?;
    let (Some(session), Some(profile)) = (session, profile) else {
        return Err(UsersError::InvalidRefreshToken);
    };
    tracing::Span::current().record("user_id", session.user_id.as_str());
    let next = match session.rotate(next.hash(), now) {
        Ok(next) => next,
        Err(Refused::Expired) => return Err(UsersError::InvalidRefreshToken),
        Err(Refused::Reused) => return Err(revoke_reused(store, &session, now).await),
    };
    let access_token = renew_access(store, signer, &session, &profile.email, now).await?;
    // Last, because it cannot be undone: until here, a failure leaves the client's token valid.
    match store.rotate(&session, &next).await? {
        Ok(()) => Ok(access_token),
        Err(Conflict) => Err(revoke_reused(store, &session, now).await),
    }
}

/// With the roles that the account has now, unless family or account have ended.
async fn renew_access(
    store: &Store,
    signer: &Signer,
    session: &Session,
    email: &Email,
    now: i64,
) -> Result<String, UsersError> {
    let Session { user_id, family, .. } = session;
    let (revoked, account) = tokio::try_join!(store.is_revoked(user_id, family), store.account(email))?;
    let account = account
        .filter(|account| !revoked && account.user_id == *user_id)
        .ok_or(UsersError::InvalidRefreshToken)?;
    Ok(signer.sign(user_id, account.roles, Audience::Api, now).await?)
}

/// Revokes the family of a token that was used twice, and returns the client's error.
async fn revoke_reused(store: &Store, session: &Session, now: i64) -> UsersError {
    tracing::warn!("a spent refresh token was used again, its family is revoked");
    match store.revoke(&session.user_id, &session.family, now).await {
        Ok(()) => UsersError::InvalidRefreshToken,
        Err(error) => error.into(),
    }
}

/// Changes what `change` names, if the current profile passes `check`, and returns the profile after it. A repeat
/// finds it changed and publishes nothing.
///
/// # Errors
/// `UnknownUser` when the user was deleted, and those of `check`.
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
/// `UnknownUser` when there was never such a user.
pub async fn erase(
    store: &Store,
    user_id: &UserId,
    correlation_id: &CorrelationId,
) -> Result<(), UsersError> {
    let erased = retry_on_conflict(DECISIONS, || async {
        let profile = match store.user(user_id).await? {
            Some(StoredUser::Active(profile)) => profile,
            Some(StoredUser::Erased(_)) => return Ok(Ok(())),
            None => return Err(UsersError::UnknownUser),
        };
        let written = store.erase(&profile.erase(Timestamp::now(), correlation_id)?).await?;
        Ok::<_, UsersError>(written.inspect(|()| tracing::info!("user erased")))
    });
    Ok(erased.await??)
}
