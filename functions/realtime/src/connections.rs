//! Posts frames to connections, and removes the connections that are gone.
//!
//! A connection that cannot be posted to is closed at once, so that it delays no other: its client reconnects and
//! replays what it missed, behind this event in the same queue. Only when it cannot be closed either (API Gateway
//! itself is down), or API Gateway throttles, the connection has missed the frames: under throttling, clients that all
//! reconnect would make it worse.

use std::{collections::BTreeSet, time::Instant};

use contracts::{OrderId, UserId};
use futures::{StreamExt, stream};
use lambda_kit::error::error_chain;

use crate::{
    domain::{Frame, Subscriber},
    push::{Push, PushError, Pusher, THROTTLED_BUDGET},
    store::Store,
};

/// Concurrent posts.
// It is more than the connections that an order's owner may have; beside them, administrators may follow it. More posts
// at the same time would use too many of the process's sockets (Lambda: 1,024 file descriptors).
const PARALLEL_POSTS: usize = 32;

/// The result of a post.
enum Posted {
    /// It has the frames.
    Delivered,
    /// It is closed.
    Gone,
    /// It is still open and has not got them.
    Undelivered(String),
}

/// The result of a broadcast.
pub struct Broadcast {
    /// The open connections that did not get the frames.
    pub undelivered: BTreeSet<String>,
    /// Whether closed connections were deleted.
    pub deleted_any: bool,
}

/// The connections of all clients.
#[derive(Debug, Clone)]
pub struct Connections {
    store: Store,
    pusher: Pusher,
}

impl Connections {
    pub const fn new(store: Store, pusher: Pusher) -> Self {
        Self { store, pusher }
    }

    /// Posts the frames to the connections in `to`, concurrently, and closes those in `behind` and those that have
    /// expired.
    pub async fn broadcast(
        &self,
        order_id: &OrderId,
        to: &[Subscriber],
        behind: &[Subscriber],
        frames: &[Frame],
        now: i64,
    ) -> Broadcast {
        // All posts share one limit. With one for each post, many throttled posts could use up the function's
        // time.
        let until = Instant::now() + THROTTLED_BUDGET;
        let all = to.iter().map(|to| (to, to.is_expired(now))).chain(behind.iter().map(|to| (to, true)));
        let posts = stream::iter(all).map(|(subscriber, closes)| async move {
            let (id, user_id) = (&subscriber.connection_id, Some(&subscriber.user_id));
            if closes {
                self.close(order_id, id, user_id).await
            } else {
                self.post(order_id, id, user_id, frames, until).await
            }
        });
        let posted: Vec<Posted> = posts.buffer_unordered(PARALLEL_POSTS).collect().await;
        if !posted.is_empty() {
            tracing::info!(connections = posted.len(), frames = frames.len(), "pushed");
        }
        let mut broadcast = Broadcast { undelivered: BTreeSet::new(), deleted_any: false };
        for posted in posted {
            match posted {
                Posted::Delivered => {}
                Posted::Gone => broadcast.deleted_any = true,
                Posted::Undelivered(connection_id) => drop(broadcast.undelivered.insert(connection_id)),
            }
        }
        broadcast
    }

    /// Posts frames to one connection, and returns whether it has them or is gone.
    pub async fn answer(&self, order_id: &OrderId, connection_id: &str, frames: &[Frame]) -> bool {
        let until = Instant::now() + THROTTLED_BUDGET;
        match self.post(order_id, connection_id, None, frames, until).await {
            Posted::Delivered | Posted::Gone => true,
            Posted::Undelivered(_) => false,
        }
    }

    async fn post(
        &self,
        order_id: &OrderId,
        connection_id: &str,
        user_id: Option<&UserId>,
        frames: &[Frame],
        until: Instant,
    ) -> Posted {
        match self.pusher.post(connection_id, frames, until).await {
            Ok(Push::Delivered) => Posted::Delivered,
            Ok(Push::Gone) => {
                self.delete_connection(order_id, connection_id, user_id).await;
                Posted::Gone
            }
            Err(PushError::Throttled) => {
                tracing::warn!("posts are throttled, the event will be retried for this connection");
                // The connection is not closed: clients that all reconnect would be throttled as well.
                Posted::Undelivered(connection_id.to_owned())
            }
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "a post failed, the connection will be closed");
                self.close(order_id, connection_id, user_id).await
            }
        }
    }

    async fn close(&self, order_id: &OrderId, connection_id: &str, user_id: Option<&UserId>) -> Posted {
        match self.pusher.close(connection_id).await {
            Ok(()) => {
                self.delete_connection(order_id, connection_id, user_id).await;
                Posted::Gone
            }
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "a connection cannot be closed");
                Posted::Undelivered(connection_id.to_owned())
            }
        }
    }

    /// Deletes a closed connection. A failure is logged only.
    async fn delete_connection(&self, order_id: &OrderId, connection_id: &str, user_id: Option<&UserId>) {
        // The caller gets no error, because its event is delivered. The items that remain are found at the next
        // post, or expire.
        if let Err(error) = self.store.delete_connection(connection_id, Some(order_id), user_id).await {
            tracing::warn!(error = error_chain(&error), "a closed connection could not be deleted");
        }
    }
}
