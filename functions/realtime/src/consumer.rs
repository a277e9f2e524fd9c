//! The line of each order, one thing after the other: events, and the wishes to follow them.
//!
//! Frames go out first and are saved then, so that whatever is in the buffer was delivered. An event that cannot be
//! delivered comes again; one that went to the dead-letter queue shows as a gap, live and in replays.

use std::collections::BTreeMap;

use aws_lambda_events::sqs::SqsMessage;
use contracts::{Envelope, InvalidId, OrderId};
use futures::{StreamExt, stream};
use lambda_kit::{
    dynamodb::TableError,
    sqs::{MessageError, one_event},
};
use tracing::Instrument;

use crate::{
    domain::{Arrival, ErrorCode, Frame, NotAFrame, Subscriber},
    line::Command,
    push::{Push, PushError, Pusher},
    store::{OrderLine, Saved, Store},
};

/// Connections that are posted to at the same time. A customer has a few open at most; the bound keeps an order that
/// everyone watches from taking all sockets of the process.
const PARALLEL_POSTS: usize = 16;

#[derive(Debug, thiserror::Error)]
enum ConsumerError {
    #[error("the subject is not an order")]
    Subject(#[from] InvalidId),
    #[error(transparent)]
    Frame(#[from] NotAFrame),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error("somebody else works on this order's line")]
    Conflict,
}

/// Works off the lines.
#[derive(Debug, Clone)]
pub struct Consumer {
    store: Store,
    pusher: Pusher,
}

impl Consumer {
    pub const fn new(store: Store, pusher: Pusher) -> Self {
        Self { store, pusher }
    }

    /// Handles one message of the queue; `now` in Unix seconds.
    ///
    /// # Errors
    /// When the message must come again.
    pub async fn handle(&self, message: &SqsMessage, now: i64) -> Result<(), MessageError> {
        let body = message.body.as_deref().unwrap_or_default();
        if let Ok(command) = serde_json::from_str::<Command>(body) {
            let span = tracing::info_span!("command", order_id = command.order_id().as_str());
            return self.command(command, now).instrument(span).await.map_err(MessageError::handler);
        }
        one_event(message, async |event| self.event(&event, now).await.map_err(MessageError::handler)).await
    }

    async fn event(&self, event: &Envelope, now: i64) -> Result<(), ConsumerError> {
        let order_id = OrderId::try_from(event.subject.as_str())?;
        tracing::Span::current().record("order_id", order_id.as_str());
        let owner = event.metadata.user_id.as_ref();
        // The event mostly names the owner, so that both can be read side by side.
        let (line, followers) = futures::try_join!(self.store.order(&order_id), async {
            match owner {
                Some(user_id) => self.store.followers(user_id).await,
                None => Ok(Vec::new()),
            }
        })?;
        let OrderLine { mut buffer, revision, subscribers } = line;
        match buffer.take(event)? {
            Arrival::Known => return Ok(()),
            Arrival::Late => {
                tracing::warn!(sequence = event.sequence, "an event came late, kept for replays")
            }
            Arrival::Live(frames) => {
                let followers = match buffer.owner() {
                    known if known == owner => followers,
                    Some(user_id) => self.store.followers(user_id).await?,
                    None => Vec::new(),
                };
                let mut to: BTreeMap<String, Subscriber> = BTreeMap::new();
                for subscriber in subscribers.into_iter().chain(followers) {
                    if subscriber.may_see(buffer.owner()) {
                        to.insert(subscriber.connection_id.clone(), subscriber);
                    }
                }
                self.broadcast(&order_id, to.into_values().collect(), &frames, now).await?;
            }
        }
        match self.store.save(&order_id, &buffer, revision, now).await? {
            Saved::Done => Ok(()),
            Saved::Conflict => self.saved_already(event, &order_id).await,
        }
    }

    /// A write whose answer was lost is refused when it is tried again: then the event is in the buffer.
    async fn saved_already(&self, event: &Envelope, order_id: &OrderId) -> Result<(), ConsumerError> {
        let mut line = self.store.order(order_id).await?;
        match line.buffer.take(event)? {
            Arrival::Known => Ok(()),
            Arrival::Late | Arrival::Live(_) => Err(ConsumerError::Conflict),
        }
    }

    /// Posts to all, and fails when one could not be reached and is not known to be gone.
    async fn broadcast(
        &self,
        order_id: &OrderId,
        to: Vec<Subscriber>,
        frames: &[Frame],
        now: i64,
    ) -> Result<(), ConsumerError> {
        let posts = stream::iter(to).map(|subscriber| async move {
            if subscriber.is_expired(now) {
                self.expire(order_id, &subscriber.connection_id).await
            } else {
                self.post(order_id, &subscriber.connection_id, frames).await
            }
        });
        let results: Vec<Result<(), ConsumerError>> = posts.buffer_unordered(PARALLEL_POSTS).collect().await;
        tracing::info!(connections = results.len(), frames = frames.len(), "pushed");
        results.into_iter().collect()
    }

    async fn post(
        &self,
        order_id: &OrderId,
        connection_id: &str,
        frames: &[Frame],
    ) -> Result<(), ConsumerError> {
        match self.pusher.post(connection_id, frames).await? {
            Push::Delivered => Ok(()),
            Push::Gone => Ok(self.store.forget(connection_id, Some(order_id)).await?),
        }
    }

    /// Its time is over: where it is still open, the client sees it close and connects again.
    async fn expire(&self, order_id: &OrderId, connection_id: &str) -> Result<(), ConsumerError> {
        self.pusher.close(connection_id).await?;
        Ok(self.store.forget(connection_id, Some(order_id)).await?)
    }

    async fn command(&self, command: Command, now: i64) -> Result<(), ConsumerError> {
        match command {
            Command::Subscribe { order_id, after, subscriber } => {
                self.subscribe(&order_id, after, &subscriber, now).await
            }
            Command::Unsubscribe { order_id, connection_id } => {
                self.store.unsubscribe(&order_id, &connection_id).await?;
                let frame = Frame::Unsubscribed { order_id: Some(order_id.clone()) };
                self.post(&order_id, &connection_id, &[frame]).await
            }
        }
    }

    async fn subscribe(
        &self,
        order_id: &OrderId,
        after: Option<u64>,
        subscriber: &Subscriber,
        now: i64,
    ) -> Result<(), ConsumerError> {
        if subscriber.is_expired(now) {
            return self.expire(order_id, &subscriber.connection_id).await;
        }
        let line = self.store.order(order_id).await?;
        let owner = line.buffer.owner();
        if owner.is_some() && !subscriber.may_see(owner) {
            self.store.unsubscribe(order_id, &subscriber.connection_id).await?;
            let refusal = Frame::error(ErrorCode::NotFound, format!("There is no order {order_id}."));
            return self.post(order_id, &subscriber.connection_id, &[refusal]).await;
        }
        self.store.subscribe(order_id, subscriber).await?;
        let mut frames = vec![Frame::Subscribed { order_id: Some(order_id.clone()) }];
        if let Some(after) = after.filter(|_| subscriber.may_see(owner)) {
            frames.extend(line.buffer.replay(after));
        }
        self.post(order_id, &subscriber.connection_id, &frames).await
    }
}
