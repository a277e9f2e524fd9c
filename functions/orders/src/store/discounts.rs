//! Discount codes and their uses.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `DISCOUNT#<CODE>` | `DISCOUNT` | a code's `terms`, and by how many orders it is `used`; `ended` when it is not to be used any more. Kept for good, so that a code means one thing for ever |
//! | `DISCOUNT#<CODE>#<user>` | `CUSTOMER` | by how many orders of this customer it is `used`, when that is limited |
//! | `DISCOUNT_USE#<order>` | `USE` | that the order has the code, while it has |
//! | `DISCOUNTS` | `<CODE>` | that the code is in the list of codes |
//!
//! A counter and the uses that it counts change in one transaction with the order's own commit: the one that places it,
//! and the one that ends it as cancelled, of which there is one at most. So nothing is lost or given back twice, whatever
//! is repeated or dies in between.

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{AttributeValue, Delete, Put, TransactWriteItem, Update},
};
use contracts::{OrderId, PricedLine, UserId};
use jiff::Timestamp;
use lambda_kit::{
    backoff::Backoff,
    dynamodb::{Item, SK, TableError, Transacted, key, number, string},
};

use super::{
    APPENDING, Appended, ExecuteError, NOT_TAKEN, NewOrder, Placing, Store, StoreError,
    item::{ItemError, text},
};
use crate::domain::{Command, Discount, DiscountCode, DiscountError, Event, History, Offer, Rejected, Terms};

const DISCOUNT: &str = "DISCOUNT";
const CUSTOMER: &str = "CUSTOMER";
const USE: &str = "USE";
const DISCOUNTS: &str = "DISCOUNTS";
const TERMS: &str = "terms";
const USED: &str = "used";
const ENDED: &str = "ended";
const CODE: &str = "code";
const USER_ID: &str = "user_id";
/// On a use that its customer's own limit counts.
const COUNTED: &str = "counted";

/// How long a new order retries when others use the same code at the same moment: the 3 s of the API
/// function, less the worst case of reading and answering.
const PLACING: Duration = Duration::from_millis(1_500);
/// And a cancel to give one back. The saga tries again after it.
const GIVING_BACK: Duration = Duration::from_secs(10);

/// A discount code with this customer's usage.
#[derive(Debug, Default)]
pub struct Found {
    discount: Option<Discount>,
    ended: bool,
    used_by_customer: u64,
}

/// The outcome of creating a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    Done,
    /// There is one of this name, or was.
    Taken,
}

impl Found {
    /// The code at this moment.
    ///
    /// # Errors
    /// When there is none, or it was ended.
    pub fn offer(&self, at: Timestamp) -> Result<Offer, Rejected> {
        let discount = self.discount.clone().ok_or(DiscountError::Unknown)?;
        if self.ended {
            return Err(DiscountError::TooLate.into());
        }
        Ok(Offer { discount, used_by_customer: self.used_by_customer, at })
    }

    pub(super) fn read(items: Vec<Item>) -> Result<Self, ItemError> {
        let mut found = Self::default();
        for item in items {
            if text(&item, SK)? == CUSTOMER {
                found.used_by_customer = used(&item)?;
            } else {
                found.ended = item.contains_key(ENDED);
                found.discount = Some(discount(item)?);
            }
        }
        Ok(found)
    }
}

/// Whether these events cancel an order that used a code.
pub(super) fn gives_back(history: &History, events: &[Event]) -> bool {
    history.order.discount.is_some() && events.iter().any(|event| matches!(event, Event::Cancelled(_)))
}

/// The keys of the items to read before a customer uses a code.
pub(super) fn keys_of(code: &DiscountCode, user: &UserId) -> [Item; 2] {
    [code_key(&code.key()), customer_key(&code.key(), user.as_str())]
}

pub(super) fn is_discount(item: &Item) -> bool {
    text(item, SK).is_ok_and(|sk| [DISCOUNT, CUSTOMER].contains(&sk))
}

impl Store {
    /// Makes a code.
    pub async fn create_discount(&self, terms: &Terms) -> Result<Created, StoreError> {
        const OPERATION: &str = "making a discount code";
        let code = terms.code.key();
        let mut item = code_key(&code);
        let terms = serde_dynamo::to_attribute_value(terms).map_err(|e| TableError::item(OPERATION, e))?;
        item.extend([(TERMS.to_owned(), terms), (USED.to_owned(), number(0))]);
        let new = Put::builder().condition_expression("attribute_not_exists(pk)");
        let writes = vec![
            put(new.table_name(&self.table.name).set_item(Some(item)).build())?,
            put(Put::builder().table_name(&self.table.name).set_item(Some(list_key(&code))).build())?,
        ];
        match self.table.transact_items(OPERATION, writes).await? {
            Transacted::Done => Ok(Created::Done),
            Transacted::First | Transacted::Other => Ok(Created::Taken),
            Transacted::Busy => Err(busy(OPERATION)),
        }
    }

    /// Ends a code for new orders; orders that used it keep their discount. Returns whether there was an
    /// active one.
    pub async fn end_discount(&self, code: &DiscountCode) -> Result<bool, StoreError> {
        const OPERATION: &str = "ending a discount code";
        let code = code.key();
        let end = Update::builder()
            .table_name(&self.table.name)
            .set_key(Some(code_key(&code)))
            .update_expression("SET ended = :true")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(ended)")
            .expression_attribute_values(":true", AttributeValue::Bool(true));
        let unlist = Delete::builder().table_name(&self.table.name).set_key(Some(list_key(&code)));
        match self
            .table
            .transact_items(OPERATION, vec![update(end.build())?, delete(unlist.build())?])
            .await?
        {
            Transacted::Done => Ok(true),
            Transacted::First | Transacted::Other => Ok(false),
            Transacted::Busy => Err(busy(OPERATION)),
        }
    }

    /// Codes that have not ended, by name, `limit` (1 to 100) at most, from behind one on; and whether there are more.
    pub async fn discounts(
        &self,
        limit: usize,
        after: Option<&DiscountCode>,
    ) -> Result<(Vec<Discount>, bool), StoreError> {
        const OPERATION: &str = "listing discount codes";
        let query = self
            .table
            .client
            .query()
            .table_name(&self.table.name)
            .consistent_read(true)
            .expression_attribute_values(":list", string(DISCOUNTS))
            .set_limit(i32::try_from(limit + 1).ok());
        let query = match after {
            None => query.key_condition_expression("pk = :list"),
            Some(code) => query
                .key_condition_expression("pk = :list AND sk > :after")
                .expression_attribute_values(":after", string(code.key())),
        };
        let answer = query.send().await.map_err(|e| TableError::call(OPERATION, e))?;
        let entries = answer.items.unwrap_or_default();
        let codes = entries.iter().take(limit).map(|entry| text(entry, SK).map(code_key));
        let codes: Vec<Item> = codes.collect::<Result<_, _>>().map_err(|e| TableError::item(OPERATION, e))?;
        if codes.is_empty() {
            return Ok((vec![], false));
        }
        let found = self.batch(OPERATION, codes).await?.into_iter().map(discount);
        let mut found: Vec<Discount> =
            found.collect::<Result<_, _>>().map_err(|e| TableError::item(OPERATION, e))?;
        found.sort_by_cached_key(|discount| discount.terms.code.key());
        Ok((found, entries.len() > limit))
    }

    /// Places an order with a code: all or nothing.
    pub(super) async fn place_with_code(
        &self,
        order: &NewOrder<'_>,
        items: Vec<PricedLine>,
        mut offer: Offer,
        now: Timestamp,
    ) -> Result<Placing, ExecuteError> {
        let terms = offer.discount.terms.clone();
        let mut backoff = Backoff::within(PLACING);
        let mut tried = false;
        loop {
            let command = Command::Place { items: items.clone(), offer: Some(offer.clone()) };
            // Before the pause, so that a customer who cannot use the code any more is refused at once.
            let (first, item) = self.first(order, command, now)?;
            if tried && !backoff.pause().await {
                return Err(StoreError::Contended(order.order_id.clone()).into());
            }
            tried = true;
            match self.transact(self.uses(order, &terms, item)?).await? {
                Transacted::Done => return Ok(Placing::New(first)),
                Transacted::First => return Ok(Placing::Earlier(self.first_commit(order.order_id).await?)),
                // Others have used it since it was read, or it was ended: what is it now? Or it was our own earlier try.
                Transacted::Other => {
                    let found =
                        self.lookup(Some(order.order_id), order.user_id, &[], Some(&terms.code)).await?;
                    if let Some(first) = found.placed {
                        return Ok(Placing::Earlier(first));
                    }
                    offer = found.discount.offer(now)?;
                }
                Transacted::Busy => {}
            }
        }
    }

    /// The writes of an order with a code: its first commit, the use, and one more in each counter, within its limit.
    fn uses(
        &self,
        order: &NewOrder<'_>,
        terms: &Terms,
        commit: Item,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let code = terms.code.key();
        let count = Update::builder()
            .table_name(&self.table.name)
            .set_key(Some(code_key(&code)))
            .update_expression("ADD used :one")
            .expression_attribute_values(":one", number(1));
        let count = match terms.total_limit {
            None => count.condition_expression("attribute_exists(pk) AND attribute_not_exists(ended)"),
            Some(limit) => count
                .condition_expression(
                    "attribute_exists(pk) AND attribute_not_exists(ended) AND used < :limit",
                )
                .expression_attribute_values(":limit", number(limit)),
        };
        let mut item = use_key(order.order_id);
        item.extend([(CODE.to_owned(), string(&code)), (USER_ID.to_owned(), string(order.user_id.as_str()))]);
        let mut writes = vec![self.commit(commit)?, update(count.build())?];
        if let Some(limit) = terms.per_customer_limit {
            item.insert(COUNTED.to_owned(), AttributeValue::Bool(true));
            let count = Update::builder()
                .table_name(&self.table.name)
                .set_key(Some(customer_key(&code, order.user_id.as_str())))
                .update_expression("ADD used :one")
                .condition_expression("attribute_not_exists(used) OR used < :limit")
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":limit", number(limit));
            writes.push(update(count.build())?);
        }
        let used = Put::builder().table_name(&self.table.name).set_item(Some(item));
        writes.push(put(used.condition_expression("attribute_not_exists(pk)").build())?);
        Ok(writes)
    }

    /// Appends the commit by which an order with a code is cancelled: it gives its use back.
    pub(super) async fn append_and_give_back(
        &self,
        order_id: &OrderId,
        commit: Item,
    ) -> Result<Appended, StoreError> {
        let mut backoff = Backoff::within(GIVING_BACK);
        loop {
            let Some(used) = self.use_of(order_id).await? else {
                // Another instance has just cancelled the order, which the append will find; or the item was
                // deleted by hand.
                tracing::warn!(order_id = order_id.as_str(), "the order has no use of a code to give back");
                return self.append(commit).await;
            };
            match self.transact(self.gives_back(order_id, &used, commit.clone())?).await? {
                Transacted::Done => return Ok(Appended::Done),
                Transacted::First => return Ok(Appended::Taken),
                Transacted::Other | Transacted::Busy => {}
            }
            if !backoff.pause().await {
                return Err(StoreError::Contended(order_id.clone()));
            }
        }
    }

    fn gives_back(
        &self,
        order_id: &OrderId,
        used: &Item,
        commit: Item,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let broken = |error: ItemError| TableError::item("giving back a discount code", error);
        let code = text(used, CODE).map_err(broken)?;
        let gone = Delete::builder().table_name(&self.table.name).set_key(Some(use_key(order_id)));
        let mut writes =
            vec![self.commit(commit)?, delete(gone.condition_expression("attribute_exists(pk)").build())?];
        let mut counters = vec![code_key(code)];
        if used.contains_key(COUNTED) {
            counters.push(customer_key(code, text(used, USER_ID).map_err(broken)?));
        }
        for counter in counters {
            let count = Update::builder()
                .table_name(&self.table.name)
                .set_key(Some(counter))
                .update_expression("ADD used :less")
                .expression_attribute_values(":less", number(-1));
            writes.push(update(count.build())?);
        }
        Ok(writes)
    }

    async fn use_of(&self, order_id: &OrderId) -> Result<Option<Item>, TableError> {
        let get = self.table.client.get_item().table_name(&self.table.name).consistent_read(true);
        let answer = get.set_key(Some(use_key(order_id))).send().await;
        Ok(answer.map_err(|e| TableError::call("reading the use of a code", e))?.item)
    }

    async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<Transacted, StoreError> {
        Ok(self.table.transact_items(APPENDING, writes).await?)
    }

    fn commit(&self, item: Item) -> Result<TransactWriteItem, TableError> {
        let commit = Put::builder().table_name(&self.table.name).set_item(Some(item));
        put(commit.condition_expression(NOT_TAKEN).build())
    }
}

fn discount(mut item: Item) -> Result<Discount, ItemError> {
    let used = used(&item)?;
    let terms = item.remove(TERMS).ok_or(ItemError::Attribute(TERMS))?;
    let terms = serde_dynamo::from_attribute_value(terms).map_err(|_| ItemError::Attribute(TERMS))?;
    Ok(Discount { terms, used })
}

fn used(item: &Item) -> Result<u64, ItemError> {
    let used = item.get(USED).and_then(|value| value.as_n().ok()?.parse().ok());
    used.ok_or(ItemError::Attribute(USED))
}

fn code_key(code: &str) -> Item {
    key(format!("DISCOUNT#{code}"), DISCOUNT)
}

fn customer_key(code: &str, user: &str) -> Item {
    key(format!("DISCOUNT#{code}#{user}"), CUSTOMER)
}

fn use_key(order_id: &OrderId) -> Item {
    key(format!("DISCOUNT_USE#{order_id}"), USE)
}

fn list_key(code: &str) -> Item {
    key(DISCOUNTS, code)
}

type Built<T> = Result<T, BuildError>;

fn put(put: Built<Put>) -> Result<TransactWriteItem, TableError> {
    Ok(TransactWriteItem::builder().put(put.map_err(unbuilt)?).build())
}

fn update(update: Built<Update>) -> Result<TransactWriteItem, TableError> {
    Ok(TransactWriteItem::builder().update(update.map_err(unbuilt)?).build())
}

fn delete(delete: Built<Delete>) -> Result<TransactWriteItem, TableError> {
    Ok(TransactWriteItem::builder().delete(delete.map_err(unbuilt)?).build())
}

fn unbuilt(error: BuildError) -> TableError {
    TableError::call("building a write", error)
}

fn busy(operation: &'static str) -> StoreError {
    TableError::call(operation, "others were writing the same code").into()
}

#[cfg(test)]
mod tests;
