//! The WebSocket's routes: connect, message, disconnect.

use std::time::Instant;

use contracts::{SessionId, UserId};
use lambda_kit::{
    dynamodb::TableError,
    error::error_chain,
    telemetry::{self, Outcome},
};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{CONNECTION_SECONDS, ErrorCode, Frame, Request, SUBSCRIPTIONS_MAX, Subject, Subscriber, parse},
    order_queue::{Command, OrderQueue, OrderQueueError},
    push::{Push, PushError, Pusher, THROTTLED_BUDGET},
    store::{Admission, Slot, Store},
};

/// API Gateway's event, with the fields that are read. The route is not needed: the frame says the action.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming {
    request_context: RequestContext,
    #[serde(default)]
    body: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    event_type: EventType,
    connection_id: String,
    request_id: String,
    #[serde(default)]
    authorizer: Option<AuthorizerContext>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum EventType {
    Connect,
    Message,
    Disconnect,
}

/// The authorizer's context of the connection.
#[derive(Debug, Deserialize)]
struct AuthorizerContext {
    user_id: UserId,
    /// Unknown for connections from before sessions had ids.
    #[serde(default)]
    session_id: Option<SessionId>,
    /// `true` or `false`.
    #[serde(default)]
    admin: String,
}

/// The response to API Gateway.
// Clients get frames only through `@connections`: a response with a body would need a route response for each
// route.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    pub status_code: u16,
}

const OK: Answer = Answer { status_code: 200 };
const FORBIDDEN: Answer = Answer { status_code: 403 };
const TOO_MANY: Answer = Answer { status_code: 429 };

/// The client gets API Gateway's own "Internal server error" frame, and sends its own again.
#[derive(Debug, thiserror::Error)]
enum SocketError {
    #[error("the connection has no identity: $connect has no authorizer")]
    NoIdentity,
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Queue(#[from] OrderQueueError),
    #[error(transparent)]
    Push(#[from] PushError),
}

/// Serves the WebSocket's routes.
#[derive(Debug, Clone)]
pub struct Socket {
    store: Store,
    queue: OrderQueue,
    pusher: Pusher,
}

impl Socket {
    pub const fn new(store: Store, queue: OrderQueue, pusher: Pusher) -> Self {
        Self { store, queue, pusher }
    }

    /// Handles one invocation; `now` in Unix seconds.
    ///
    /// # Errors
    /// When it could not be done. A connection is then refused, and a frame answered with an error.
    pub async fn handle(&self, payload: &str, now: i64) -> Result<Answer, Diagnostic> {
        let incoming: Incoming = serde_json::from_str(payload).map_err(|error| {
            tracing::error!(%error, "the invocation is not an event of a WebSocket API");
            Diagnostic { error_type: "MalformedRequest".to_owned(), error_message: error.to_string() }
        })?;
        let started = Instant::now();
        let context = &incoming.request_context;
        let (operation, result) = match context.event_type {
            EventType::Connect => ("connect", self.connect(context, now).await),
            EventType::Message => {
                let body = incoming.body.as_deref().unwrap_or_default();
                ("message", self.message(context, body, now).await.map(|()| OK))
            }
            EventType::Disconnect => ("disconnect", self.disconnect(context).await.map(|()| OK)),
        };
        let outcome = match &result {
            Ok(answer) if *answer == OK => Outcome::Ok,
            Ok(_) => Outcome::Refused,
            Err(_) => Outcome::Error,
        };
        telemetry::record(operation, outcome, started.elapsed());
        result.map_err(|error| {
            tracing::error!(operation, error = error_chain(&error), "a WebSocket request failed");
            Diagnostic { error_type: "Transient".to_owned(), error_message: "try again".to_owned() }
        })
    }

    async fn connect(&self, context: &RequestContext, now: i64) -> Result<Answer, SocketError> {
        let identity = context.authorizer.as_ref().ok_or(SocketError::NoIdentity)?;
        tracing::Span::current().record("user_id", identity.user_id.as_str());
        let subscriber = Subscriber {
            connection_id: context.connection_id.clone(),
            user_id: identity.user_id.clone(),
            session_id: identity.session_id.clone(),
            admin: identity.admin == "true",
            expires_at: now + CONNECTION_SECONDS,
        };
        match self.store.connect(&subscriber, now).await? {
            Admission::Granted => {
                tracing::info!("connected");
                Ok(OK)
            }
            Admission::Denied(access) => {
                tracing::info!(?access, "connection denied");
                Ok(FORBIDDEN)
            }
            Admission::Full => {
                tracing::info!("connection denied: the user has as many as a user may have");
                Ok(TOO_MANY)
            }
        }
    }

    async fn disconnect(&self, context: &RequestContext) -> Result<(), SocketError> {
        // API Gateway does not guarantee to deliver `$disconnect` (API Gateway developer guide, "Manage
        // connected users and client apps: $connect and $disconnect routes"). So a failed post deletes a
        // connection as well, and each item expires.
        self.store.delete_connection(&context.connection_id, None, None).await?;
        tracing::info!("disconnected");
        Ok(())
    }

    /// Answers at once where that is possible; otherwise queues the request behind the order's messages.
    async fn message(&self, context: &RequestContext, body: &str, now: i64) -> Result<(), SocketError> {
        let connection_id = context.connection_id.as_str();
        let answer = match parse(body) {
            Ok(Request::Ping) => Some(Frame::Pong),
            Ok(Request::Subscribe { subject: Subject::Order(order_id), after }) => {
                // The slot is taken before the command is queued: a connection without a free slot gets its
                // answer at once. If queueing fails, the client sends its frame again, and the repeat finds its
                // slot.
                match self.store.take_slot(connection_id, &order_id, now).await? {
                    Slot::Taken(subscriber) => {
                        let command = Command::Subscribe { order_id, after, subscriber };
                        self.queue.send(&context.request_id, &command).await?;
                        None
                    }
                    Slot::Full => Some(Frame::error(
                        ErrorCode::TooManySubscriptions,
                        format!("A connection may follow {SUBSCRIPTIONS_MAX} orders: unsubscribe from one."),
                    )),
                    Slot::Unknown => Some(expired()),
                }
            }
            Ok(Request::Unsubscribe { subject: Subject::Order(order_id) }) => {
                // The consumer frees the slot, behind the subscriptions that are queued before it.
                let command = Command::Unsubscribe { order_id, connection_id: connection_id.to_owned() };
                self.queue.send(&context.request_id, &command).await?;
                None
            }
            Ok(Request::Subscribe { subject: Subject::AllOwn, .. }) => Some(
                self.for_connection(connection_id, now, async |subscriber| {
                    let followed = self.store.follow_all(subscriber).await?;
                    Ok(if followed { Frame::Subscribed { order_id: None } } else { expired() })
                })
                .await?,
            ),
            Ok(Request::Unsubscribe { subject: Subject::AllOwn }) => Some(
                self.for_connection(connection_id, now, async |subscriber| {
                    let unfollowed = self.store.unfollow_all(subscriber).await?;
                    Ok(if unfollowed { Frame::Unsubscribed { order_id: None } } else { expired() })
                })
                .await?,
            ),
            Err(refusal) => Some(Frame::Error(refusal)),
        };
        match answer {
            Some(frame) => self.answer(connection_id, frame).await,
            None => Ok(()),
        }
    }

    async fn for_connection(
        &self,
        connection_id: &str,
        now: i64,
        action: impl AsyncFnOnce(&Subscriber) -> Result<Frame, TableError>,
    ) -> Result<Frame, SocketError> {
        match self.store.connection(connection_id, now).await? {
            Some(subscriber) => Ok(action(&subscriber).await?),
            None => Ok(expired()),
        }
    }

    async fn answer(&self, connection_id: &str, frame: Frame) -> Result<(), SocketError> {
        let until = Instant::now() + THROTTLED_BUDGET;
        match self.pusher.post(connection_id, &[frame], until).await? {
            Push::Delivered => Ok(()),
            Push::Gone => Ok(self.store.delete_connection(connection_id, None, None).await?),
        }
    }
}

fn expired() -> Frame {
    Frame::error(ErrorCode::BadRequest, "This connection has expired: connect again with a new ticket.")
}
