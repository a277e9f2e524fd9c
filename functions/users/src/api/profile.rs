//! A user's own profile, and the keys that tokens are checked with.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use contracts::{UserId, events::NotificationPreferences};
use jiff::Timestamp;
use lambda_kit::{
    http::{Body, Correlation, Identity, Problem, Query, RecentLogin},
    jwt::Jwk,
};
use serde::{Deserialize, Serialize};

use super::{Users, requests::ProfileBody, sessions::time};
use crate::{
    domain::{Email, Name, Phone, Profile, Session},
    error::UsersError,
    handler,
};

/// `Cache-Control` of the keys, in seconds.
// An access token lives for as long. A new key is published that long before it signs (infra/RUNBOOK.md), so
// that clients know every key that they meet.
const JWKS_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=900");

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
    email_verified: bool,
    phone_verified: bool,
    /// Only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<Vec<SessionView>>,
}

/// Where the person is logged in.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct SessionView {
    opened_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
}

impl From<Profile> for ProfileView {
    fn from(profile: Profile) -> Self {
        let Profile {
            user_id,
            email,
            name,
            phone,
            notification_preferences,
            email_verified,
            phone_verified,
            suspended_at: _,
            version: _,
        } = profile;
        Self {
            user_id,
            email,
            name,
            phone,
            notification_preferences,
            email_verified,
            phone_verified,
            sessions: None,
        }
    }
}

impl From<&Session> for SessionView {
    fn from(session: &Session) -> Self {
        Self {
            opened_at: time(session.opened_at),
            last_used_at: time(session.last_used_at),
            expires_at: time(session.expires_at),
        }
    }
}

#[derive(Deserialize)]
pub struct MeQuery {
    include: Option<String>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Jwks {
    keys: Vec<Jwk>,
}

/// 404 when the account was deleted after the token was issued. With `?include=sessions`, all data that this
/// context holds about the person. Of failed logins it keeps only a count for a quarter of an hour, under a
/// hash.
pub async fn me(
    State(users): State<Users>,
    identity: Identity,
    Query(MeQuery { include }): Query<MeQuery>,
) -> Result<impl IntoResponse, Problem> {
    let profile = users.store.profile(&identity.user_id).await.map_err(UsersError::from)?;
    let mut view = ProfileView::from(profile.ok_or(UsersError::UnknownUser)?);
    if include.as_deref() == Some("sessions") {
        let (sessions, now) = (users.store.sessions(&identity.user_id).await, Timestamp::now().as_second());
        let sessions = sessions.map_err(UsersError::from)?;
        let open = sessions.iter().filter(|session| session.is_open(now));
        view.sessions = Some(open.map(SessionView::from).collect());
    }
    Ok(Json(view))
}

/// Changes what is named, and leaves the rest. A repeat finds it changed and publishes nothing.
pub async fn change(
    State(users): State<Users>,
    identity: Identity,
    Correlation(correlation): Correlation,
    Body(body): Body<ProfileBody>,
) -> Result<impl IntoResponse, Problem> {
    let wanted = body.read()?;
    let check = |profile: &Profile| body.check_email(&profile.email);
    let changed =
        handler::change_profile(&users.store, &identity.user_id, &wanted, check, &correlation).await?;
    Ok(Json(ProfileView::from(changed)))
}

/// Erases the person here at once, and everywhere else by the event. A repeat is accepted as the first one was.
pub async fn delete(
    State(users): State<Users>,
    RecentLogin(identity): RecentLogin,
    Correlation(correlation): Correlation,
) -> Result<StatusCode, Problem> {
    handler::erase(&users.store, &identity.user_id, &correlation).await?;
    Ok(StatusCode::ACCEPTED)
}

/// RFC 7517 section 5.
pub async fn jwks(State(users): State<Users>) -> Result<impl IntoResponse, Problem> {
    let keys = users.verifier.jwks().await.map_err(UsersError::from)?;
    Ok(([(header::CACHE_CONTROL, JWKS_CACHE)], Json(Jwks { keys })))
}
