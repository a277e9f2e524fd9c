//! A user's own sessions. All of it needs a recent login, because a stolen access token must not end the owner's.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use contracts::SessionId;
use jiff::Timestamp;
use lambda_kit::http::{Correlation, List, Problem, RecentLogin};
use serde::Serialize;

use super::Users;
use crate::{domain::Session, error::UsersError, handler};

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "Session"))]
pub struct OpenSessionView {
    session_id: SessionId,
    /// The login with the password.
    opened_at: Timestamp,
    /// The login or the last refresh.
    last_used_at: Timestamp,
    /// Whether the access token of this request comes from it.
    current: bool,
}

impl OpenSessionView {
    fn new(session: Session, current: &SessionId) -> Self {
        Self {
            opened_at: time(session.opened_at),
            last_used_at: time(session.last_used_at),
            current: session.session_id == *current,
            session_id: session.session_id,
        }
    }
}

/// The time of these Unix seconds.
pub(super) fn time(seconds: i64) -> Timestamp {
    // They come from a `Timestamp`, so they are in its range.
    Timestamp::from_second(seconds).unwrap_or_default()
}

/// The open sessions, the one that was used last first. There are so few that they fit on one page.
pub async fn list(
    State(users): State<Users>,
    RecentLogin(identity): RecentLogin,
) -> Result<Json<List<OpenSessionView>>, Problem> {
    let mut sessions = users.store.sessions(&identity.user_id).await.map_err(UsersError::from)?;
    let now = Timestamp::now().as_second();
    sessions.retain(|session| session.is_open(now));
    sessions.sort_by_key(|session| std::cmp::Reverse(session.last_used_at));
    let views = sessions.into_iter().map(|session| OpenSessionView::new(session, &identity.session_id));
    Ok(Json(List::whole(views.collect())))
}

/// Ends one session, which may be the current one.
pub async fn end(
    State(users): State<Users>,
    RecentLogin(identity): RecentLogin,
    Correlation(correlation): Correlation,
    Path(session): Path<String>,
) -> Result<StatusCode, Problem> {
    let session = SessionId::try_from(session).map_err(|_| UsersError::UnknownSession)?;
    handler::end_session(&users.store, &identity.user_id, &session, Timestamp::now(), &correlation).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions but the current one.
pub async fn end_others(
    State(users): State<Users>,
    RecentLogin(identity): RecentLogin,
    Correlation(correlation): Correlation,
) -> Result<StatusCode, Problem> {
    let (user, current) = (&identity.user_id, &identity.session_id);
    handler::end_other_sessions(&users.store, user, current, Timestamp::now(), &correlation).await?;
    Ok(StatusCode::NO_CONTENT)
}
