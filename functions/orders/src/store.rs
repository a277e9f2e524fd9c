//! The orders' table.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `ORDER#<id>` | `COMMIT#<first version, 8 digits>` | one commit: `command_id`, `outbox` (its envelopes: the events, stored once), `first_version`, `last_version`, `user_id`; the first one also `request_hash`, `private`, and while the reconciler has to check the order `watch` and `watched_since`, the keys of the sparse index `watch` |
//! | `CUSTOMER#<user>` | `DELETED` | the customer was deleted; lives as long as an access token from before |
//! | `PRICE#<sku>` | `PRICE` | what the SKU costs, as of `product_version`; without `amount` and `currency` it is no longer sold |
//! | `CUSTOMER#<user id>` | `ORDER#<created at>#<id>` | the view of an order: `version` and `status` of the order, `order` (its JSON, as it is shown), `revision` (counts the view's writes), `counted` (by generation of the sales, the version up to which the order is counted), and `listed`, the key of the index `listed` |
//! | `SALES#<generation>#<shard>` | `<day>` | what these orders add to that day: one sum for each of `Measure` |
//! | `PROJECTION#sales` | `GENERATIONS` | `live`, `building` while a replay builds one, `oldest` |
//! | `DISCOUNT…` | | discount codes and their uses (`discounts`) |
//!
//! `private` is the customer's address and payment method as JSON: outside the events, and erased when the order ends.

mod customers;
mod discounts;
mod item;
mod partitioning;
mod prices;
mod sales;
mod scan;
mod views;
mod watch;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use contracts::{CorrelationId, Money, OrderId, Sku, UserId};
use jiff::Timestamp;
use lambda_kit::dynamodb::{Item, SK, Table, TableError, condition_failed, string};

pub(crate) use self::item::PRIVATE;
pub use self::{
    discounts::{Created, Found},
    item::FirstCommit,
    partitioning::Partitioning,
    prices::Noted,
    sales::{Counts, Generations},
    scan::{Place, Stray},
    views::{Scope, View, Written},
    watch::{Page, Watch, Watched},
};
use crate::domain::{
    Command, Commit, DiscountCode, Event, History, NewCommit, Order, Rejected, ReplayError, command_id,
    decide,
};

/// Decisions about a command when a concurrent one is faster. An order has about ten commits in its whole
/// life, so that even in the worst case it meets two or three others.
const DECISIONS: usize = 5;

/// Tries of a lookup whose first answer was incomplete. With this limit, placing an order stays at 3 calls.
const LOOKUPS: usize = 2;
/// DynamoDB leaves keys out while it throttles, and would leave them out again if they were requested at
/// once.
const LOOKUP_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

const APPENDING: &str = "appending to an order";
/// The condition of every commit: there is none of this version.
const NOT_TAKEN: &str = "attribute_not_exists(sk)";

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
    partitioning: Partitioning,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the history of order {order_id} is broken")]
    Broken {
        order_id: OrderId,
        #[source]
        source: ReplayError,
    },
    #[error("other commands for order {0} were faster every time")]
    Contended(OrderId),
    #[error("the table left out a part of what was asked for")]
    Incomplete,
    #[error("another replay was begun meanwhile")]
    Replayed,
}

impl StoreError {
    pub(crate) fn item(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        TableError::item(operation, source).into()
    }

    /// Whether a retry may succeed. An item that cannot be parsed stays so.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Table(TableError::Item { .. }) | Self::Broken { .. } | Self::Replayed => false,
            Self::Table(TableError::Call { .. }) | Self::Contended(_) | Self::Incomplete => true,
        }
    }
}

/// Why a command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The data that is read before an order is placed.
#[derive(Debug)]
pub struct Lookup {
    /// The order's beginning, if it was placed already.
    pub placed: Option<FirstCommit>,
    /// The prices of the SKUs that are sold.
    pub prices: HashMap<Sku, Money>,
    /// Whether the customer's account was deleted.
    pub customer_deleted: bool,
    pub discount: Found,
}

/// A new order, with what belongs to it and is no event.
#[derive(Debug)]
pub struct NewOrder<'a> {
    pub order_id: &'a OrderId,
    pub user_id: &'a UserId,
    pub correlation_id: &'a CorrelationId,
    /// Tells a repeated request from another one with the same key.
    pub request_hash: &'a str,
    /// The customer's address and payment method, as JSON.
    pub private: &'a str,
}

/// The outcome of placing an order.
#[derive(Debug)]
pub enum Placing {
    New(FirstCommit),
    /// An equal request, or a different one with the same key, was there first.
    Earlier(FirstCommit),
}

#[derive(Debug, PartialEq, Eq)]
enum Appended {
    Done,
    /// There is a commit of that version.
    Taken,
}

impl Store {
    pub fn new(table: Table, partitioning: Partitioning) -> Self {
        Self { table, partitioning }
    }

    /// All that happened to an order; nothing when there is no such order.
    pub async fn load(&self, order_id: &OrderId) -> Result<Option<History>, StoreError> {
        let commits = self.commits(order_id).await?;
        self.replay(order_id, commits)
    }

    /// Takes `command`, which is not [`Command::Place`], and gives the order after it. A command that was taken
    /// before is a success without effect.
    pub async fn execute(
        &self,
        order_id: &OrderId,
        command: &Command,
        correlation_id: &CorrelationId,
        now: Timestamp,
    ) -> Result<History, ExecuteError> {
        let command_id = command_id(order_id, command);
        for _ in 0..DECISIONS {
            let history = self.load(order_id).await?.ok_or(Rejected::NotPlaced)?;
            if history.has_taken(&command_id) {
                return Ok(history);
            }
            let order = Order::Placed(history.order.clone());
            let events = decide(&order, command.clone())?;
            if events.is_empty() {
                return Ok(history);
            }
            let new = NewCommit {
                order_id,
                user_id: &history.user_id,
                correlation_id,
                // Clocks of two instances differ: a history that ran backwards could not be cut at a time.
                occurred_at: now.max(history.updated_at),
            };
            let commit = commit(order.version(), command_id.clone(), &events, new)?;
            let item = item_of(&commit, new, Item::new())?;
            let appended = if discounts::gives_back(&history, &events) {
                self.append_and_give_back(order_id, item).await?
            } else {
                self.append(item).await?
            };
            match appended {
                Appended::Done => return Ok(self.then(history, commit)?),
                Appended::Taken => {}
            }
        }
        Err(StoreError::Contended(order_id.clone()).into())
    }

    /// Looks for the order where there may be one, for its customer's deletion, for the prices of these SKUs, each of which
    /// is named once, and for a discount code, in one call.
    pub async fn lookup(
        &self,
        order_id: Option<&OrderId>,
        customer: &UserId,
        skus: &[&Sku],
        code: Option<&DiscountCode>,
    ) -> Result<Lookup, StoreError> {
        const OPERATION: &str = "looking for an order and prices";
        let first = order_id.map(item::first_key).into_iter();
        let first = first.chain([customers::deleted_key(customer)]);
        let keys = first.chain(skus.iter().map(|sku| prices::key_of(sku)));
        let keys = keys.chain(code.into_iter().flat_map(|code| discounts::keys_of(code, customer)));
        let found = self.batch(OPERATION, keys.collect()).await?;
        let (prices, others): (Vec<Item>, Vec<Item>) = found.into_iter().partition(prices::is_price);
        let (discount, others): (Vec<Item>, Vec<Item>) = others.into_iter().partition(discounts::is_discount);
        let (marks, commits): (Vec<Item>, Vec<Item>) = others.into_iter().partition(customers::is_deleted);
        let placed = commits.first().map(FirstCommit::read).transpose();
        Ok(Lookup {
            placed: placed.map_err(|e| TableError::item(OPERATION, e))?,
            prices: prices::read(prices).map_err(|e| TableError::item(OPERATION, e))?,
            customer_deleted: !marks.is_empty(),
            discount: Found::read(discount).map_err(|e| TableError::item(OPERATION, e))?,
        })
    }

    /// Those of these items that there are, in no order, read consistently; of each what placing an order needs.
    async fn batch(&self, operation: &'static str, keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let mut wanted = Some(
            KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .projection_expression(item::LOOKUP_ATTRIBUTES)
                .build()
                .map_err(|e| TableError::call(operation, e))?,
        );
        let mut found = Vec::new();
        for attempt in 0..LOOKUPS {
            let Some(keys) = wanted.take() else { break };
            if attempt > 0 {
                tokio::time::sleep(LOOKUP_PAUSE).await;
            }
            let answer =
                self.table.client.batch_get_item().request_items(&self.table.name, keys).send().await;
            let answer = answer.map_err(|e| TableError::call(operation, e))?;
            found.extend(answer.responses.unwrap_or_default().into_values().flatten());
            wanted = answer.unprocessed_keys.unwrap_or_default().into_values().next();
        }
        if wanted.is_some_and(|rest| !rest.keys.is_empty()) {
            return Err(StoreError::Incomplete);
        }
        Ok(found)
    }

    /// Writes an order's first commit, unless there is one. With a discount code it is one more use of the code.
    pub async fn place(
        &self,
        order: &NewOrder<'_>,
        command: Command,
        now: Timestamp,
    ) -> Result<Placing, ExecuteError> {
        if let Command::Place { items, offer: Some(offer) } = command {
            return self.place_with_code(order, items, offer, now).await;
        }
        let (first, item) = self.first(order, command, now)?;
        match self.append(item).await? {
            Appended::Done => Ok(Placing::New(first)),
            Appended::Taken => Ok(Placing::Earlier(self.first_commit(order.order_id).await?)),
        }
    }

    /// An order's first commit, and its item.
    fn first(
        &self,
        order: &NewOrder<'_>,
        command: Command,
        now: Timestamp,
    ) -> Result<(FirstCommit, Item), ExecuteError> {
        let command_id = command_id(order.order_id, &command);
        let events = decide(&Order::NotPlaced, command)?;
        let new = NewCommit {
            order_id: order.order_id,
            user_id: order.user_id,
            correlation_id: order.correlation_id,
            occurred_at: now,
        };
        let commit = commit(0, command_id, &events, new)?;
        let mut beginning = item::beginning(order.request_hash, order.private);
        beginning.extend(watch::from_the_beginning(order.order_id, now, self.partitioning.watch));
        let item = item_of(&commit, new, beginning)?;
        Ok((FirstCommit { request_hash: order.request_hash.to_owned(), commit }, item))
    }

    async fn append(&self, item: Item) -> Result<Appended, StoreError> {
        let put = self
            .table
            .client
            .put_item()
            .table_name(&self.table.name)
            .set_item(Some(item))
            .condition_expression(NOT_TAKEN);
        match put.send().await {
            Ok(_) => Ok(Appended::Done),
            Err(error) if condition_failed(&error) => Ok(Appended::Taken),
            Err(error) => Err(TableError::call(APPENDING, error).into()),
        }
    }

    /// The customer's address and payment method as JSON, unless they were erased.
    pub async fn private(&self, order_id: &OrderId) -> Result<Option<String>, StoreError> {
        const OPERATION: &str = "reading an order's address";
        let answer = self
            .table
            .client
            .get_item()
            .table_name(&self.table.name)
            .set_key(Some(item::first_key(order_id)))
            .consistent_read(true)
            // A reserved word of DynamoDB.
            .projection_expression("#private")
            .expression_attribute_names("#private", PRIVATE)
            .send()
            .await
            .map_err(|e| TableError::call(OPERATION, e))?;
        let private = answer.item.and_then(|mut item| item.remove(PRIVATE));
        Ok(private.and_then(|value| value.as_s().ok().cloned()))
    }

    async fn first_commit(&self, order_id: &OrderId) -> Result<FirstCommit, StoreError> {
        const OPERATION: &str = "reading an order's beginning";
        let answer = self
            .table
            .client
            .get_item()
            .table_name(&self.table.name)
            .set_key(Some(item::first_key(order_id)))
            .consistent_read(true)
            .projection_expression(item::LOOKUP_ATTRIBUTES)
            .send()
            .await
            .map_err(|e| TableError::call(OPERATION, e))?;
        // It was there a moment ago, and commits are never deleted.
        let item = answer.item.ok_or_else(|| TableError::item(OPERATION, "it is gone"))?;
        Ok(FirstCommit::read(&item).map_err(|e| TableError::item(OPERATION, e))?)
    }

    /// All commits in their order, without what is private.
    async fn commits(&self, order_id: &OrderId) -> Result<Vec<Commit>, TableError> {
        const OPERATION: &str = "reading an order";
        let mut commits = Vec::new();
        let mut start: Option<HashMap<String, AttributeValue>> = None;
        loop {
            let page = self
                .table
                .client
                .query()
                .table_name(&self.table.name)
                .consistent_read(true)
                .key_condition_expression("pk = :order AND begins_with(sk, :commit)")
                .expression_attribute_values(":order", string(item::partition(order_id)))
                .expression_attribute_values(":commit", string(item::COMMIT))
                .projection_expression(item::COMMIT_ATTRIBUTES)
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|e| TableError::call(OPERATION, e))?;
            for item in page.items.unwrap_or_default() {
                commits.push(item::read(&item).map_err(|e| TableError::item(OPERATION, e))?);
            }
            match page.last_evaluated_key.filter(|key| key.contains_key(SK)) {
                Some(key) => start = Some(key),
                None => return Ok(commits),
            }
        }
    }

    fn replay(&self, order_id: &OrderId, commits: Vec<Commit>) -> Result<Option<History>, StoreError> {
        History::replay(order_id, commits)
            .map_err(|source| StoreError::Broken { order_id: order_id.clone(), source })
    }

    fn then(&self, history: History, commit: Commit) -> Result<History, StoreError> {
        let order_id = history.order_id.clone();
        history.then(commit).map_err(|source| StoreError::Broken { order_id, source })
    }
}

fn item_of(commit: &Commit, new: NewCommit<'_>, extra: Item) -> Result<Item, StoreError> {
    let mut item = item::write(commit, new).map_err(|e| TableError::item(APPENDING, e))?;
    item.extend(extra);
    Ok(item)
}

fn commit(
    version: u64,
    command_id: String,
    events: &[Event],
    new: NewCommit<'_>,
) -> Result<Commit, StoreError> {
    Commit::new(version, command_id, events, new).map_err(|e| TableError::item("writing events", e).into())
}

#[cfg(test)]
mod tests;
