//! The caller's identity: the claims of the access token, verified in the function.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use contracts::UserId;

use super::Problem;
use crate::jwt::{Audience, Role, TokenError, Verifier};

/// A user with a good access token.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The token's subject.
    pub user_id: UserId,
    /// Those that the account had when the token was issued.
    pub roles: Vec<Role>,
}

impl Identity {
    /// Whether the user is an administrator.
    pub fn is_admin(&self) -> bool {
        self.roles.contains(&Role::Admin)
    }

    /// Whether this user may see resources of `owner`.
    pub fn may_see(&self, owner: &UserId) -> bool {
        self.user_id == *owner || self.is_admin()
    }
}

/// An administrator with a good access token.
#[derive(Debug, Clone)]
pub struct Admin(pub Identity);

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
        Ok(Self { user_id: claims.sub, roles: claims.roles })
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
