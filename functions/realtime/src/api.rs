//! REST: tickets for the WebSocket.

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
    http::{Identity, Problem, limit},
    jwt::{Audience, Signer, Subject},
    limits::TICKETS,
};
use serde::Serialize;

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
    Router::new()
        .route("/v1/realtime/tickets", limit::before(&TICKETS, post(issue)))
        .with_state(Arc::new(tickets))
}

/// The routes as openapi.json describes them.
#[cfg(feature = "openapi")]
pub fn operations() -> Vec<lambda_kit::openapi::Operation> {
    use lambda_kit::openapi::{Operation, Who};
    use serde_json::json;

    vec![
        Operation::post(
            "/v1/realtime/tickets",
            "createRealtimeTicket",
            Who::User,
            "A ticket for the WebSocket",
            "Browsers cannot send a token when they open a WebSocket, so a ticket in the URL admits the client. It \
             is good for a minute; get a new one for each connection.",
        )
        .limited(&TICKETS)
        .answers::<TicketAnswer>(
            201,
            "The ticket, and where it is good: connect to `<url>?ticket=<ticket>`.",
            &["Cache-Control"],
            json!({
                "ticket": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c3JfMDEifQ.c2lnbmF0dXJl", "expires_in": 60,
                "url": "wss://example.execute-api.us-east-1.amazonaws.com/live"
            }),
        ),
    ]
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
    let subject = Subject {
        user_id: identity.user_id,
        session_id: identity.session_id,
        roles: identity.roles,
        auth_time: identity.auth_time,
        email_verified: identity.email_verified,
    };
    let ticket = tickets
        .signer
        .sign(&subject, Audience::Realtime, now)
        .await
        .map_err(|error| Problem::unavailable(&error))?;
    let answer =
        TicketAnswer { ticket, expires_in: Audience::Realtime.lifetime(), url: &tickets.websocket_url };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}
