//! The caller's identity: the claims of the access token, verified in the function.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use contracts::{SessionId, UserId};
use jiff::Timestamp;

use super::Problem;
use crate::jwt::{Audience, Role, TokenError, Verifier};

/// A user with a good access token.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The token's subject.
    pub user_id: UserId,
    /// Those that the account had when the token was issued.
    pub roles: Vec<Role>,
    /// The login that the token comes from.
    pub session_id: SessionId,
    /// When the user last gave the password. Unix seconds.
    pub auth_time: i64,
    /// Whether the user had shown that the account's e-mail address is theirs, when the token was issued.
    pub email_verified: bool,
}

impl Identity {
    /// Whether the user has this role.
    pub fn has_role(&self, role: &Role) -> bool {
        self.roles.contains(role)
    }

    /// Whether the user is an administrator.
    pub fn is_admin(&self) -> bool {
        self.has_role(&Role::Admin)
    }

    /// Whether this user may see resources of `owner`.
    pub fn may_see(&self, owner: &UserId) -> bool {
        self.user_id == *owner || self.is_admin()
    }
}

/// An administrator with a good access token.
#[derive(Debug, Clone)]
pub struct Admin(pub Identity);

/// Seconds for which a login counts as recent.
const RECENT_LOGIN: i64 = 15 * 60;

/// A user who gave the password within the last 15 minutes. Refreshed tokens keep the time of their login.
#[derive(Debug, Clone)]
pub struct RecentLogin(pub Identity);

impl<S: Sync> FromRequestParts<S> for RecentLogin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let identity = Identity::from_request_parts(parts, state).await?;
        if identity.auth_time + RECENT_LOGIN > Timestamp::now().as_second() {
            Ok(Self(identity))
        } else {
            Err(Problem::recent_login_required(RECENT_LOGIN))
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let token = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| {
                Problem::unauthorized(
                    "Send an access token: `Authorization: Bearer <token>`, from POST /v1/auth/login.",
                )
            })?;
        let verifier = parts
            .extensions
            .get::<Arc<Verifier>>()
            .cloned()
            .ok_or_else(|| Problem::internal(&TokenError::Key("the function has no verifier".into())))?;
        let claims = verifier.verify(token, Audience::Api).await.map_err(|error| match error {
            TokenError::Invalid(_) => Problem::unauthorized(format!("{error}. Log in again for a new one.")),
            // The token may be valid. With 401, the client would log in again for nothing.
            TokenError::Key(_) => Problem::unavailable(&error),
        })?;
        tracing::Span::current().record("user_id", claims.sub.as_str());
        Ok(Self {
            user_id: claims.sub,
            roles: claims.roles,
            session_id: claims.sid,
            auth_time: claims.auth_time,
            email_verified: claims.email_verified,
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let identity = Identity::from_request_parts(parts, state).await?;
        if identity.is_admin() {
            Ok(Self(identity))
        } else {
            Err(Problem::forbidden("Only an administrator may do this."))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::header, routing::get};

    use super::*;
    use crate::testing::{self, App, Tokens};

    #[tokio::test]
    async fn a_login_counts_as_recent_for_15_minutes() {
        let (tokens, user) = (Tokens::new(), UserId::generate());
        let routes = Router::new().route("/", get(async |_: RecentLogin| ()));
        let app = App::new(routes, tokens.verifier());
        let now = Timestamp::now().as_second();
        let bearer = |auth_time| {
            let claims = testing::claims(&user, vec![], Audience::Api, 4_000_000_000);
            format!("Bearer {}", tokens.sign(&crate::jwt::Claims { auth_time, ..claims }))
        };
        assert_eq!(app.get("/", &bearer(now - RECENT_LOGIN + 30)).await.status, 200);

        let refused = app.get("/", &bearer(now - RECENT_LOGIN)).await;
        assert_eq!(refused.status, 401);
        assert_eq!(
            refused.headers[header::WWW_AUTHENTICATE],
            "Bearer error=\"insufficient_user_authentication\", max_age=900"
        );
        assert_eq!(app.get("/", &tokens.stale_login(&user)).await.status, 401);
        assert_eq!(app.get("/", "").await.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"ordersaga\"");
    }
}
