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
    limits::TICKETS,
    random::fill,
};
use serde::Serialize;

use crate::{
    domain::{TICKET_BYTES, TICKET_SECONDS, Ticket, TicketHolder},
    store::{Access, Store},
};

/// Issues tickets, with the URL that accepts them.
#[derive(Debug)]
pub struct Tickets {
    store: Store,
    websocket_url: String,
}

impl Tickets {
    pub const fn new(store: Store, websocket_url: String) -> Self {
        Self { store, websocket_url }
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
             is good for one connection within a minute; get a new one for each connection. A user may have 20 \
             connections at a time: the WebSocket answers a further one with 429. The connection is closed when the \
             session ends with which the ticket was requested.",
        )
        .limited(&TICKETS)
        .answers::<TicketAnswer>(
            201,
            "The ticket, and where it is good: connect to `<url>?ticket=<ticket>`.",
            &["Cache-Control"],
            json!({
                "ticket": "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k", "expires_in": 60,
                "url": "wss://example.execute-api.us-east-1.amazonaws.com/live"
            }),
        )
        .problem(403, "The account is suspended."),
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

async fn issue(State(tickets): State<Arc<Tickets>>, identity: Identity) -> Result<Response, Problem> {
    let now = Timestamp::now().as_second();
    let mut random = [0; TICKET_BYTES];
    fill(&mut random).map_err(|error| Problem::internal(&error))?;
    let ticket = Ticket::new(random);
    // A ticket says whether its holder is an administrator, who may watch any order.
    let admin = identity.is_admin();
    let holder = TicketHolder { user_id: identity.user_id, session_id: identity.session_id, admin };
    // Both at once, because a ticket that its client does not get admits no one. The WebSocket checks the access
    // again, for what happens meanwhile.
    let hash = ticket.hash();
    let (access, ()) = tokio::try_join!(
        tickets.store.access(&holder.user_id, Some(&holder.session_id), now),
        tickets.store.add_ticket(&hash, &holder, now),
    )?;
    match access {
        Access::Granted => {}
        Access::Suspended => return Err(Problem::forbidden("This account is suspended.")),
        Access::Deleted => return Err(Problem::unauthorized("This account was deleted.")),
        Access::SessionEnded => return Err(Problem::unauthorized("This session has ended. Log in again.")),
    }
    let answer =
        TicketAnswer { ticket: ticket.expose(), expires_in: TICKET_SECONDS, url: &tickets.websocket_url };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}
