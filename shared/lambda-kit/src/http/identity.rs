//! The caller's identity: the claims of the access token, verified in the function.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use contracts::{SessionId, UserId};
use jiff::Timestamp;

use super::{ClientAddress, Problem};
use crate::{
    jwt::{self, Audience, Role, TokenError, Verifier},
    telemetry::{self, SecurityEvent},
};

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

    /// Whether the user has one of these roles. An administrator has all of them.
    pub fn is_staff(&self, roles: &[Role]) -> bool {
        self.is_admin() || roles.iter().any(|role| self.has_role(role))
    }

    /// Whether this user may see resources of `owner`. Staff with one of these roles may, and so may administrators.
    pub fn may_see(&self, owner: &UserId, staff: &[Role]) -> bool {
        self.user_id == *owner || self.is_staff(staff)
    }
}

/// An administrator with a good access token.
#[derive(Debug, Clone)]
pub struct Admin(pub Identity);

/// A user of the warehouse's staff, or an administrator.
#[derive(Debug, Clone)]
pub struct Fulfillment(pub Identity);

/// A user of the support, or an administrator.
#[derive(Debug, Clone)]
pub struct Support(pub Identity);

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
        // A limit by user has verified the token already.
        if let Some(identity) = parts.extensions.get::<Self>() {
            return Ok(identity.clone());
        }
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
            TokenError::Invalid(reason) => {
                // A page that was open for a while sends an expired token first, and no attacker needs one.
                if reason != jwt::EXPIRED {
                    let address = parts.extensions.get().copied().unwrap_or(ClientAddress(None));
                    telemetry::security(SecurityEvent::TokenRefused, address.digest().as_deref());
                }
                Problem::unauthorized(format!("{error}. Log in again for a new one."))
            }
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

macro_rules! staff {
    ($($extractor:ident $roles:expr, $refusal:literal;)+) => {
        $(impl<S: Sync> FromRequestParts<S> for $extractor {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
                let identity = Identity::from_request_parts(parts, state).await?;
                if identity.is_staff($roles) { Ok(Self(identity)) } else { Err(Problem::forbidden($refusal)) }
            }
        })+
    };
}

staff! {
    Admin &[], "Only an administrator may do this.";
    Fulfillment &[Role::Fulfillment], "Only the warehouse's staff or an administrator may do this.";
    Support &[Role::Support], "Only the support or an administrator may do this.";
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::header, routing::get};

    use super::*;
    use crate::testing::{self, App, Tokens};

    #[tokio::test]
    async fn each_role_may_do_its_own_and_an_administrator_all() {
        let tokens = Tokens::new();
        let routes = Router::new()
            .route("/admin", get(async |_: Admin| ()))
            .route("/fulfillment", get(async |_: Fulfillment| ()))
            .route("/support", get(async |_: Support| ()));
        let app = App::new(routes, tokens.verifier());
        let statuses = async |roles: Vec<Role>| {
            let bearer = tokens.bearer(&UserId::generate(), roles, Audience::Api, 4_000_000_000);
            let get = async |path| app.get(path, &bearer).await.status.as_u16();
            [get("/admin").await, get("/fulfillment").await, get("/support").await]
        };
        assert_eq!(statuses(vec![]).await, [403, 403, 403]);
        assert_eq!(statuses(vec![Role::Fulfillment]).await, [403, 200, 403]);
        assert_eq!(statuses(vec![Role::Support]).await, [403, 403, 200]);
        assert_eq!(statuses(vec![Role::Fulfillment, Role::Support]).await, [403, 200, 200]);
        assert_eq!(statuses(vec![Role::Admin]).await, [200, 200, 200]);
    }

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
