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
//! and the one that ends it as cancelled, of which there is one at most. So no use is lost or released twice, whatever
//! is repeated or dies in between.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use contracts::{OrderId, UserId};
use jiff::Timestamp;
use lambda_kit::{
    audit::Entry,
    dynamodb::{
        ABSENT, Budget, Conflict, Expression, Item, SK, TableError, TransactOutcome, Write, key, number,
        retry_on_conflict, string,
    },
};

use super::{
    APPENDING, LOOKUP, NewOrder, Store, StoreError,
    item::{ItemError, count, text},
    item_of,
};
use crate::domain::{Commit, Discount, DiscountCode, DiscountError, EventContext, Offer, Rejected, Terms};

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

/// The index of the order's commit among the writes of a transaction.
pub const COMMIT: usize = 0;

/// How long a cancel retries to release a use.
// It leaves time in the function's 30 s. The saga tries again after it.
const RELEASING: Budget = Budget::Time(Duration::from_secs(10));

/// A discount code with this customer's usage.
#[derive(Debug, Default)]
pub struct DiscountLookup {
    discount: Option<Discount>,
    ended: bool,
    used_by_customer: u64,
}

impl DiscountLookup {
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
                found.used_by_customer = count(&item, USED)?;
            } else {
                found.ended = item.contains_key(ENDED);
                found.discount = Some(discount(item)?);
            }
        }
        Ok(found)
    }
}

/// The keys of the items to read before a customer uses a code.
pub(super) fn keys_of(code: &DiscountCode, user: &UserId) -> [Item; 2] {
    [code_key(&code.key()), customer_key(&code.key(), user.as_str())]
}

pub(super) fn is_discount(item: &Item) -> bool {
    text(item, SK).is_ok_and(|sk| [DISCOUNT, CUSTOMER].contains(&sk))
}

impl Store {
    /// Creates a code, with its audit entry. Conflicts when there is or was one of this name.
    pub async fn create_discount(
        &self,
        terms: &Terms,
        entry: &Entry,
    ) -> Result<Result<(), Conflict>, StoreError> {
        const OPERATION: &str = "creating a discount code";
        let code = terms.code.key();
        let mut item = code_key(&code);
        let terms = serde_dynamo::to_attribute_value(terms).map_err(|e| TableError::item(OPERATION, e))?;
        item.extend([(TERMS.to_owned(), terms), (USED.to_owned(), number(0))]);
        let writes = vec![Write::put(item).when(ABSENT), Write::put(list_key(&code)), entry.write()?];
        self.change_code(OPERATION, writes).await
    }

    /// Ends a code for new orders, with its audit entry; orders that used it keep their discount. Conflicts when
    /// there is no active one.
    pub async fn end_discount(
        &self,
        code: &DiscountCode,
        entry: &Entry,
    ) -> Result<Result<(), Conflict>, StoreError> {
        let code = code.key();
        let end = Expression::new("SET ended = :true").value(":true", AttributeValue::Bool(true));
        let is_active = "attribute_exists(pk) AND attribute_not_exists(ended)";
        let writes = vec![
            Write::update(code_key(&code), end).when(is_active),
            Write::delete(list_key(&code)),
            entry.write()?,
        ];
        self.change_code("ending a discount code", writes).await
    }

    async fn change_code(
        &self,
        operation: &'static str,
        writes: Vec<Write>,
    ) -> Result<Result<(), Conflict>, StoreError> {
        match self.table.transact(operation, writes).await? {
            TransactOutcome::Done => Ok(Ok(())),
            TransactOutcome::ConditionFailed { .. } => Ok(Err(Conflict)),
            // An order uses the code at this moment. The administrator gets 503, and tries again.
            TransactOutcome::Conflict => Err(TableError::call(operation, Conflict).into()),
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
            .query()
            .consistent_read(true)
            .expression_attribute_values(":list", string(DISCOUNTS))
            .set_limit(i32::try_from(limit + 1).ok());
        let query = match after {
            None => query.key_condition_expression("pk = :list"),
            Some(code) => query
                .key_condition_expression("pk = :list AND sk > :after")
                .expression_attribute_values(":after", string(code.key())),
        };
        let entries = self.table.query_page(OPERATION, query).await?.items;
        let codes = entries.iter().take(limit).map(|entry| text(entry, SK).map(code_key));
        let codes: Vec<Item> = codes.collect::<Result<_, _>>().map_err(|e| TableError::item(OPERATION, e))?;
        let found = self.table.batch_get(OPERATION, codes, LOOKUP).await?.into_iter().map(discount);
        let mut found: Vec<Discount> =
            found.collect::<Result<_, _>>().map_err(|e| TableError::item(OPERATION, e))?;
        found.sort_by_cached_key(|discount| discount.terms.code.key());
        Ok((found, entries.len() > limit))
    }

    /// Appends an order's first commit and uses the code, all or nothing. The commit is the write at index
    /// [`COMMIT`]: its condition fails when the order was placed before. Another condition fails when the code
    /// was ended, or a limit is reached.
    pub async fn append_first_with_use(
        &self,
        order: &NewOrder<'_>,
        commit: &Commit,
        placed_at: Timestamp,
        terms: &Terms,
    ) -> Result<TransactOutcome, StoreError> {
        let item = self.first_item(order, commit, placed_at)?;
        Ok(self.table.transact(APPENDING, uses(order, terms, item)).await?)
    }

    /// Appends the commit by which an order with a code is cancelled, and with it releases its use of the code.
    /// Conflicts when there is a commit of that version.
    pub async fn append_and_release(
        &self,
        commit: &Commit,
        context: EventContext<'_>,
    ) -> Result<Result<(), Conflict>, StoreError> {
        let (order_id, item) = (context.order_id, item_of(commit, context)?);
        let appended = retry_on_conflict(RELEASING, || async {
            // The use says which counters count it. The terms are not read.
            let used = self.table.get_item("reading the use of a code", use_key(order_id)).await?;
            let Some(used) = used else {
                // Another instance has just cancelled the order, which the append will find; or the item was
                // deleted by hand.
                tracing::warn!(order_id = order_id.as_str(), "the order has no use of a code to release");
                return Ok(Ok(self.append(commit, context).await?));
            };
            let writes = releases(order_id, &used, &item)?;
            Ok::<_, StoreError>(match self.table.transact(APPENDING, writes).await? {
                TransactOutcome::Done => Ok(Ok(())),
                // The order has changed: the caller reads it and decides again.
                TransactOutcome::ConditionFailed { index: COMMIT } => Ok(Err(Conflict)),
                // The use or a counter was changed meanwhile. The decision about the order still holds, so
                // only the use is read again.
                TransactOutcome::ConditionFailed { .. } | TransactOutcome::Conflict => Err(Conflict),
            })
        });
        appended.await?.map_err(|Conflict| StoreError::Contended(order_id.clone()))
    }
}

/// The writes of an order with a code: its first commit, the use, and one more in each counter, within its limit.
fn uses(order: &NewOrder<'_>, terms: &Terms, commit: Item) -> Vec<Write> {
    let code = terms.code.key();
    let one_more = || Expression::new("ADD used :one").value(":one", number(1));
    let is_active = "attribute_exists(pk) AND attribute_not_exists(ended)";
    let within_limit = match terms.total_limit {
        None => is_active.into(),
        Some(limit) => {
            Expression::new(format!("{is_active} AND used < :limit")).value(":limit", number(limit))
        }
    };
    let mut used = use_key(order.order_id);
    used.extend([(CODE.to_owned(), string(&code)), (USER_ID.to_owned(), string(order.user_id.as_str()))]);
    let mut writes =
        vec![Write::put(commit).when(ABSENT), Write::update(code_key(&code), one_more()).when(within_limit)];
    if let Some(limit) = terms.per_customer_limit {
        used.insert(COUNTED.to_owned(), AttributeValue::Bool(true));
        let within_limit = Expression::new("attribute_not_exists(used) OR used < :limit");
        let count = Write::update(customer_key(&code, order.user_id.as_str()), one_more());
        writes.push(count.when(within_limit.value(":limit", number(limit))));
    }
    writes.push(Write::put(used).when(ABSENT));
    writes
}

/// The writes that append a commit and release a use: one less in each counter that counts it.
fn releases(order_id: &OrderId, used: &Item, commit: &Item) -> Result<Vec<Write>, TableError> {
    let broken = |error: ItemError| TableError::item("releasing a discount code", error);
    let code = text(used, CODE).map_err(broken)?;
    let mut counters = vec![code_key(code)];
    if used.contains_key(COUNTED) {
        counters.push(customer_key(code, text(used, USER_ID).map_err(broken)?));
    }
    let one_less = || Expression::new("ADD used :less").value(":less", number(-1));
    let mut writes = vec![
        Write::put(commit.clone()).when(ABSENT),
        Write::delete(use_key(order_id)).when("attribute_exists(pk)"),
    ];
    writes.extend(counters.into_iter().map(|counter| Write::update(counter, one_less())));
    Ok(writes)
}

fn discount(mut item: Item) -> Result<Discount, ItemError> {
    let used = count(&item, USED)?;
    let terms = item.remove(TERMS).ok_or(ItemError::Attribute(TERMS))?;
    let terms = serde_dynamo::from_attribute_value(terms).map_err(|_| ItemError::Attribute(TERMS))?;
    Ok(Discount { terms, used })
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

// The codes themselves are partitions of their own, since orders write to their counters. A list could find
// them by a scan only.
fn list_key(code: &str) -> Item {
    key(DISCOUNTS, code)
}

#[cfg(test)]
mod tests;
