//! Pure: the clients' requests, the server's frames, and the replay buffer.

mod buffer;
#[cfg(feature = "openapi")]
mod describe;
mod frame;
mod origins;
mod request;
mod short_frame;
mod ticket;

pub use buffer::{Arrival, Buffer, BufferState};
#[cfg(feature = "openapi")]
pub use describe::{Frames, frames};
pub use frame::{ErrorCode, EventFrame, Frame, NoFrame, Refusal};
pub use origins::Origins;
pub use request::{Request, Subject, parse};
pub use short_frame::ShortFrame;
pub use ticket::{TICKET_BYTES, TICKET_SECONDS, Ticket, TicketHash, TicketHolder};

use contracts::{SessionId, UserId};
use serde::{Deserialize, Serialize};

/// API Gateway ends a WebSocket connection after two hours, whatever happens on it (quota "connection duration").
pub const CONNECTION_SECONDS: i64 = 2 * 60 * 60;

/// Orders that one connection may follow.
// A person has fewer open orders than that. A connection's items can be deleted in one BatchWriteItem call (25
// items) when it ends.
pub const SUBSCRIPTIONS_MAX: usize = 20;

/// Connections that a user may have at a time.
// It is more than a person has pages open. An event is posted to each of them, so their number decides how long the
// event keeps an instance of realtime-consumer.
pub const CONNECTIONS_MAX: usize = 20;

/// A connection, with what decides what it may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    pub connection_id: String,
    pub user_id: UserId,
    /// The login that its ticket came from. Unknown for connections from before sessions had ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    pub admin: bool,
    /// Unix seconds after which the connection cannot be there any more.
    pub expires_at: i64,
}

impl Subscriber {
    /// Whether this subscriber may see the frames of an order. While the order's owner is unknown, only
    /// administrators may.
    pub fn may_see(&self, owner: Option<&UserId>) -> bool {
        self.admin || owner == Some(&self.user_id)
    }

    pub const fn is_expired(&self, now: i64) -> bool {
        self.expires_at <= now
    }
}
