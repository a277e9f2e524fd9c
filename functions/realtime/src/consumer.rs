//! The queue of each order: its events and its subscriptions, handled one after the other.
//!
//! Frames are sent first and stored after that. A connection that cannot be posted to is closed at once, so
//! that it delays no other: its client reconnects and replays what it missed, behind this event in the same
//! queue. Only when it cannot be closed either (API Gateway itself is down), or API Gateway throttles, the
//! connection is stored as undelivered, and the event is retried for these connections alone: under throttling,
//! clients that all reconnect would make it worse.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsMessage};
use contracts::{Envelope, EventPayload, InvalidId, OrderId, UserId, events::UserDeleted};
use futures::{StreamExt, stream};
use lambda_kit::{
    dynamodb::{Conflict, TableError},
    error::error_chain,
    sqs::{self, EventTypes, MessageError, one_event},
};
use tracing::Instrument;

use crate::{
    domain::{Arrival, ErrorCode, Frame, NoFrame, Subscriber},
    order_queue::Command,
    push::{Push, PushError, Pusher, THROTTLED_BUDGET},
    store::{BUFFER_SECONDS, OrderChannelState, Store, UndeliveredFrames},
};

/// The event types that the subscription brings (infra/realtime.yaml). An order's event of a type of a later release has a
/// frame, too.
pub const EVENT_TYPES: EventTypes = &["order.", "payment.", "shipment.", UserDeleted::TYPE];

/// Concurrent posts. A post takes some 10 ms, so 500 connections receive an event within a fifth of a second;
/// more would use too many of the process's sockets (Lambda: 1,024 file descriptors).
const PARALLEL_POSTS: usize = 32;

#[derive(Debug, thiserror::Error)]
enum ConsumerError {
    #[error("the subject is not an id")]
    Subject(#[from] InvalidId),
    #[error(transparent)]
    Frame(#[from] NoFrame),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error("another instance changed this order's item")]
    Conflict,
    #[error("{0} connections could neither be posted to nor closed")]
    Undelivered(usize),
}

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
struct Broadcast {
    /// The open connections that did not get the frames.
    undelivered: BTreeSet<String>,
    /// Whether closed connections were deleted.
    deleted_any: bool,
}

/// An order and the connections of its owner, as they were read.
struct LoadedOrder {
    channel: OrderChannelState,
    /// The connections that follow all orders of `followed_user`.
    followers: Vec<Subscriber>,
    followed_user: Option<UserId>,
}

/// The orders of one batch, so that an order is read once and not for each of its events.
///
/// The queue gives the messages of an order to one batch at a time, and only they change it. The owner's
/// connections may change meanwhile: who connects during the batch reads the order afterwards, and finds these
/// events in it, because they were stored before the batch was delivered.
#[derive(Default)]
struct Batch(Mutex<BTreeMap<OrderId, LoadedOrder>>);

impl Batch {
    /// The caller puts back the stored state afterwards. Until then the order must be read from the table.
    fn take(&self, order_id: &OrderId) -> Option<LoadedOrder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(order_id)
    }

    fn put(&self, order_id: OrderId, loaded: LoadedOrder) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(order_id, loaded);
    }
}

/// Handles the messages of the queue.
#[derive(Debug, Clone)]
pub struct Consumer {
    store: Store,
    pusher: Pusher,
}

impl Consumer {
    pub const fn new(store: Store, pusher: Pusher) -> Self {
        Self { store, pusher }
    }

    /// Handles the messages of one delivery of the queue; `now` in Unix seconds.
    pub async fn handle_all(&self, messages: Vec<SqsMessage>, now: i64) -> SqsBatchResponse {
        let batch = &Batch::default();
        let handle = async |message| self.handle(batch, &message, now).await;
        sqs::each_message_in_order(messages, handle).await
    }

    async fn handle(&self, batch: &Batch, message: &SqsMessage, now: i64) -> Result<(), MessageError> {
        let body = message.body.as_deref().unwrap_or_default();
        if Command::is_in(body) {
            let command: Command = serde_json::from_str(body).map_err(MessageError::handler)?;
            let span = tracing::info_span!("command", order_id = command.order_id().as_str());
            batch.take(command.order_id());
            return self.command(command, now).instrument(span).await.map_err(MessageError::handler);
        }
        let handle = async |event| self.event(batch, &event, now).await.map_err(MessageError::handler);
        one_event(EVENT_TYPES, message, handle).await
    }

    async fn event(&self, batch: &Batch, event: &Envelope, now: i64) -> Result<(), ConsumerError> {
        if event.event_type == UserDeleted::TYPE {
            return self.user_deleted(&UserId::try_from(event.subject.as_str())?, now).await;
        }
        if event.occurred_at.as_second() < now - BUFFER_SECONDS {
            // The order's buffer has expired, so every frame would be taken for a new one.
            tracing::info!("republished event, not pushed");
            return Ok(());
        }
        let order_id = OrderId::try_from(event.subject.as_str())?;
        tracing::Span::current().record("order_id", order_id.as_str());
        let loaded = match batch.take(&order_id) {
            Some(loaded) => loaded,
            None => self.read(&order_id, event.metadata.user_id.as_ref()).await?,
        };
        let LoadedOrder {
            channel: OrderChannelState { mut buffer, revision, subscribers, undelivered },
            followers,
            followed_user,
        } = loaded;
        let arrival = buffer.add(event)?;
        let followers = match buffer.owner() {
            owner if owner == followed_user.as_ref() => followers,
            Some(user_id) => self.store.followers(user_id).await?,
            None => Vec::new(),
        };
        let mut to: BTreeMap<&str, &Subscriber> = BTreeMap::new();
        for subscriber in subscribers.iter().chain(&followers) {
            if subscriber.may_see(buffer.owner()) {
                to.insert(&subscriber.connection_id, subscriber);
            }
        }
        let missed_before = |subscriber: &Subscriber| {
            undelivered
                .as_ref()
                .is_some_and(|undelivered| undelivered.connections.contains(&subscriber.connection_id))
        };
        let (frames, behind) = match arrival {
            Arrival::New(frames) => {
                // An earlier event never reached these connections. A client with a gap gets no further
                // frames.
                let behind = to.values().copied().filter(|to| missed_before(to)).collect();
                to.retain(|_, subscriber| !missed_before(subscriber));
                (frames, behind)
            }
            Arrival::Late => {
                tracing::warn!(sequence = event.sequence, "event arrived late, kept for replays");
                to.clear();
                (Vec::new(), Vec::new())
            }
            Arrival::Duplicate => {
                let Some(undelivered) =
                    undelivered.as_ref().filter(|undelivered| undelivered.event_id == event.event_id)
                else {
                    return Ok(());
                };
                to.retain(|_, subscriber| missed_before(subscriber));
                (buffer.frames_again(event, undelivered.dropped), Vec::new())
            }
        };
        let Broadcast { undelivered: connections, deleted_any } =
            self.broadcast(&order_id, to.into_values().collect(), behind, &frames, now).await;
        let undelivered_count = connections.len();
        let undelivered =
            (undelivered_count > 0).then(|| UndeliveredFrames::of(&event.event_id, &frames, connections));
        match self.store.save(&order_id, &buffer, undelivered, revision, now).await? {
            Ok(()) if undelivered_count == 0 && !deleted_any => {
                let followed_user = buffer.owner().cloned();
                let channel =
                    OrderChannelState { buffer, revision: revision + 1, subscribers, undelivered: None };
                batch.put(order_id, LoadedOrder { channel, followers, followed_user });
            }
            Ok(()) => {}
            Err(Conflict) => self.check_saved(event, &order_id).await?,
        }
        if undelivered_count == 0 { Ok(()) } else { Err(ConsumerError::Undelivered(undelivered_count)) }
    }

    /// Reads an order. The event mostly names the owner, so that both can be read concurrently.
    async fn read(&self, order_id: &OrderId, owner: Option<&UserId>) -> Result<LoadedOrder, ConsumerError> {
        let (channel, followers) = futures::try_join!(self.store.order(order_id), async {
            match owner {
                Some(user_id) => self.store.followers(user_id).await,
                None => Ok(Vec::new()),
            }
        })?;
        Ok(LoadedOrder { channel, followers, followed_user: owner.cloned() })
    }

    /// A write whose answer was lost fails its condition on the retry. In that case the event is in the
    /// buffer.
    async fn check_saved(&self, event: &Envelope, order_id: &OrderId) -> Result<(), ConsumerError> {
        let mut channel = self.store.order(order_id).await?;
        match channel.buffer.add(event)? {
            Arrival::Duplicate => Ok(()),
            Arrival::Late | Arrival::New(_) => Err(ConsumerError::Conflict),
        }
    }

    /// Posts to all concurrently, and closes those that are `behind`.
    async fn broadcast(
        &self,
        order_id: &OrderId,
        to: Vec<&Subscriber>,
        behind: Vec<&Subscriber>,
        frames: &[Frame],
        now: i64,
    ) -> Broadcast {
        let connections = to.len() + behind.len();
        let until = Instant::now() + THROTTLED_BUDGET;
        let all = to.into_iter().map(|to| (to, false)).chain(behind.into_iter().map(|to| (to, true)));
        let posts = stream::iter(all).map(|(subscriber, behind)| async move {
            let (id, user_id) = (&subscriber.connection_id, Some(&subscriber.user_id));
            if behind || subscriber.is_expired(now) {
                self.close(order_id, id, user_id).await
            } else {
                self.post(order_id, id, user_id, frames, until).await
            }
        });
        let posted: Vec<Posted> = posts.buffer_unordered(PARALLEL_POSTS).collect().await;
        tracing::info!(connections, frames = frames.len(), "pushed");
        let mut left = Broadcast { undelivered: BTreeSet::new(), deleted_any: false };
        for posted in posted {
            match posted {
                Posted::Delivered => {}
                Posted::Gone => left.deleted_any = true,
                Posted::Undelivered(connection_id) => drop(left.undelivered.insert(connection_id)),
            }
        }
        left
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

    /// Deletes a closed connection. Items that remain are found at the next post, or expire.
    async fn delete_connection(&self, order_id: &OrderId, connection_id: &str, user_id: Option<&UserId>) {
        if let Err(error) = self.store.delete_connection(connection_id, Some(order_id), user_id).await {
            tracing::warn!(error = error_chain(&error), "a closed connection could not be deleted");
        }
    }

    /// Posts to one connection. On failure the client's request is retried with its message.
    async fn answer(
        &self,
        order_id: &OrderId,
        connection_id: &str,
        frames: &[Frame],
    ) -> Result<(), ConsumerError> {
        let until = Instant::now() + THROTTLED_BUDGET;
        match self.post(order_id, connection_id, None, frames, until).await {
            Posted::Delivered | Posted::Gone => Ok(()),
            Posted::Undelivered(_) => Err(ConsumerError::Undelivered(1)),
        }
    }

    /// Closes the connections of a deleted user, and admits none with an earlier ticket.
    async fn user_deleted(&self, user_id: &UserId, now: i64) -> Result<(), ConsumerError> {
        self.store.block_user(user_id, now).await?;
        for connection_id in self.store.connections_of(user_id).await? {
            self.pusher.close(&connection_id).await?;
            self.store.delete_connection(&connection_id, None, Some(user_id)).await?;
        }
        Ok(())
    }

    async fn command(&self, command: Command, now: i64) -> Result<(), ConsumerError> {
        match command {
            Command::Subscribe { order_id, after, subscriber } => {
                self.subscribe(&order_id, after, &subscriber, now).await
            }
            Command::Unsubscribe { order_id, connection_id } => {
                self.store.unsubscribe(&order_id, &connection_id).await?;
                let frame = Frame::Unsubscribed { order_id: Some(order_id.clone()) };
                self.answer(&order_id, &connection_id, &[frame]).await
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
            // Its time is over: where it is still open, the client sees it close and connects again.
            self.pusher.close(&subscriber.connection_id).await?;
            let Subscriber { connection_id, user_id, .. } = subscriber;
            return Ok(self.store.delete_connection(connection_id, Some(order_id), Some(user_id)).await?);
        }
        let channel = self.store.order(order_id).await?;
        let owner = channel.buffer.owner();
        if owner.is_some() && !subscriber.may_see(owner) {
            self.store.unsubscribe(order_id, &subscriber.connection_id).await?;
            let refusal = Frame::error(ErrorCode::NotFound, format!("There is no order {order_id}."));
            return self.answer(order_id, &subscriber.connection_id, &[refusal]).await;
        }
        self.store.subscribe(order_id, subscriber).await?;
        let mut frames = vec![Frame::Subscribed { order_id: Some(order_id.clone()) }];
        if let Some(after) = after.filter(|_| subscriber.may_see(owner)) {
            frames.extend(channel.buffer.replay(after));
        }
        self.answer(order_id, &subscriber.connection_id, &frames).await
    }
}
