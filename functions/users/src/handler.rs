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
        Account, Email, FailureSource, PasswordHash, Profile, ProfileChange, RefreshToken, Refused, Secret,
        Session,
    },
    error::UsersError,
    store::{Attempt, Store, StoredUser},
};

/// Decisions about a change when a concurrent one is faster.
// One person changes one profile: two concurrent changes are two devices, and more than a few are a fault.
const DECISIONS: Budget = Budget::Tries(4);

/// A user who has presented the right password.
pub struct Authenticated {
    pub user_id: UserId,
    pub roles: Vec<Role>,
}

/// Checks an e-mail address and its password. An unknown address takes as long as a wrong password, and costs the
/// same writes.
///
/// The attempt is counted as failed before the password is checked. While the limit is reached no password is
/// checked: a right one gets the answer of a wrong one.
///
/// # Errors
/// `WrongCredentials` for both, and `TooManyFailures` after too many failures.
pub async fn authenticate(
    store: &Store,
    email: &str,
    password: &Secret,
    network: Option<IpAddr>,
    now: i64,
) -> Result<Authenticated, UsersError> {
    let Ok(email) = email.parse::<Email>() else {
        // The time of the answer must not show that no account can have this address.
        PasswordHash::dummy().matches(password)?;
        return Err(UsersError::WrongCredentials);
    };
    let in_network = FailureSource::EmailInNetwork(email.clone(), network);
    let everywhere = FailureSource::Email(email.clone());
    // The attempt is counted before the password is checked, so that concurrent guesses cannot exceed the limit
    // together.
    let (account, ()) = tokio::try_join!(
        async { store.account(&email).await.map_err(UsersError::from) },
        // One after the other: what one network has too many of must not count for all of them.
        async {
            count_attempt(store, &in_network, now).await?;
            count_attempt(store, &everywhere, now).await
        }
    )?;
    let hash = account.as_ref().map_or_else(PasswordHash::dummy, |account| account.password_hash.clone());
    let matches = hash.matches(password)?;
    let Some(Account { user_id, roles, .. }) = account.filter(|_| matches) else {
        return Err(UsersError::WrongCredentials);
    };
    // The owner's typing errors in this network are forgotten, but not the guesses from other networks.
    tokio::try_join!(store.forget_failures(&in_network), store.give_attempt_back(&everywhere))?;
    Ok(Authenticated { user_id, roles })
}

async fn count_attempt(store: &Store, source: &FailureSource, now: i64) -> Result<(), UsersError> {
    match store.count_attempt(source, now).await? {
        Attempt::Counted => Ok(()),
        Attempt::LimitReached { wait } => {
            tracing::warn!(seconds = wait, source = source.digest(), "login refused: too many failed logins");
            Err(UsersError::TooManyFailures { seconds: wait })
        }
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
    // Both are read concurrently, because the token names the user. The profile has the address, which is the
    // key of the account.
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
    // A refresh that was under way when the family was revoked may have stored this session after that. So the
    // mark of the family decides, and not the session.
    let (revoked, account) = tokio::try_join!(store.is_revoked(user_id, family), store.account(email))?;
    let account = account
        // The user may have been erased after the profile was read, and another person may have registered the
        // address.
        .filter(|account| !revoked && account.user_id == *user_id)
        .ok_or(UsersError::InvalidRefreshToken)?;
    Ok(signer.sign(&session.subject(account.roles), Audience::Api, now).await?)
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
            // A client repeats its request when the answer was lost.
            Some(StoredUser::Erased(_)) => return Ok(Ok(())),
            None => return Err(UsersError::UnknownUser),
        };
        let written = store.erase(&profile.erase(Timestamp::now(), correlation_id)?).await?;
        Ok::<_, UsersError>(written.inspect(|()| tracing::info!("user erased")))
    });
    Ok(erased.await??)
}
