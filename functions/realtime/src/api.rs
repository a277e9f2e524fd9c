//! REST: tickets for the WebSocket.

#[cfg(feature = "openapi")]
mod describe;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use jiff::Timestamp;
use lambda_kit::{
    http::{Identity, Problem},
    jwt::{Audience, Signer},
};
use serde::Serialize;

#[cfg(feature = "openapi")]
pub use describe::operations;

/// Issues tickets, with the URL that accepts them.
#[derive(Debug)]
pub struct Tickets {
    signer: Signer,
    websocket_url: String,
}

impl Tickets {
    pub const fn new(signer: Signer, websocket_url: String) -> Self {
        Self { signer, websocket_url }
    }
}

pub fn routes(tickets: Tickets) -> Router {
    Router::new().route("/v1/realtime/tickets", post(issue)).with_state(Arc::new(tickets))
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct TicketAnswer<'a> {
    ticket: String,
    expires_in: i64,
    /// Without the ticket, which the client adds as the parameter `ticket`: URLs end up in logs.
    url: &'a str,
}

/// A ticket carries the user's roles, so that an administrator may watch any order.
async fn issue(State(tickets): State<Arc<Tickets>>, identity: Identity) -> Result<Response, Problem> {
    let now = Timestamp::now().as_second();
    let ticket = tickets
        .signer
        .sign(&identity.user_id, identity.roles, Audience::Realtime, now)
        .await
        .map_err(|error| Problem::unavailable(&error))?;
    let answer =
        TicketAnswer { ticket, expires_in: Audience::Realtime.lifetime(), url: &tickets.websocket_url };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}
