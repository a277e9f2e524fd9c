//! Realtime's table.
//!
//! | pk | sk | |
//! |---|---|---|
//! | `CONNECTION#<id>` | `CONNECTION` | the connection's user, and the orders that it follows |
//! | `USER#<id>` | `CONN#<connection>` | the user's connection, and whether it follows all of the user's orders |
//! | `USER#<id>` | `PLACES` | the ids of the user's open connections: as many as a user may have |
//! | `USER#<id>` | `BARRED` | the state of the user's account, when it was deleted, suspended or restored. Expires when no earlier ticket can be valid any more |
//! | `SESSION#<id>` | `ENDED` | the session ended. Expires like the state of an account |
//! | `TICKET#<hash>` | `TICKET` | whom a ticket admits, and the connection that it was used for |
//! | `ORDER#<id>` | `BUFFER` | owner, version, status and last frames of the order, and the connections that missed the last event |
//! | `ORDER#<id>` | `SUB#<connection>` | the connection follows this order, and whether it has not got all of what it asked for |
//!
//! The events of an order in one batch cost one Query of the order, one of its owner, and one write of the buffer. That
//! one grows by some 75 bytes a frame and is mostly below 1 KB; an item for each frame would need as many write units, and more calls.

mod access;
mod places;
mod tickets;

use std::collections::BTreeSet;

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure},
};
use contracts::{EventId, OrderId, OrderStatus, UserId};
use lambda_kit::dynamodb::{
    Conflict, EXPIRES_AT, Expression, Item, PK, SK, Table, TableError, from_item, key, number, string,
    to_item,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use self::access::Access;
use crate::domain::{Buffer, BufferState, EventFrame, Frame, SUBSCRIPTIONS_MAX, ShortFrame, Subscriber};

/// How long an order's buffer is kept after its last event, in seconds.
// An order's last events, those of its delivery, follow within days or a few weeks.
pub const BUFFER_SECONDS: i64 = 30 * 24 * 60 * 60;

const CONNECTION: &str = "CONNECTION";
const BUFFER: &str = "BUFFER";
const CONN: &str = "CONN#";
const SUBSCRIPTIONS: &str = "subscriptions";

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

/// The frames, subscribers and undelivered frames of one order.
#[derive(Debug, Clone, Default)]
pub struct OrderChannelState {
    pub buffer: Buffer,
    /// The number of writes of the buffer; the next write's condition.
    pub revision: u64,
    pub subscribers: Vec<Subscriber>,
    /// The connections of subscribers that did not get all frames from before they subscribed.
    pub behind: BTreeSet<String>,
    pub undelivered: Option<UndeliveredFrames>,
}

/// The newest event, with the connections that it did not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndeliveredFrames {
    pub event_id: EventId,
    /// Order frames that were announced as missing before it.
    pub dropped: u64,
    pub connections: BTreeSet<String>,
    /// Those of them that had a gap before this event, and could not be closed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unclosed: BTreeSet<String>,
}

impl UndeliveredFrames {
    /// `frames` are those of the event, and `behind` the connections that had a gap before it.
    pub fn of(
        event_id: &EventId,
        frames: &[Frame],
        behind: &[Subscriber],
        connections: BTreeSet<String>,
    ) -> Self {
        let dropped = match frames.first() {
            Some(Frame::Gap { dropped, .. }) => *dropped,
            _ => 0,
        };
        let unclosed = behind.iter().map(|to| to.connection_id.clone()).filter(|id| connections.contains(id));
        let unclosed = unclosed.collect();
        Self { event_id: event_id.clone(), dropped, connections, unclosed }
    }
}

/// Whether a connection is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Granted,
    /// The account was deleted or suspended, or the session has ended.
    Denied(Access),
    /// The user has as many connections as a user may have.
    Full,
}

/// A connection among those of its user.
#[derive(Serialize, Deserialize)]
struct Connected {
    #[serde(flatten)]
    subscriber: Subscriber,
    /// Whether it follows all of the user's orders.
    #[serde(default)]
    all: bool,
}

/// A connection among those that follow an order.
#[derive(Serialize, Deserialize)]
struct Subscription {
    #[serde(flatten)]
    subscriber: Subscriber,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_behind: bool,
}

/// The result of a subscription to one more order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    Taken(Subscriber),
    /// The connection follows as many orders as it may.
    Full,
    /// The connection is unknown or has expired.
    Unknown,
}

#[derive(Serialize, Deserialize)]
struct BufferItem {
    owner: Option<UserId>,
    version: u64,
    status: Option<OrderStatus>,
    /// A list of frames in full, as JSON: those of buffers from before there was a short form, and of buffers with an
    /// undelivered event.
    // A function of the version before that form reads this attribute alone. It may get the event again, which it must
    // find here. Without that, it announces the frames as missing.
    frames: String,
    /// The list in the short form, as JSON.
    // The text is shorter than the same as attributes, and is always read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    short_frames: Option<String>,
    // The attribute keeps its first name, because stored buffers have it.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "owed")]
    undelivered: Option<UndeliveredFrames>,
    revision: u64,
    expires_at: i64,
}

impl BufferItem {
    fn frames_of(&self, operation: &'static str, order_id: &OrderId) -> Result<Vec<EventFrame>, TableError> {
        let malformed = |e| TableError::item(operation, e);
        let Some(short) = &self.short_frames else {
            return serde_json::from_str(&self.frames).map_err(malformed);
        };
        let short = serde_json::from_str(short).map_err(malformed)?;
        ShortFrame::in_full(order_id, short).map_err(|e| TableError::item(operation, e))
    }
}

impl Store {
    pub const fn new(table: Table) -> Self {
        Self { table }
    }

    /// Stores a new connection, unless its user may have none, or no further one.
    pub async fn connect(&self, subscriber: &Subscriber, now: i64) -> Result<Admission, TableError> {
        const OPERATION: &str = "connecting";
        let Subscriber { connection_id, user_id, session_id, .. } = subscriber;
        let connected = Connected { subscriber: subscriber.clone(), all: false };
        let items = vec![
            item_of(OPERATION, connection_key(connection_id), subscriber)?,
            item_of(OPERATION, follower_key(user_id, connection_id), &connected)?,
        ];
        // The connection is stored before the marks are read: either this code sees the mark of a deletion, or the
        // deletion sees the connection.
        self.table.batch_put(OPERATION, items).await?;
        let (access, has_place) = tokio::try_join!(
            self.access(user_id, session_id.as_ref(), now),
            self.take_place(user_id, connection_id, now),
        )?;
        let admission = match access {
            Access::Granted if has_place => return Ok(Admission::Granted),
            Access::Granted => Admission::Full,
            denied => Admission::Denied(denied),
        };
        self.delete_connection(connection_id, None, Some(user_id)).await?;
        Ok(admission)
    }

    /// The connections of a user.
    pub async fn connections_of(&self, user_id: &UserId) -> Result<Vec<Subscriber>, TableError> {
        let connected = self.connected("reading a user's connections", user_id).await?;
        Ok(connected.into_iter().map(|connected| connected.subscriber).collect())
    }

    /// A connection that exists and has not expired.
    pub async fn connection(&self, connection_id: &str, now: i64) -> Result<Option<Subscriber>, TableError> {
        const OPERATION: &str = "reading a connection";
        let item = self.table.get_item(OPERATION, connection_key(connection_id)).await?;
        let subscriber: Option<Subscriber> = item.map(|item| read(OPERATION, item)).transpose()?;
        Ok(subscriber.filter(|subscriber| !subscriber.is_expired(now)))
    }

    /// Records on the connection that it follows an order, if it may follow one more. A repeat changes nothing.
    pub async fn take_slot(
        &self,
        connection_id: &str,
        order_id: &OrderId,
        now: i64,
    ) -> Result<Slot, TableError> {
        const OPERATION: &str = "taking a slot";
        let answer = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(connection_key(connection_id)))
            .update_expression("ADD subscriptions :orders")
            // A repeat (`contains`) takes no further slot, so it is accepted at the limit, too. The time is
            // compared, because DynamoDB may delete an expired item days later.
            .condition_expression(
                "attribute_exists(pk) AND expires_at > :now AND (attribute_not_exists(subscriptions) \
                 OR contains(subscriptions, :order) OR size(subscriptions) < :max)",
            )
            .expression_attribute_values(":orders", AttributeValue::Ss(vec![order_id.to_string()]))
            .expression_attribute_values(":order", string(order_id.as_str()))
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":max", number(SUBSCRIPTIONS_MAX))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let item = answer.attributes.ok_or_else(|| TableError::item(OPERATION, "no item"))?;
                read(OPERATION, item).map(Slot::Taken)
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failure)) => {
                    let known = failure.item().map(|item| read::<Subscriber>(OPERATION, item.clone()));
                    let alive = known.transpose()?.is_some_and(|subscriber| !subscriber.is_expired(now));
                    Ok(if alive { Slot::Full } else { Slot::Unknown })
                }
                _ => Err(TableError::call(OPERATION, error)),
            },
        }
    }

    /// Lets a connection follow an order. Its slot is taken already.
    pub async fn subscribe(&self, order_id: &OrderId, subscriber: &Subscriber) -> Result<(), TableError> {
        self.put_subscription("subscribing", order_id, subscriber, false).await
    }

    /// Lets a connection follow an order that does not have all frames from before. It gets no later ones until
    /// [`Store::catch_up`].
    pub async fn leave_behind(&self, order_id: &OrderId, subscriber: &Subscriber) -> Result<(), TableError> {
        self.put_subscription("leaving a connection behind", order_id, subscriber, true).await
    }

    /// Records that a connection has all frames from before, unless its subscription has ended.
    pub async fn catch_up(&self, order_id: &OrderId, connection_id: &str) -> Result<(), TableError> {
        let key = subscription_key(order_id, connection_id);
        let update = Expression::new("REMOVE is_behind");
        let (Ok(()) | Err(Conflict)) =
            self.table.update_if("catching up", key, update, "attribute_exists(pk)").await?;
        Ok(())
    }

    async fn put_subscription(
        &self,
        operation: &'static str,
        order_id: &OrderId,
        subscriber: &Subscriber,
        is_behind: bool,
    ) -> Result<(), TableError> {
        let key = subscription_key(order_id, &subscriber.connection_id);
        let item = item_of(operation, key, &Subscription { subscriber: subscriber.clone(), is_behind })?;
        self.table.put(operation, item).await
    }

    /// Ends a subscription, and frees its slot.
    pub async fn unsubscribe(&self, order_id: &OrderId, connection_id: &str) -> Result<(), TableError> {
        const OPERATION: &str = "unsubscribing";
        // The subscription is deleted before its slot is freed. If the function dies in between, the message is
        // retried and frees the slot. In the other order, a connection could follow more orders than it has
        // slots.
        self.table.delete(OPERATION, subscription_key(order_id, connection_id)).await?;
        let orders = AttributeValue::Ss(vec![order_id.to_string()]);
        let update = Expression::new("DELETE subscriptions :orders").value(":orders", orders);
        let key = connection_key(connection_id);
        // A connection that has ended has no slots.
        let (Ok(()) | Err(Conflict)) =
            self.table.update_if(OPERATION, key, update, "attribute_exists(pk)").await?;
        Ok(())
    }

    /// Subscribes a connection to all orders of its user. False when the connection ended meanwhile.
    pub async fn follow_all(&self, subscriber: &Subscriber) -> Result<bool, TableError> {
        self.put_follower("following all", subscriber, true).await
    }

    /// Ends that subscription. False when the connection ended meanwhile.
    pub async fn unfollow_all(&self, subscriber: &Subscriber) -> Result<bool, TableError> {
        self.put_follower("unfollowing all", subscriber, false).await
    }

    async fn put_follower(
        &self,
        operation: &'static str,
        subscriber: &Subscriber,
        all: bool,
    ) -> Result<bool, TableError> {
        let key = follower_key(&subscriber.user_id, &subscriber.connection_id);
        let item = item_of(operation, key, &Connected { subscriber: subscriber.clone(), all })?;
        // Its `$disconnect` may have removed it, and nothing would remove it a second time.
        Ok(self.table.put_if(operation, item, "attribute_exists(pk)").await?.is_ok())
    }

    /// The connections that follow all orders of a user.
    pub async fn followers(&self, user_id: &UserId) -> Result<Vec<Subscriber>, TableError> {
        let connected = self.connected("reading followers", user_id).await?;
        Ok(connected.into_iter().filter(|connected| connected.all).map(|each| each.subscriber).collect())
    }

    async fn connected(
        &self,
        operation: &'static str,
        user_id: &UserId,
    ) -> Result<Vec<Connected>, TableError> {
        let query = self
            .table
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND begins_with(sk, :connections)")
            .expression_attribute_values(":pk", string(user_pk(user_id)))
            .expression_attribute_values(":connections", string(CONN));
        let items = self.table.query_all(operation, query).await?;
        items.into_iter().map(|item| read(operation, item)).collect()
    }

    /// Everything under an order, which may be nothing.
    pub async fn order(&self, order_id: &OrderId) -> Result<OrderChannelState, TableError> {
        const OPERATION: &str = "reading an order's channel";
        let mut channel = OrderChannelState::default();
        // Consistent: a subscription that has been confirmed to the client must be seen by the next event.
        let query = self
            .table
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", string(order_pk(order_id)));
        for item in self.table.query_all(OPERATION, query).await? {
            if item.get(SK) == Some(&string(BUFFER)) {
                let item: BufferItem = read(OPERATION, item)?;
                channel.revision = item.revision;
                let frames = item.frames_of(OPERATION, order_id)?;
                channel.undelivered = item.undelivered;
                channel.buffer = Buffer::restore(BufferState {
                    owner: item.owner,
                    version: item.version,
                    status: item.status,
                    frames,
                });
            } else {
                let Subscription { subscriber, is_behind } = read(OPERATION, item)?;
                channel.behind.extend(is_behind.then(|| subscriber.connection_id.clone()));
                channel.subscribers.push(subscriber);
            }
        }
        Ok(channel)
    }

    /// Writes an order's buffer over the one that `channel.revision` was read with. Conflicts when another
    /// instance wrote it meanwhile.
    pub async fn save(
        &self,
        order_id: &OrderId,
        channel: &OrderChannelState,
        now: i64,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "saving an order's frames";
        let state = channel.buffer.state();
        let (full, short) = match channel.undelivered {
            Some(_) => (json(OPERATION, &state.frames)?, None),
            None => ("[]".to_owned(), Some(json(OPERATION, &ShortFrame::all_of(&state.frames))?)),
        };
        let item = BufferItem {
            owner: state.owner.clone(),
            version: state.version,
            status: state.status,
            frames: full,
            short_frames: short,
            undelivered: channel.undelivered.clone(),
            revision: channel.revision + 1,
            expires_at: now + BUFFER_SECONDS,
        };
        let item = item_of(OPERATION, key(order_pk(order_id), BUFFER), &item)?;
        // The queue gives an order to one invocation at a time. Should two invocations handle it nevertheless,
        // the later write must not overwrite frames that it has not read.
        let unchanged = Expression::new("attribute_not_exists(pk) OR revision = :revision")
            .value(":revision", number(channel.revision));
        self.table.put_if(OPERATION, item, unchanged).await
    }

    /// Removes a connection with all that it follows. `order_id` and `user_id` are those that it was found under: the
    /// connection's own item may have gone before. Safe to repeat.
    pub async fn delete_connection(
        &self,
        connection_id: &str,
        order_id: Option<&OrderId>,
        user_id: Option<&UserId>,
    ) -> Result<(), TableError> {
        const OPERATION: &str = "deleting a connection";
        let connection = self.table.get_item(OPERATION, connection_key(connection_id)).await?;
        let mut keys = Vec::new();
        if let Some(item) = &connection {
            let listed = item.get(SUBSCRIPTIONS).and_then(|value| value.as_ss().ok()).into_iter().flatten();
            keys.extend(
                listed
                    .filter_map(|id| OrderId::try_from(id.as_str()).ok())
                    .filter(|id| Some(id) != order_id)
                    .map(|id| subscription_key(&id, connection_id)),
            );
        }
        let known: Option<Subscriber> = connection.clone().map(|item| read(OPERATION, item)).transpose()?;
        let user_id = known.as_ref().map(|subscriber| &subscriber.user_id).or(user_id);
        keys.extend(user_id.map(|user_id| follower_key(user_id, connection_id)));
        keys.extend(order_id.map(|id| subscription_key(id, connection_id)));
        self.table.batch_delete(OPERATION, keys).await?;
        // The place is freed when the connection is no longer among those of its user.
        if let Some(user_id) = user_id {
            self.free_places(user_id, vec![connection_id.to_owned()]).await?;
        }
        // Last, so that a repeat still finds the list.
        if connection.is_some() {
            self.table.delete(OPERATION, connection_key(connection_id)).await
        } else {
            Ok(())
        }
    }
}

fn order_pk(order_id: &OrderId) -> String {
    format!("ORDER#{order_id}")
}

fn user_pk(user_id: &UserId) -> String {
    format!("USER#{user_id}")
}

fn connection_key(connection_id: &str) -> Item {
    key(format!("CONNECTION#{connection_id}"), CONNECTION)
}

fn subscription_key(order_id: &OrderId, connection_id: &str) -> Item {
    key(order_pk(order_id), format!("SUB#{connection_id}"))
}

fn follower_key(user_id: &UserId, connection_id: &str) -> Item {
    key(user_pk(user_id), format!("{CONN}{connection_id}"))
}

fn item_of<T: Serialize>(operation: &'static str, key: Item, value: &T) -> Result<Item, TableError> {
    let item = to_item(operation, key, value)?;
    debug_assert!(item.contains_key(EXPIRES_AT), "every item of this table ends by itself");
    Ok(item)
}

fn json<T: Serialize>(operation: &'static str, value: &T) -> Result<String, TableError> {
    serde_json::to_string(value).map_err(|e| TableError::item(operation, e))
}

fn read<T: DeserializeOwned>(operation: &'static str, mut item: Item) -> Result<T, TableError> {
    item.remove(PK);
    from_item(operation, item)
}
