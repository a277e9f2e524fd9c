//! Decides what an event, a subscription or a deletion changes about an order's channel, pushes the frames, and stores
//! the channel.
//!
//! Frames are sent first and stored after that, those of all events of an order in a batch with one write. Connections that neither got the frames nor could be closed are stored
//! as undelivered, and the event is retried for them alone.

use std::collections::BTreeMap;
use std::iter;

use contracts::{DecodeError, Envelope, EventPayload, InvalidId, OrderId, UserId, events::SessionEnded};
use lambda_kit::{
    account::AccountState,
    dynamodb::{Conflict, TableError},
};

use crate::{
    connections::{Broadcast, Connections},
    domain::{Arrival, ErrorCode, Frame, NoFrame, Subscriber},
    order_queue::Command,
    push::{PushError, Pusher},
    store::{BUFFER_SECONDS, OrderChannelState, Store, UndeliveredFrames},
};

/// Why a message is retried.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    #[error("the subject is not an id")]
    Subject(#[from] InvalidId),
    #[error(transparent)]
    Decode(#[from] DecodeError),
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

/// An order and the connections of its owner, as they were read.
struct LoadedOrder {
    channel: OrderChannelState,
    /// The connections that follow all orders of `followed_user`.
    followers: Vec<Subscriber>,
    followed_user: Option<UserId>,
}

/// What an event pushes, and to which connections.
#[derive(Default)]
struct PushPlan {
    frames: Vec<Frame>,
    to: Vec<Subscriber>,
    /// These missed an earlier event, or a part of a replay, and are closed: a client with a gap gets no further frames.
    behind: Vec<Subscriber>,
    /// What stays undelivered from an earlier event.
    still_undelivered: Option<UndeliveredFrames>,
}

impl LoadedOrder {
    /// Decides what to push for an event that was added to the buffer. `None` when nothing is left to do.
    fn plan(&self, event: &Envelope, arrival: Arrival) -> Option<PushPlan> {
        let OrderChannelState { buffer, subscribers, behind, undelivered, .. } = &self.channel;
        let seeing = subscribers.iter().chain(&self.followers).filter(|to| to.may_see(buffer.owner()));
        // By connection: one may follow the order and all orders of its user.
        let connections: BTreeMap<&str, &Subscriber> =
            seeing.map(|subscriber| (subscriber.connection_id.as_str(), subscriber)).collect();
        let missed = |to: &Subscriber| {
            undelivered.as_ref().is_some_and(|earlier| earlier.connections.contains(&to.connection_id))
        };
        let (behind, up_to_date): (Vec<Subscriber>, Vec<_>) =
            connections.into_values().cloned().partition(|to| behind.contains(&to.connection_id));
        let (missing, to): (Vec<Subscriber>, _) = up_to_date.into_iter().partition(missed);
        Some(match arrival {
            Arrival::New(frames) => {
                PushPlan { frames, to, behind: [behind, missing].concat(), still_undelivered: None }
            }
            Arrival::Late => {
                tracing::warn!(sequence = event.sequence, "event arrived late, kept for replays");
                PushPlan { still_undelivered: undelivered.clone(), ..PushPlan::default() }
            }
            Arrival::Duplicate => {
                let UndeliveredFrames { dropped, unclosed, .. } =
                    undelivered.as_ref().filter(|undelivered| undelivered.event_id == event.event_id)?;
                let (gapped, to): (Vec<Subscriber>, _) =
                    missing.into_iter().partition(|to| unclosed.contains(&to.connection_id));
                let behind = gapped.into_iter().chain(behind.into_iter().filter(missed)).collect();
                let frames = buffer.frames_again(event, *dropped);
                PushPlan { frames, to, behind, still_undelivered: None }
            }
        })
    }
}

/// The order of one message group while its messages are handled: it is read once, and stored once for all its events.
///
/// The queue gives the messages of an order to one batch at a time, and only they change it. The owner's
/// connections may change meanwhile: who connects during the batch reads the order afterwards, and finds these
/// events in it, because they were stored before the batch was delivered.
#[derive(Default)]
pub struct Session {
    order: Option<(OrderId, LoadedOrder)>,
    /// The newest event that was pushed and is not stored.
    unsaved: Option<Envelope>,
    /// Connections of the order were deleted.
    is_outdated: bool,
}

impl Session {
    /// Whether all events that were handled are stored.
    pub const fn is_saved(&self) -> bool {
        self.unsaved.is_none()
    }
}

/// Handles the events and commands of orders.
#[derive(Debug, Clone)]
pub struct Handler {
    store: Store,
    pusher: Pusher,
    connections: Connections,
}

impl Handler {
    pub fn new(store: Store, pusher: Pusher) -> Self {
        let connections = Connections::new(store.clone(), pusher.clone());
        Self { store, pusher, connections }
    }

    /// Handles one event; `now` in Unix seconds. [`save`](Self::save) stores it.
    ///
    /// # Errors
    /// When the event must be retried.
    pub async fn event(&self, session: &mut Session, event: &Envelope, now: i64) -> Result<(), HandlerError> {
        if let Some(state) = AccountState::of(event) {
            return self.account(event, state).await;
        }
        if event.event_type == SessionEnded::TYPE {
            return self.session_ended(event).await;
        }
        if event.occurred_at.as_second() < now - BUFFER_SECONDS {
            // The order's buffer has expired, so every frame would be taken for a new one.
            tracing::info!("republished event, not pushed");
            return Ok(());
        }
        self.order_event(session, event, now).await
    }

    async fn order_event(
        &self,
        session: &mut Session,
        event: &Envelope,
        now: i64,
    ) -> Result<(), HandlerError> {
        let order_id = OrderId::try_from(event.subject.as_str())?;
        tracing::Span::current().record("order_id", order_id.as_str());
        if session.is_outdated || session.order.as_ref().is_none_or(|(known, _)| *known != order_id) {
            self.close(session, now).await?;
            let loaded = self.read(&order_id, event.metadata.user_id.as_ref()).await?;
            session.order = Some((order_id, loaded));
        }
        let Some((order_id, loaded)) = &mut session.order else { return Ok(()) };
        let arrival = loaded.channel.buffer.add(event)?;
        self.update_followers(loaded).await?;
        let Some(PushPlan { frames, to, behind, still_undelivered }) = loaded.plan(event, arrival) else {
            return Ok(());
        };
        // The frames go out before the state is stored. If the function dies in between, the event is delivered
        // again and its frames go out twice. In the other order the event would then be taken for a duplicate,
        // and its frames would never go out.
        let Broadcast { undelivered, deleted_any } =
            self.connections.broadcast(order_id, &to, &behind, &frames, now).await;
        let missed = undelivered.len();
        loaded.channel.undelivered = if missed == 0 {
            still_undelivered
        } else {
            Some(UndeliveredFrames::of(&event.event_id, &frames, &behind, undelivered))
        };
        session.unsaved = Some(event.clone());
        session.is_outdated |= deleted_any;
        if missed == 0 { Ok(()) } else { Err(HandlerError::Undelivered(missed)) }
    }

    /// Stores the order with the events that were pushed.
    ///
    /// # Errors
    /// When all events since the last success must be retried.
    pub async fn save(&self, session: &mut Session, now: i64) -> Result<(), HandlerError> {
        let (Some(event), Some((order_id, loaded))) = (&session.unsaved, &mut session.order) else {
            return Ok(());
        };
        match self.store.save(order_id, &loaded.channel, now).await? {
            Ok(()) => loaded.channel.revision += 1,
            Err(Conflict) => {
                self.check_saved(event, order_id).await?;
                session.is_outdated = true;
            }
        }
        session.unsaved = None;
        Ok(())
    }

    /// Stores the order, and forgets it.
    async fn close(&self, session: &mut Session, now: i64) -> Result<(), HandlerError> {
        self.save(session, now).await?;
        *session = Session::default();
        Ok(())
    }

    /// Reads an order. The event mostly names the owner, so that both can be read concurrently.
    async fn read(&self, order_id: &OrderId, owner: Option<&UserId>) -> Result<LoadedOrder, HandlerError> {
        let (channel, followers) = futures::try_join!(self.store.order(order_id), async {
            match owner {
                Some(user_id) => self.store.followers(user_id).await,
                None => Ok(Vec::new()),
            }
        })?;
        Ok(LoadedOrder { channel, followers, followed_user: owner.cloned() })
    }

    /// Reads the followers again when the event told another owner than the one that they were read for.
    async fn update_followers(&self, loaded: &mut LoadedOrder) -> Result<(), TableError> {
        let owner = loaded.channel.buffer.owner();
        if owner != loaded.followed_user.as_ref() {
            loaded.followers = match owner {
                Some(user_id) => self.store.followers(user_id).await?,
                None => Vec::new(),
            };
            loaded.followed_user = loaded.channel.buffer.owner().cloned();
        }
        Ok(())
    }

    /// Checks whether a save that met a conflict had succeeded before.
    async fn check_saved(&self, event: &Envelope, order_id: &OrderId) -> Result<(), HandlerError> {
        // The SDK repeats a write whose answer was lost, and the repeat fails its condition. The event is in
        // the buffer then, with those before it.
        let mut channel = self.store.order(order_id).await?;
        match channel.buffer.add(event)? {
            Arrival::Duplicate => Ok(()),
            Arrival::Late | Arrival::New(_) => Err(HandlerError::Conflict),
        }
    }

    /// Closes the connections of a deleted or suspended user, and admits none until the account is restored.
    async fn account(&self, event: &Envelope, state: AccountState) -> Result<(), HandlerError> {
        let user_id = UserId::try_from(event.subject.as_str())?;
        // The mark is stored first. A client that connects meanwhile sees it, or its connection is among those
        // that are closed.
        let recorded = self.store.record_account(&user_id, state, event).await?;
        match (recorded, state) {
            (Ok(()), AccountState::Suspended | AccountState::Deleted) => {
                self.close_all(&user_id, |_| true).await
            }
            (Ok(()), AccountState::Active) => Ok(()),
            (Err(Conflict), _) => {
                tracing::info!(version = event.sequence, "stale event ignored");
                Ok(())
            }
        }
    }

    /// Closes the connections of a session, and admits none with its tickets.
    async fn session_ended(&self, event: &Envelope) -> Result<(), HandlerError> {
        let SessionEnded { session_id, user_id } = event.decode()?;
        // The mark first, as in `account`.
        self.store.end_session(&session_id, event.occurred_at.as_second()).await?;
        self.close_all(&user_id, |connection| connection.session_id.as_ref() == Some(&session_id)).await
    }

    /// Closes the connections of a user that `which` chooses.
    async fn close_all(
        &self,
        user_id: &UserId,
        which: impl Fn(&Subscriber) -> bool,
    ) -> Result<(), HandlerError> {
        for connection in
            self.store.connections_of(user_id).await?.iter().filter(|connection| which(connection))
        {
            // The connection is closed before it is deleted. After an error the event is retried, and finds it
            // here again.
            self.pusher.close(&connection.connection_id).await?;
            self.store.delete_connection(&connection.connection_id, None, Some(user_id)).await?;
        }
        Ok(())
    }

    /// Handles a request of a client that was queued behind the order's events; `now` in Unix seconds.
    ///
    /// # Errors
    /// When the command must be retried.
    pub async fn command(
        &self,
        session: &mut Session,
        command: Command,
        now: i64,
    ) -> Result<(), HandlerError> {
        // It reads the order, and changes who follows it.
        self.close(session, now).await?;
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

    /// Posts to one connection. On failure the client's request is retried with its message.
    async fn answer(
        &self,
        order_id: &OrderId,
        connection_id: &str,
        frames: &[Frame],
    ) -> Result<(), HandlerError> {
        if self.connections.answer(order_id, connection_id, frames).await {
            Ok(())
        } else {
            Err(HandlerError::Undelivered(1))
        }
    }

    async fn subscribe(
        &self,
        order_id: &OrderId,
        after: Option<u64>,
        subscriber: &Subscriber,
        now: i64,
    ) -> Result<(), HandlerError> {
        if subscriber.is_expired(now) {
            // Its time is over: where it is still open, the client sees it close and connects again.
            self.pusher.close(&subscriber.connection_id).await?;
            let Subscriber { connection_id, user_id, .. } = subscriber;
            return Ok(self.store.delete_connection(connection_id, Some(order_id), Some(user_id)).await?);
        }
        // No event of the order can arrive between this read and the subscription: the queue gives the messages
        // of an order to one invocation at a time. So no frame is lost between the replayed and the live ones.
        let channel = self.store.order(order_id).await?;
        let owner = channel.buffer.owner();
        if owner.is_some() && !subscriber.may_see(owner) {
            // This frees the slot that realtime-ws took for the request.
            self.store.unsubscribe(order_id, &subscriber.connection_id).await?;
            let refusal = Frame::error(ErrorCode::NotFound, format!("There is no order {order_id}."));
            return self.answer(order_id, &subscriber.connection_id, &[refusal]).await;
        }
        // This is done also while the owner is unknown: a client may follow an order before its first event is
        // here. Each event checks again who may see it.
        let subscribed = Frame::Subscribed { order_id: Some(order_id.clone()) };
        let connection_id = &subscriber.connection_id;
        let after = after.filter(|_| subscriber.may_see(owner));
        let replay = after.map(|after| channel.buffer.replay(after)).unwrap_or_default();
        if replay.is_empty() {
            self.store.subscribe(order_id, subscriber).await?;
            return self.answer(order_id, connection_id, &[subscribed]).await;
        }
        // It is behind until it has all of them. If the function dies or a frame cannot be posted, and no retry brings the
        // rest, the frames of later events would have a hole before them.
        self.store.leave_behind(order_id, subscriber).await?;
        let frames: Vec<Frame> = iter::once(subscribed).chain(replay).collect();
        self.answer(order_id, connection_id, &frames).await?;
        Ok(self.store.catch_up(order_id, connection_id).await?)
    }
}
