//! A user's own profile, and the keys that tokens are checked with.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::IntoResponse,
};
use contracts::{UserId, events::NotificationPreferences};
use lambda_kit::{
    http::{Identity, Problem},
    jwt::Jwk,
};
use serde::Serialize;

use super::Users;
use crate::{
    domain::{Email, Name, Phone, Profile},
    error::UsersError,
};

/// As long as an access token lives: a new key is published that long before it signs.
const JWKS_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=900");
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ProfileView {
    user_id: UserId,
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    email: Email,
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    name: Name,
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    phone: Option<Phone>,
    notification_preferences: NotificationPreferences,
}

impl From<Profile> for ProfileView {
    fn from(profile: Profile) -> Self {
        let Profile { user_id, email, name, phone, notification_preferences, version: _ } = profile;
        Self { user_id, email, name, phone, notification_preferences }
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Jwks {
    keys: Vec<Jwk>,
}

/// 404 when the account was deleted after the token was made.
pub async fn me(State(users): State<Users>, identity: Identity) -> Result<impl IntoResponse, Problem> {
    let profile = users.store.profile(&identity.user_id).await.map_err(UsersError::from)?;
    let profile = profile.ok_or(UsersError::UnknownUser)?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], Json(ProfileView::from(profile))))
}

/// RFC 7517 section 5.
pub async fn jwks(State(users): State<Users>) -> Result<impl IntoResponse, Problem> {
    let keys = users.verifier.jwks().await.map_err(UsersError::from)?;
    Ok(([(header::CACHE_CONTROL, JWKS_CACHE)], Json(Jwks { keys })))
}
