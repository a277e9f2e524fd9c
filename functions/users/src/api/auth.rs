//! Registering, and the life of a session: login, refresh, logout.

use std::net::IpAddr;

use aws_lc_rs::rand;
use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use contracts::UserId;
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::Conflict,
    http::{Body, ClientAddress, Correlation, Problem},
    jwt::{Audience, Role},
};
use serde::Serialize;
use tracing::Span;

use super::{
    Users,
    requests::{LoginBody, RefreshTokenBody, RegisterBody},
};
use crate::{
    domain::{
        Account, Email, FamilyId, Name, PasswordHash, RefreshToken, Refused, SALT_BYTES, Session, Source,
        TOKEN_BYTES, WINDOW,
    },
    error::UsersError,
    store::{FailureReset, Registration},
};

/// RFC 6749 section 5.1: a response with tokens must not be cached.
const NO_STORE: [(HeaderName, HeaderValue); 1] =
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RegisteredView {
    user_id: UserId,
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    email: Email,
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    name: Name,
}

/// RFC 6749 section 5.1.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct TokensView {
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    refresh_token: String,
}

impl TokensView {
    fn new(access_token: String, refresh_token: &RefreshToken) -> Self {
        Self {
            access_token,
            token_type: "Bearer",
            expires_in: Audience::Api.lifetime(),
            refresh_token: refresh_token.expose(),
        }
    }
}

/// Registers a customer. A client that repeats the request because the answer was lost gets 409: there is no
/// Idempotency-Key here, and a 201 would require checking the password first. The client can find out by
/// logging in.
pub async fn register(
    State(users): State<Users>,
    Correlation(correlation): Correlation,
    Body(body): Body<RegisterBody>,
) -> Result<impl IntoResponse, Problem> {
    let (user, password) = body.read()?;
    let hash = password.hash(&random::<SALT_BYTES>()?).map_err(UsersError::from)?;
    let new =
        user.register(UserId::generate(), hash, Timestamp::now(), &correlation).map_err(UsersError::from)?;
    match users.store.register(&new).await.map_err(UsersError::from)? {
        Registration::Done => {}
        Registration::EmailTaken => return Err(UsersError::EmailTaken.into()),
    }
    let profile = new.profile;
    Span::current().record("user_id", profile.user_id.as_str());
    tracing::info!("user registered");
    let view = RegisteredView { user_id: profile.user_id, email: profile.email, name: profile.name };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Issues tokens for an e-mail address and its password. An unknown address takes as long as a wrong password
/// and gets the same answer. After too many failures of either, logins are refused for a while.
pub async fn login(
    State(users): State<Users>,
    ClientAddress(address): ClientAddress,
    Body(body): Body<LoginBody>,
) -> Result<impl IntoResponse, Problem> {
    let now = now();
    let Authenticated { user_id, email, roles } = authenticate(&users, &body, address, now).await?;
    Span::current().record("user_id", user_id.as_str());
    let token = RefreshToken::new(user_id.clone(), random::<TOKEN_BYTES>()?);
    let session = Session::open(token.hash(), FamilyId::generate(), user_id.clone(), now);
    let (access_token, (), ()) = tokio::try_join!(
        async { users.signer.sign(&user_id, roles, Audience::Api, now).await.map_err(UsersError::from) },
        async { users.store.open_session(&session).await.map_err(UsersError::from) },
        reset_failures(&users, email, now),
    )?;
    Ok((NO_STORE, Json(TokensView::new(access_token, &token))))
}

/// Resets the failures before a successful login, but never those of the client's address: an attacker may
/// own an account, too. Concurrent guesses are checked before the first of them has failed, so a correct one
/// is refused when too many others were wrong meanwhile. (Counting them before they fail would lock out an
/// owner who logs in from six places at once.)
async fn reset_failures(users: &Users, email: Email, now: i64) -> Result<(), UsersError> {
    match users.store.reset_failures(&Source::Email(email), users.limits.per_email, now).await? {
        FailureReset::Done => Ok(()),
        FailureReset::LimitExceeded => Err(UsersError::TooManyFailures { seconds: WINDOW }),
    }
}

/// A user who has presented the right password.
struct Authenticated {
    user_id: UserId,
    email: Email,
    roles: Vec<Role>,
}

async fn authenticate(
    users: &Users,
    body: &LoginBody,
    address: Option<IpAddr>,
    now: i64,
) -> Result<Authenticated, UsersError> {
    let email: Option<Email> = body.email.parse().ok();
    let (by_email, by_address) = (email.clone().map(Source::Email), address.map(Source::Address));
    let sources: Vec<Source> = by_email.iter().chain(&by_address).cloned().collect();
    let state = users.store.login_state(email.as_ref(), &sources).await?;
    let wait = |source: &Option<Source>, limit| state.failures(source.as_ref()?).wait(limit, now);
    let waits = [wait(&by_email, users.limits.per_email), wait(&by_address, users.limits.per_address)];
    if let Some(seconds) = waits.into_iter().flatten().max() {
        tracing::warn!(seconds, "login refused: too many failed logins");
        return Err(UsersError::TooManyFailures { seconds });
    }
    let hash =
        state.account.as_ref().map_or_else(PasswordHash::dummy, |account| account.password_hash.clone());
    let matches = hash.matches(&body.password)?;
    if let (Some(email), Some(Account { user_id, roles, .. }), true) = (email, state.account, matches) {
        return Ok(Authenticated { user_id, email, roles });
    }
    futures::future::try_join_all(sources.iter().map(|source| users.store.record_failure(source, now)))
        .await?;
    Err(UsersError::WrongCredentials)
}

/// Gives new tokens for a refresh token, which is spent. A client that repeats the request because the answer was
/// lost holds a spent token, and must log in.
pub async fn refresh(
    State(users): State<Users>,
    Body(body): Body<RefreshTokenBody>,
) -> Result<impl IntoResponse, Problem> {
    let spent = RefreshToken::parse(&body.refresh_token).ok_or(UsersError::InvalidRefreshToken)?;
    let (session, profile) =
        tokio::try_join!(users.store.session(&spent), users.store.profile(spent.user_id()))
            .map_err(UsersError::from)?;
    let (Some(session), Some(profile)) = (session, profile) else {
        return Err(UsersError::InvalidRefreshToken.into());
    };
    Span::current().record("user_id", session.user_id.as_str());
    let token = RefreshToken::new(session.user_id.clone(), random::<TOKEN_BYTES>()?);
    let now = now();
    let next = match session.rotate(token.hash(), now) {
        Ok(next) => next,
        Err(Refused::Expired) => return Err(UsersError::InvalidRefreshToken.into()),
        Err(Refused::Reused) => return Err(revoke_reused(&users, &session, now).await.into()),
    };
    let access_token = renew_access(&users, &session, &profile.email, now).await?;
    // Last, because it cannot be undone: until here, a failure leaves the client's token valid.
    match users.store.rotate(&session, &next).await.map_err(UsersError::from)? {
        Ok(()) => Ok((NO_STORE, Json(TokensView::new(access_token, &token)))),
        Err(Conflict) => Err(revoke_reused(&users, &session, now).await.into()),
    }
}

/// With the roles that the account has now, unless family or account have ended.
async fn renew_access(
    users: &Users,
    session: &Session,
    email: &Email,
    now: i64,
) -> Result<String, UsersError> {
    let Session { user_id, family, .. } = session;
    let (revoked, account) =
        tokio::try_join!(users.store.is_revoked(user_id, family), users.store.account(email))?;
    let account = account
        .filter(|account| !revoked && account.user_id == *user_id)
        .ok_or(UsersError::InvalidRefreshToken)?;
    Ok(users.signer.sign(user_id, account.roles, Audience::Api, now).await?)
}

/// Revokes the family of a token that was used twice, and returns the client's error.
async fn revoke_reused(users: &Users, session: &Session, now: i64) -> UsersError {
    tracing::warn!("a spent refresh token was used again, its family is revoked");
    match users.store.revoke(&session.user_id, &session.family, now).await {
        Ok(()) => UsersError::InvalidRefreshToken,
        Err(error) => error.into(),
    }
}

/// Ends the session's whole family. An unknown token is a success, too (RFC 7009 section 2.2): it opens nothing.
pub async fn logout(
    State(users): State<Users>,
    Body(body): Body<RefreshTokenBody>,
) -> Result<StatusCode, Problem> {
    if let Some(session) = session_of(&users, &body).await? {
        users.store.revoke(&session.user_id, &session.family, now()).await.map_err(UsersError::from)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn session_of(users: &Users, body: &RefreshTokenBody) -> Result<Option<Session>, UsersError> {
    match RefreshToken::parse(&body.refresh_token) {
        Some(token) => Ok(users.store.session(&token).await?),
        None => Ok(None),
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn random<const N: usize>() -> Result<[u8; N], UsersError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}
