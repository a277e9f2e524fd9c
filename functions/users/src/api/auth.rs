//! Registering, and the life of a session: login, refresh, logout.

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
    http::{Body, ClientAddress, Correlation, Problem},
    jwt::Audience,
};
use serde::Serialize;
use tracing::Span;
use uuid::Uuid;

use super::{
    Users,
    requests::{LoginBody, RefreshTokenBody, RegisterBody},
};
use crate::{
    domain::{Email, FamilyId, Name, RefreshToken, SALT_BYTES, Session, TOKEN_BYTES},
    error::UsersError,
    handler::{self, Authenticated},
    store::Registration,
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

/// Registers a customer. A client that repeats the request because the answer was lost gets 409, and can find
/// out by logging in.
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
        // A client that repeats its request gets this, too: there is no `Idempotency-Key` here, and a 201 would
        // require checking the password first.
        Registration::EmailTaken => return Err(UsersError::EmailTaken.into()),
    }
    let profile = new.profile;
    Span::current().record("user_id", profile.user_id.as_str());
    tracing::info!("user registered");
    let view = RegisteredView { user_id: profile.user_id, email: profile.email, name: profile.name };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Issues tokens for an e-mail address and its password. An unknown address takes as long as a wrong password
/// and gets the same answer. After too many failures, logins are refused for a while.
pub async fn login(
    State(users): State<Users>,
    address: ClientAddress,
    Body(body): Body<LoginBody>,
) -> Result<impl IntoResponse, Problem> {
    let now = now();
    let LoginBody { email, password } = &body;
    let Authenticated { user_id, roles } =
        handler::authenticate(&users.store, email, password, address.network(), now).await?;
    Span::current().record("user_id", user_id.as_str());
    let token = RefreshToken::new(user_id.clone(), random::<TOKEN_BYTES>()?);
    let session = Session::open(token.hash(), FamilyId::new(Uuid::now_v7()), user_id, now);
    let subject = session.subject(roles);
    // They run concurrently, because neither needs the other. If only the signing fails, the session remains
    // until it expires, under a token that no client has.
    let (access_token, ()) = tokio::try_join!(
        async { users.signer.sign(&subject, Audience::Api, now).await.map_err(UsersError::from) },
        async { users.store.open_session(&session).await.map_err(UsersError::from) },
    )?;
    Ok((NO_STORE, Json(TokensView::new(access_token, &token))))
}

/// Gives new tokens for a refresh token, which is spent. A client that repeats the request because the answer was
/// lost holds a spent token, and must log in.
pub async fn refresh(
    State(users): State<Users>,
    Body(body): Body<RefreshTokenBody>,
) -> Result<impl IntoResponse, Problem> {
    let spent = RefreshToken::parse(&body.refresh_token).ok_or(UsersError::InvalidRefreshToken)?;
    let next = RefreshToken::new(spent.user_id().clone(), random::<TOKEN_BYTES>()?);
    let access_token = handler::refresh(&users.store, &users.signer, &spent, &next, now()).await?;
    Ok((NO_STORE, Json(TokensView::new(access_token, &next))))
}

/// Ends the session's whole family. An unknown token is a success, too (RFC 7009 section 2.2): it opens nothing.
pub async fn logout(
    State(users): State<Users>,
    Body(body): Body<RefreshTokenBody>,
) -> Result<StatusCode, Problem> {
    if let Some(session) = session_of(&users, &body).await? {
        // The access token of this session stays valid for the rest of its 15 minutes: functions check it
        // without asking this table.
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
