//! The orders' table.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `ORDER#<id>` | `COMMIT#<first version, 8 digits>` | one commit: `command_id`, `outbox` (its envelopes: the events, stored once), `first_version`, `last_version`; the first one also `request_hash`, `private`, and while the reconciler has to check the order `watch` and `watched_since`, the keys of the sparse index `watch` |
//! | `CUSTOMER#<user>` | `DELETED` | the state of the customer's account (`account_state`, at the account's `version`), when it was deleted, suspended or restored; lives as long as an access token from before |
//! | `PRICE#<sku>` | `PRICE` | what the SKU costs, as of `product_version`; without `amount` and `currency` it is no longer sold |
//! | `CUSTOMER#<user id>` | `ORDER#<created at>#<id>` | the view of an order: `version` and `status` of the order, `order` (its JSON, as it is shown), `revision` (counts the view's writes), `counted` (by version of the sales projection, the order's version up to which it is counted), and `listed`, the key of the index `listed` |
//! | `SALES#<generation>#<shard>` | `<day>` | the totals of these orders for that day: one sum for each `SalesMetric` |
//! | `PROJECTION#sales` | `GENERATIONS` | the versions of the sales projection: `live` (the active one), `building` during a replay, `oldest` |
//! | `DISCOUNT…` | | discount codes and their uses (`discounts`) |
//! | `AUDIT#<CODE>`, `AUDIT#<order>` | | who changed a code, and which of the staff cancelled an order (`lambda_kit::audit`) |
//!
//! `private` is the customer's address and payment method as JSON: outside the events, and erased when the order ends.

mod customers;
mod discounts;
mod item;
mod partitioning;
mod prices;
mod reconciliation_index;
mod sales;
mod scan;
mod views;

use std::collections::HashMap;

use contracts::{CorrelationId, Money, OrderId, Sku, UserId};
use jiff::Timestamp;
use lambda_kit::{
    account::AccountMark,
    audit::{self, Entry},
    dynamodb::{ABSENT, BatchRead, Conflict, Item, Table, TableError, Write, from_item, string, string_of},
    http::{List, Page, Problem},
};

pub(crate) use self::item::CHECKOUT_DETAILS;
pub use self::{
    discounts::{COMMIT, DiscountLookup},
    item::FirstCommit,
    partitioning::Partitioning,
    reconciliation_index::{IndexPage, IndexReason, IndexedOrder},
    sales::{ProjectionVersions, TotalsByDay},
    scan::{ItemKey, ScannedView},
    views::{Scope, View},
};
use crate::domain::{Commit, DiscountCode, EventContext, History, ReplayError};

/// A read of commits, prices and discount codes.
// A repeat that comes at once must find the order, so the read is consistent. With its two tries, placing an
// order stays at 3 calls of a second.
const LOOKUP: BatchRead =
    BatchRead { attributes: Some(item::LOOKUP_ATTRIBUTES), tries: 2, ..BatchRead::CONSISTENT };

const APPENDING: &str = "appending to an order";

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
    #[error("another replay was begun")]
    ReplaySuperseded,
}

impl StoreError {
    pub(crate) fn item(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        TableError::item(operation, source).into()
    }

    pub(crate) fn broken(order_id: &OrderId, source: ReplayError) -> Self {
        Self::Broken { order_id: order_id.clone(), source }
    }

    /// Whether a retry may succeed. An item that cannot be parsed stays so.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Table(TableError::Item { .. }) | Self::Broken { .. } | Self::ReplaySuperseded => false,
            Self::Table(TableError::Call { .. }) | Self::Contended(_) => true,
        }
    }
}

/// The data that is read before an order is placed.
#[derive(Debug)]
pub struct Lookup {
    /// The order's beginning, if it was placed already.
    pub placed: Option<FirstCommit>,
    /// The prices of the SKUs that are sold.
    pub prices: HashMap<Sku, Money>,
    /// The customer's account, if it was deleted, suspended or restored a short time ago.
    pub account: Option<AccountMark>,
    pub discount: DiscountLookup,
}

/// A new order, with the data that is stored outside its events.
#[derive(Debug)]
pub struct NewOrder<'a> {
    pub order_id: &'a OrderId,
    pub user_id: &'a UserId,
    pub correlation_id: &'a CorrelationId,
    /// Distinguishes a repeated request from another one with the same key.
    pub request_hash: &'a str,
    /// The customer's address and payment method, as JSON.
    pub checkout_details: &'a str,
}

impl Store {
    pub fn new(table: Table, partitioning: Partitioning) -> Self {
        Self { table, partitioning }
    }

    /// Who changed what, the newest change first. `subject` is the key of a discount code, or an order's id.
    pub async fn audit_entries(&self, subject: &str, page: Page) -> Result<List<Entry>, Problem> {
        audit::list(&self.table, subject, page).await
    }

    /// The history of an order; `None` when it does not exist.
    pub async fn load(&self, order_id: &OrderId) -> Result<Option<History>, StoreError> {
        let commits = self.commits(order_id).await?;
        History::replay(order_id, commits).map_err(|source| StoreError::broken(order_id, source))
    }

    /// Reads the data that is needed to place an order, in one call: the order's beginning, the state of
    /// its customer's account, the prices of these SKUs, which must be unique, and a discount code.
    pub async fn lookup(
        &self,
        order_id: Option<&OrderId>,
        customer: &UserId,
        skus: &[&Sku],
        code: Option<&DiscountCode>,
    ) -> Result<Lookup, StoreError> {
        const OPERATION: &str = "looking for an order and prices";
        let first = order_id.map(item::first_key).into_iter();
        let first = first.chain([customers::account_key(customer)]);
        let keys = first.chain(skus.iter().map(|sku| prices::key_of(sku)));
        let keys = keys.chain(code.into_iter().flat_map(|code| discounts::keys_of(code, customer)));
        // One call, because a customer waits for it. DynamoDB returns the items in no order, so each is
        // recognised by its sort key.
        let found = self.table.batch_get(OPERATION, keys.collect(), LOOKUP).await?;
        let (prices, others): (Vec<Item>, Vec<Item>) = found.into_iter().partition(prices::is_price);
        let (discount, others): (Vec<Item>, Vec<Item>) = others.into_iter().partition(discounts::is_discount);
        let (accounts, commits): (Vec<Item>, Vec<Item>) = others.into_iter().partition(customers::is_account);
        let placed = commits.first().map(FirstCommit::read).transpose();
        Ok(Lookup {
            placed: placed.map_err(|e| TableError::item(OPERATION, e))?,
            prices: prices::read(prices).map_err(|e| TableError::item(OPERATION, e))?,
            account: accounts.into_iter().next().map(|mark| from_item(OPERATION, mark)).transpose()?,
            discount: DiscountLookup::read(discount).map_err(|e| TableError::item(OPERATION, e))?,
        })
    }

    /// Appends an order's first commit, placed at this time. Conflicts when the order was placed before.
    pub async fn append_first(
        &self,
        order: &NewOrder<'_>,
        commit: &Commit,
        placed_at: Timestamp,
    ) -> Result<Result<(), Conflict>, StoreError> {
        let item = self.first_item(order, commit, placed_at)?;
        Ok(self.table.put_if(APPENDING, item, ABSENT).await?)
    }

    /// Appends a later commit. Conflicts when there is one of its version.
    pub async fn append(
        &self,
        commit: &Commit,
        context: EventContext<'_>,
    ) -> Result<Result<(), Conflict>, StoreError> {
        // The key holds the version. Of two commits of one version the second finds an item, and its caller
        // decides again.
        Ok(self.table.put_if(APPENDING, item_of(commit, context)?, ABSENT).await?)
    }

    /// Appends a later commit with its audit entry, all or nothing. Conflicts when there is one of its version, or
    /// when another transaction is under way.
    pub async fn append_audited(
        &self,
        commit: &Commit,
        context: EventContext<'_>,
        entry: &Entry,
    ) -> Result<Result<(), Conflict>, StoreError> {
        let writes = vec![Write::put(item_of(commit, context)?).when(ABSENT), entry.write()?];
        Ok(self.table.transact(APPENDING, writes).await?.done())
    }

    fn first_item(
        &self,
        order: &NewOrder<'_>,
        commit: &Commit,
        placed_at: Timestamp,
    ) -> Result<Item, StoreError> {
        let mut item = item_of(commit, order.event_context(placed_at))?;
        item.extend(item::beginning(order.request_hash, order.checkout_details));
        item.extend(reconciliation_index::initial_entry(
            order.order_id,
            placed_at,
            self.partitioning.reconciliation,
        ));
        Ok(item)
    }

    /// The customer's address and payment method as JSON, unless they were erased.
    pub async fn checkout_details(&self, order_id: &OrderId) -> Result<Option<String>, StoreError> {
        let first = self.table.get_item("reading an order's address", item::first_key(order_id)).await?;
        Ok(first.as_ref().and_then(|first| string_of(first, CHECKOUT_DETAILS)).map(str::to_owned))
    }

    /// The first commit of an order that was placed.
    pub async fn first_commit(&self, order_id: &OrderId) -> Result<FirstCommit, StoreError> {
        const OPERATION: &str = "reading an order's beginning";
        let item = self.table.get_item(OPERATION, item::first_key(order_id)).await?;
        // The write found it a moment ago, and commits are never deleted. The read is consistent.
        let item = item.ok_or_else(|| TableError::item(OPERATION, "the order has no first commit"))?;
        Ok(FirstCommit::read(&item).map_err(|e| TableError::item(OPERATION, e))?)
    }

    /// All commits in their order, without the checkout details.
    async fn commits(&self, order_id: &OrderId) -> Result<Vec<Commit>, TableError> {
        const OPERATION: &str = "reading an order";
        let query = self
            .table
            .query()
            // A decision must see every earlier commit. On an older state its write would be refused, and a
            // query would be answered wrongly.
            .consistent_read(true)
            .key_condition_expression("pk = :order AND begins_with(sk, :commit)")
            .expression_attribute_values(":order", string(item::partition(order_id)))
            .expression_attribute_values(":commit", string(item::COMMIT))
            .projection_expression(item::COMMIT_ATTRIBUTES);
        let items = self.table.query_all(OPERATION, query).await?;
        let commits = items.iter().map(item::read).collect::<Result<_, _>>();
        commits.map_err(|e| TableError::item(OPERATION, e))
    }
}

impl<'a> NewOrder<'a> {
    /// The common fields of the envelopes of its first commit.
    pub fn event_context(&self, placed_at: Timestamp) -> EventContext<'a> {
        EventContext {
            order_id: self.order_id,
            user_id: self.user_id,
            correlation_id: self.correlation_id,
            occurred_at: placed_at,
        }
    }
}

fn item_of(commit: &Commit, context: EventContext<'_>) -> Result<Item, StoreError> {
    item::write(commit, context).map_err(|e| StoreError::item(APPENDING, e))
}

#[cfg(test)]
mod tests;
