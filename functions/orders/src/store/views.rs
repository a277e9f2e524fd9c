//! Order views: where each order stands, one item an order, keyed as lists need it. Copies, written by the relay after
//! the commits, which are the truth: made anew from them at any time.
//!
//! An order that somebody still has to see to is also in the sparse index `watch`. On its way an order costs 5 write units
//! here (placed: item and index, reserved: item, completed: item and index again, to leave it).

use std::{collections::HashMap, str::FromStr};

use aws_sdk_dynamodb::types::AttributeValue;
use contracts::{Envelope, OrderId, OrderStatus, UserId, events::OrderCancelled};
use jiff::Timestamp;
use lambda_kit::dynamodb::{Item, PK, SK, TableError, condition_failed, key, number, string};

use super::{
    Store, StoreError,
    item::{ItemError, text},
};
use crate::domain::History;

pub(super) const USER_ID: &str = "user_id";
pub(crate) const PLACED_AT: &str = "placed_at";
pub(crate) const STATUS: &str = "status";
/// The sparse index and its partition key.
const WATCH: &str = "watch";
const WATCHED_SINCE: &str = "watched_since";

/// Open orders are spread over so many partitions of the index, by the last digit of their ids: each takes 1,000 writes a
/// second, and one that is full would hold up the table.
const OPEN_PARTITIONS: &str = "0123456789abcdef";

/// An order that was cancelled for one of these steps never came to its payment.
const BEFORE_THE_PAYMENT: [&str; 2] = ["ReserveInventory", "RecordReservation"];

/// Where an order stands after one of its commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub placed_at: Timestamp,
    pub status: OrderStatus,
    pub version: u64,
    /// When the last event happened.
    pub updated_at: Timestamp,
    /// Whether money may have been taken by then.
    pub may_have_paid: bool,
}

/// Why an order is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// It has not ended. Watched since it was placed.
    Open,
    /// An undo failed. Watched since then.
    Attention,
    /// It was cancelled, and nobody has looked yet whether its money is back. Watched since then, if it came to its
    /// payment: most of those that are cancelled at once, out of stock, did not.
    Cancelled,
}

/// A watched order. As of a read that may be a second late: load the order before anything is done about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    pub order_id: OrderId,
    pub user_id: UserId,
    /// As the index has it.
    pub since: String,
    key: Item,
}

/// A page of watched orders, and where the next one begins.
#[derive(Debug)]
pub struct Page {
    pub orders: Vec<Watched>,
    pub next: Option<HashMap<String, AttributeValue>>,
}

/// With milliseconds, always: times of one length sort as text.
pub(super) fn sortable(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Whether money may have been taken for an order whose last event this is.
pub fn may_have_paid(last: &Envelope) -> bool {
    let end = last.decode::<OrderCancelled>();
    end.map_or(true, |end| !BEFORE_THE_PAYMENT.contains(&end.step.as_str()))
}

fn view_key(user_id: &UserId, placed_at: &str, order_id: &OrderId) -> Item {
    key(format!("CUSTOMER#{user_id}"), format!("ORDER#{placed_at}#{order_id}"))
}

impl From<&History> for Standing {
    fn from(history: &History) -> Self {
        Self {
            order_id: history.order_id.clone(),
            user_id: history.user_id.clone(),
            placed_at: history.created_at,
            status: history.order.status,
            version: history.order.version,
            updated_at: history.updated_at,
            may_have_paid: history.events.last().is_none_or(|event| may_have_paid(&event.envelope)),
        }
    }
}

impl Standing {
    fn watch(&self) -> Option<(String, Timestamp)> {
        match self.status {
            OrderStatus::OrderCompleted => None,
            OrderStatus::OrderCancelled if !self.may_have_paid => None,
            OrderStatus::OrderCancelled => Some((Watch::Cancelled.partition(""), self.updated_at)),
            OrderStatus::NeedsAttention => Some((Watch::Attention.partition(""), self.updated_at)),
            _ => {
                let id = self.order_id.as_str();
                Some((Watch::Open.partition(&id[id.len() - 1..]), self.placed_at))
            }
        }
    }
}

impl Watch {
    fn partition(self, last_digit: &str) -> String {
        match self {
            Self::Open => format!("open#{last_digit}"),
            Self::Attention => "attention".to_owned(),
            Self::Cancelled => "cancelled".to_owned(),
        }
    }

    /// The index's partitions that hold these orders.
    pub fn partitions(self) -> Vec<String> {
        match self {
            Self::Open => OPEN_PARTITIONS.chars().map(|digit| self.partition(&digit.to_string())).collect(),
            Self::Attention | Self::Cancelled => vec![self.partition("")],
        }
    }
}

impl Store {
    /// Brings an order's view to this standing, unless it knows a later one: in any order, as often as it comes.
    pub async fn project(&self, standing: &Standing) -> Result<(), StoreError> {
        const OPERATION: &str = "writing an order's view";
        let placed_at = sortable(standing.placed_at);
        let key = view_key(&standing.user_id, &placed_at, &standing.order_id);
        let watch = standing.watch();
        let set = "SET #status = :status, version = :version, updated_at = :updated_at, order_id = :order_id";
        let set = match &watch {
            Some(_) => format!("{set}, watch = :watch, watched_since = :since"),
            None => format!("{set} REMOVE watch, watched_since"),
        };
        let mut update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(key))
            .update_expression(set)
            .condition_expression("attribute_not_exists(version) OR version < :version")
            .expression_attribute_names("#status", STATUS)
            .expression_attribute_values(":status", string(standing.status.as_str()))
            .expression_attribute_values(":version", number(standing.version))
            .expression_attribute_values(":updated_at", string(sortable(standing.updated_at)))
            .expression_attribute_values(":order_id", string(standing.order_id.as_str()));
        if let Some((partition, since)) = watch {
            update = update
                .expression_attribute_values(":watch", string(partition))
                .expression_attribute_values(":since", string(sortable(since)));
        }
        match update.send().await {
            Ok(_) => Ok(()),
            // It knows this version, or a later one.
            Err(error) if condition_failed(&error) => Ok(()),
            Err(error) => Err(TableError::call(OPERATION, error).into()),
        }
    }

    /// One page of the orders of a partition that are watched since before `until`, the longest watched first.
    pub async fn watched(
        &self,
        partition: &str,
        until: Timestamp,
        limit: i32,
        from: Option<HashMap<String, AttributeValue>>,
    ) -> Result<Page, StoreError> {
        const OPERATION: &str = "listing watched orders";
        let page = self
            .table
            .client
            .query()
            .table_name(&self.table.name)
            .index_name(WATCH)
            .key_condition_expression("watch = :partition AND watched_since < :until")
            .expression_attribute_values(":partition", string(partition))
            .expression_attribute_values(":until", string(sortable(until)))
            .limit(limit)
            .set_exclusive_start_key(from)
            .send()
            .await
            .map_err(|e| TableError::call(OPERATION, e))?;
        let orders = page.items.unwrap_or_default().iter().map(watched_order).collect::<Result<_, _>>();
        Ok(Page {
            orders: orders.map_err(|e| TableError::item(OPERATION, e))?,
            next: page.last_evaluated_key.filter(|key| key.contains_key(SK)),
        })
    }

    /// Ends the watch over a cancelled order. It may have ended before.
    pub async fn unwatch_cancelled(&self, order: &Watched) -> Result<(), StoreError> {
        const OPERATION: &str = "ending the watch over an order";
        let update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(order.key.clone()))
            .update_expression("REMOVE watch, watched_since")
            .condition_expression("watch = :cancelled")
            .expression_attribute_values(":cancelled", string(Watch::Cancelled.partition("")));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if condition_failed(&error) => Ok(()),
            Err(error) => Err(TableError::call(OPERATION, error).into()),
        }
    }
}

/// The index holds keys only: all else is in them.
fn watched_order(item: &Item) -> Result<Watched, ItemError> {
    let order_id = text(item, SK)?.rsplit_once('#').map(|(_, id)| OrderId::from_str(id));
    let user_id = text(item, PK)?.strip_prefix("CUSTOMER#").map(UserId::from_str);
    let (Some(Ok(order_id)), Some(Ok(user_id))) = (order_id, user_id) else {
        return Err(ItemError::Attribute(SK));
    };
    let key = key(text(item, PK)?, text(item, SK)?);
    Ok(Watched { order_id, user_id, since: text(item, WATCHED_SINCE)?.to_owned(), key })
}
