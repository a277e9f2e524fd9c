//! Registering, and the life of a session: login, refresh, logout.

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

use super::{
    Users,
    codes::{code_random, context},
    random,
    requests::{LoginBody, RefreshTokenBody, RegisterBody},
};
use crate::{
    domain::{Email, Name, PART_BYTES, RefreshToken, SALT_BYTES},
    error::UsersError,
    handler::{self, Credentials, Tokens},
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

impl From<Tokens> for TokensView {
    fn from(Tokens { access_token, refresh_token }: Tokens) -> Self {
        Self {
            access_token,
            token_type: "Bearer",
            expires_in: Audience::Api.lifetime(),
            refresh_token: refresh_token.expose(),
        }
    }
}

/// Registers a customer, and sends a code to the address. A client that repeats the request because the answer was lost gets 409, and can find
/// out by logging in.
pub async fn register(
    State(users): State<Users>,
    address: ClientAddress,
    Correlation(correlation): Correlation,
    Body(body): Body<RegisterBody>,
) -> Result<impl IntoResponse, Problem> {
    let (user, password) = body.read()?;
    let now = Timestamp::now();
    // Without a gateway, the network is unknown.
    if let Some(network) = address.network() {
        let taken = users.store.take_registration(network, users.registrations, now).await;
        taken.map_err(|wait| UsersError::TooManyRegistrations { seconds: wait.as_secs() + 1 })?;
    }
    let hash = password.hash(&random::<SALT_BYTES>()?).map_err(UsersError::from)?;
    let new = user.register(UserId::generate(), hash, now, &correlation).map_err(UsersError::from)?;
    match users.store.register(&new).await.map_err(UsersError::from)? {
        Registration::Done => {}
        // A client that repeats its request gets this, too: there is no `Idempotency-Key` here, and a 201 would
        // require checking the password first.
        Registration::EmailTaken => return Err(UsersError::EmailTaken.into()),
    }
    let profile = new.profile;
    Span::current().record("user_id", profile.user_id.as_str());
    tracing::info!("user registered");
    let Users { store, messages, .. } = &users;
    handler::welcome(store, messages, &profile, code_random()?, context(&correlation)).await;
    let view = RegisteredView { user_id: profile.user_id, email: profile.email, name: profile.name };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Issues tokens for an e-mail address and its password. An unknown address takes as long as a wrong password
/// and gets the same answer. After too many failures, logins are refused for a while.
pub async fn login(
    State(users): State<Users>,
    address: ClientAddress,
    Correlation(correlation): Correlation,
    Body(body): Body<LoginBody>,
) -> Result<impl IntoResponse, Problem> {
    let LoginBody { email, password } = &body;
    let credentials = Credentials { email, password, network: address.network() };
    let random = [random::<PART_BYTES>()?, random()?];
    let Users { store, signer, .. } = &users;
    let tokens = handler::log_in(store, signer, credentials, random, Timestamp::now(), &correlation).await?;
    Ok((NO_STORE, Json(TokensView::from(tokens))))
}

/// Gives new tokens for a refresh token, which is spent. A client that repeats the request because the answer was
/// lost holds a spent token, and must log in.
pub async fn refresh(
    State(users): State<Users>,
    Correlation(correlation): Correlation,
    Body(body): Body<RefreshTokenBody>,
) -> Result<impl IntoResponse, Problem> {
    let spent = RefreshToken::parse(&body.refresh_token).ok_or(UsersError::InvalidRefreshToken)?;
    let Users { store, signer, .. } = &users;
    let tokens = handler::refresh(store, signer, &spent, random()?, Timestamp::now(), &correlation).await?;
    Ok((NO_STORE, Json(TokensView::from(tokens))))
}

/// Ends the session. An unknown token is a success, too (RFC 7009 section 2.2): it opens nothing.
pub async fn logout(
    State(users): State<Users>,
    Correlation(correlation): Correlation,
    Body(body): Body<RefreshTokenBody>,
) -> Result<StatusCode, Problem> {
    if let Some(token) = RefreshToken::parse(&body.refresh_token) {
        // The access token of this session stays valid for the rest of its 15 minutes: functions check it
        // without asking this table.
        handler::log_out(&users.store, &token, Timestamp::now(), &correlation).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
