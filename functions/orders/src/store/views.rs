//! The order views: what lists of orders are read from. Written by orders-views alone, and only over the revision that it
//! has seen, so that nothing older takes the place of something newer.
//!
//! A customer's views are one partition, in the order of time. An administrator's list of all orders is the index
//! `listed`, spread over a few partitions by the order's id: one alone would take 1,000 writes a second, and hold up the
//! views of all customers (a monotonous sort key is not split by DynamoDB). A list reads all of them and merges. The sums
//! of the sales are spread over as many.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write as _},
};

use aws_sdk_dynamodb::{
    operation::query::builders::QueryFluentBuilder, primitives::Blob, types::AttributeValue,
};
use contracts::{OrderId, OrderStatus, UserId};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use futures::future::try_join_all;
use lambda_kit::dynamodb::{
    Expression, Item, SK, TableError, TransactOutcome, Write, key, number, string, string_of,
};
use serde_json::value::RawValue;

use super::{
    Store, StoreError,
    item::{ItemError, count, text},
    partitioning::last_digits,
    reconciliation_index::sortable,
    sales::{TotalsByDay, add},
};
use crate::domain::History;

/// The index of all orders, and its partition key; its sort key is the table's.
const LISTED: &str = "listed";
/// The prefix of a view's sort key.
pub(super) const ORDER: &str = "ORDER#";
pub(super) const REVISION: &str = "revision";
const VERSION: &str = "version";
const STATUS: &str = "status";
const ORDER_JSON: &str = "order";
const COUNTED: &str = "counted";

/// Views that one call looks at when only those of one status are wanted.
// At less than 1 KB each, they are well below DynamoDB's page of 1 MB.
const SCANNED_AT_ONCE: i32 = 250;
/// Consecutive calls of a list before it returns a cursor.
// With slow calls of 200 ms, this is well within the API's 3 s.
const ROUNDS: usize = 4;

/// An order as its lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Counts the writes of the view.
    pub revision: u64,
    /// The order's version.
    pub version: u64,
    /// As `GET /v1/orders/{id}` shows it.
    pub order: String,
    /// By version of the sales projection: the order's version up to which it is counted there.
    pub counted: BTreeMap<u64, u64>,
}

/// Whose orders a list is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Customer(UserId),
    All,
}

/// A part of a list, the newest first.
#[derive(Debug)]
pub struct ViewPage {
    pub orders: Vec<Box<RawValue>>,
    /// The place after which the list goes on, if it does.
    pub next: Option<String>,
}

/// The views found in one partition, the newest first.
#[derive(Debug, Default)]
struct PartitionPage {
    views: Vec<(String, Box<RawValue>)>,
    /// The position down to which the partition was read; `None` when it was read to its end.
    until: Option<String>,
}

/// The prefix of a customer's partition.
pub(super) const CUSTOMER: &str = "CUSTOMER#";

fn customers(user_id: &UserId) -> String {
    format!("{CUSTOMER}{user_id}")
}

fn listed(partition: u16) -> String {
    format!("ORDERS#{partition}")
}

/// `pk = CUSTOMER#<user>`, `sk = ORDER#<created at>#<order>`.
pub(super) fn key_of(history: &History) -> Item {
    let History { user_id, created_at, order_id, .. } = history;
    key(customers(user_id), format!("{ORDER}{}#{order_id}", sortable(*created_at)))
}

impl Store {
    /// Which of the partitions over which all orders are spread an order goes to.
    pub fn list_partition_of(&self, order_id: &OrderId) -> u16 {
        self.partitioning.list.of(last_digits(order_id))
    }

    /// The view of an order, read consistently, if there is one.
    pub async fn view(&self, history: &History) -> Result<Option<View>, StoreError> {
        const OPERATION: &str = "reading a view";
        let item = self.table.get_item(OPERATION, key_of(history)).await?;
        let view = item.as_ref().map(read).transpose();
        Ok(view.map_err(|e| TableError::item(OPERATION, e))?)
    }

    /// Writes a view over the one of the revision before, and with it what the order adds to the versions of
    /// the sales projection: all or nothing. The view is the write at index 0, the only one with a condition. A conflict is one
    /// at the sums, to which other projectors add.
    pub async fn put_view(
        &self,
        history: &History,
        view: &View,
        counts: &[(u64, TotalsByDay)],
    ) -> Result<TransactOutcome, StoreError> {
        const OPERATION: &str = "writing a view";
        let partition = self.list_partition_of(&history.order_id);
        let unchanged = Expression::new("attribute_not_exists(pk) OR revision = :before")
            .value(":before", number(view.revision - 1));
        let item = write(history, view, partition).map_err(|e| TableError::item(OPERATION, e))?;
        let mut writes = vec![Write::put(item).when(unchanged)];
        writes.extend(
            counts
                .iter()
                .flat_map(|(projection_version, counts)| add(*projection_version, partition, counts)),
        );
        Ok(self.table.transact(OPERATION, writes).await?)
    }

    /// Up to `limit` orders, the newest first, after the place `after`; only those of `status`, if one is given. May be
    /// fewer although the list goes on.
    pub async fn list(
        &self,
        scope: &Scope,
        status: Option<OrderStatus>,
        limit: usize,
        mut after: Option<String>,
    ) -> Result<ViewPage, StoreError> {
        let mut orders = Vec::new();
        // With a status, a page may have few matches or none, so a few more are read. After that the client
        // gets a cursor, although the list is not full.
        for _ in 0..ROUNDS {
            let pages = match scope {
                Scope::Customer(user_id) => {
                    vec![self.of_customer(user_id, status, limit, after.as_deref()).await?]
                }
                Scope::All => {
                    let partitions = self.partitioning.list.all();
                    let pages =
                        partitions.map(|partition| self.of_all(partition, status, limit, after.as_deref()));
                    try_join_all(pages).await?
                }
            };
            let (views, next) = merge(pages, limit - orders.len());
            orders.extend(views);
            after = next;
            if orders.len() == limit || after.is_none() {
                break;
            }
        }
        Ok(ViewPage { orders, next: after })
    }

    async fn of_customer(
        &self,
        user_id: &UserId,
        status: Option<OrderStatus>,
        limit: usize,
        after: Option<&str>,
    ) -> Result<PartitionPage, TableError> {
        let partition = customers(user_id);
        let query = self
            .table
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :partition AND begins_with(sk, :order)")
            .expression_attribute_values(":order", string(ORDER))
            // DynamoDB refuses a start outside of the condition, which only a made-up cursor names.
            .set_exclusive_start_key(
                after.filter(|after| after.starts_with(ORDER)).map(|after| key(&*partition, after)),
            );
        self.find(query, partition, status, limit).await
    }

    async fn of_all(
        &self,
        partition: u16,
        status: Option<OrderStatus>,
        limit: usize,
        after: Option<&str>,
    ) -> Result<PartitionPage, TableError> {
        let query = self.table.query().index_name(LISTED);
        let query = match after {
            Some(after) => query
                .key_condition_expression("listed = :partition AND sk < :after")
                .expression_attribute_values(":after", string(after)),
            None => query.key_condition_expression("listed = :partition"),
        };
        self.find(query, listed(partition), status, limit).await
    }

    async fn find(
        &self,
        query: QueryFluentBuilder,
        partition: String,
        status: Option<OrderStatus>,
        limit: usize,
    ) -> Result<PartitionPage, TableError> {
        const OPERATION: &str = "listing orders";
        let query = query
            .scan_index_forward(false)
            .expression_attribute_values(":partition", string(partition))
            .expression_attribute_names("#order", ORDER_JSON);
        let query = match status {
            Some(status) => query
                .filter_expression("#status = :status")
                .expression_attribute_names("#status", STATUS)
                .expression_attribute_values(":status", string(status.as_str()))
                .limit(SCANNED_AT_ONCE),
            // Reads one more than is shown, to find out whether there are more.
            None => query.limit(i32::try_from(limit + 1).unwrap_or(i32::MAX)),
        };
        let page = self.table.query_page(OPERATION, query.projection_expression("sk, #order")).await?;
        let until = page.next.as_ref().and_then(|key| string_of(key, SK)).map(str::to_owned);
        let views = page.items.iter().map(listed_view).collect::<Result<_, _>>();
        Ok(PartitionPage { views: views.map_err(|e| TableError::item(OPERATION, e))?, until })
    }
}

/// The newest views, up to `limit`, and the position where the list continues.
fn merge(pages: Vec<PartitionPage>, limit: usize) -> (Vec<Box<RawValue>>, Option<String>) {
    // Below the position down to which only some partitions were read, another partition may have newer
    // views. They are shown by the next page.
    let horizon = pages.iter().filter_map(|page| page.until.clone()).max();
    let mut views: Vec<_> = pages.into_iter().flat_map(|page| page.views).collect();
    views.retain(|(place, _)| horizon.as_ref().is_none_or(|horizon| place >= horizon));
    views.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let next = match views.get(limit) {
        Some(_) => views.get(limit.wrapping_sub(1)).map(|(place, _)| place.clone()),
        None => horizon,
    };
    views.truncate(limit);
    (views.into_iter().map(|(_, order)| order).collect(), next)
}

fn write(history: &History, view: &View, partition: u16) -> io::Result<Item> {
    let mut item = key_of(history);
    item.extend(
        [
            (REVISION, number(view.revision)),
            (VERSION, number(view.version)),
            (STATUS, string(history.order.status.as_str())),
            (LISTED, string(listed(partition))),
            (ORDER_JSON, packed(&view.order)?),
            (COUNTED, AttributeValue::M(view.counted.iter().map(counted).collect())),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(item)
}

/// The JSON as it is stored: compressed, because a view is written in a transaction and copied into an index, so that
/// DynamoDB charges three times for each KB.
fn packed(json: &str) -> io::Result<AttributeValue> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
    packed.write_all(json.as_bytes())?;
    Ok(AttributeValue::B(Blob::new(packed.finish()?)))
}

fn unpacked(item: &Item) -> Result<String, ItemError> {
    match item.get(ORDER_JSON) {
        Some(AttributeValue::B(packed)) => {
            let mut json = String::new();
            DeflateDecoder::new(packed.as_ref()).read_to_string(&mut json)?;
            Ok(json)
        }
        // Views of earlier versions are stored as they are shown.
        Some(AttributeValue::S(json)) => Ok(json.clone()),
        _ => Err(ItemError::Attribute(ORDER_JSON)),
    }
}

fn read(item: &Item) -> Result<View, ItemError> {
    Ok(View {
        revision: count(item, REVISION)?,
        version: count(item, VERSION)?,
        order: unpacked(item)?,
        counted: read_counted(item).ok_or(ItemError::Attribute(COUNTED))?,
    })
}

fn counted((projection_version, version): (&u64, &u64)) -> (String, AttributeValue) {
    (projection_version.to_string(), number(version))
}

fn read_counted(item: &Item) -> Option<BTreeMap<u64, u64>> {
    let counted = item.get(COUNTED)?.as_m().ok()?.iter();
    counted
        .map(|(projection_version, version)| {
            Some((projection_version.parse().ok()?, version.as_n().ok()?.parse().ok()?))
        })
        .collect()
}

fn listed_view(item: &Item) -> Result<(String, Box<RawValue>), ItemError> {
    Ok((text(item, SK)?.to_owned(), RawValue::from_string(unpacked(item)?)?))
}

#[cfg(test)]
mod tests;
