//! REST: registration, tokens, and the user's own profile.

mod auth;
#[cfg(feature = "openapi")]
mod describe;
mod profile;
mod requests;

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use lambda_kit::{
    http::{Limiter, by_address},
    jwt::{Signer, Verifier},
};

use crate::{domain::FailureLimits, store::Store};

#[cfg(feature = "openapi")]
pub use describe::operations;

/// The dependencies of the endpoints.
#[derive(Debug, Clone)]
pub struct Users {
    pub store: Store,
    pub signer: Signer,
    pub verifier: Arc<Verifier>,
    pub limits: FailureLimits,
}

/// `limiter` is each address's, for everything under /v1/auth.
pub fn routes(users: Users, limiter: Limiter) -> Router {
    Router::new()
        .route("/v1/auth/register", post(auth::register))
        .route("/v1/auth/login", post(auth::login))
        .route("/v1/auth/refresh", post(auth::refresh))
        .route("/v1/auth/logout", post(auth::logout))
        // Applies to the routes above, not to those below.
        .route_layer(from_fn_with_state(Arc::new(limiter), by_address))
        .route("/v1/users/me", get(profile::me).patch(profile::change).delete(profile::delete))
        .route("/.well-known/jwks.json", get(profile::jwks))
        .with_state(users)
}
