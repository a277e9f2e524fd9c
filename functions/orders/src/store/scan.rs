//! Reading the whole table, for replays.

use std::str::FromStr;

use contracts::OrderId;
use lambda_kit::dynamodb::{Conflict, Expression, Item, PK, SK, TableError, key, number};
use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    item::{COMMIT, ItemError, count, text},
    views::{CUSTOMER, ORDER, REVISION, key_of},
};
use crate::domain::History;

/// The primary key of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemKey {
    pk: String,
    sk: String,
}

/// A view that a scan found. It may be orphaned: without an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedView {
    pub order_id: OrderId,
    item_key: ItemKey,
    revision: u64,
}

/// One page of a scan.
#[derive(Debug, Default)]
pub struct Scanned {
    pub orders: Vec<OrderId>,
    pub views: Vec<ScannedView>,
    /// The key after which the next page begins, if there is one.
    pub last: Option<ItemKey>,
}

impl ItemKey {
    fn key(&self) -> Item {
        key(&*self.pk, &*self.sk)
    }
}

impl ScannedView {
    /// Whether it is the view of that order, and has its key.
    pub fn is_view_of(&self, history: &History) -> bool {
        key_of(history) == self.item_key.key()
    }
}

impl Store {
    /// The orders and the views among the next `limit` items after a key, read consistently.
    pub async fn scan(&self, after: Option<&ItemKey>, limit: i32) -> Result<Scanned, StoreError> {
        const OPERATION: &str = "reading all orders";
        let scan = self
            .table
            .scan()
            // A replay must find every order that was placed before it began. Orders that are placed later
            // are counted by the reader of the stream.
            .consistent_read(true)
            .projection_expression("pk, sk, revision")
            .limit(limit)
            .set_exclusive_start_key(after.map(ItemKey::key));
        let page = self.table.scan_page(OPERATION, scan).await?;
        let mut scanned = Scanned::default();
        for item in &page.items {
            sort(item, &mut scanned).map_err(|e| TableError::item(OPERATION, e))?;
        }
        let last = page.next.as_ref().map(item_key).transpose();
        Ok(Scanned { last: last.map_err(|e| TableError::item(OPERATION, e))?, ..scanned })
    }

    /// Removes a view, unless it has changed.
    pub async fn remove_view(&self, view: &ScannedView) -> Result<(), StoreError> {
        // The order may have been projected since the scan. A view that was just written is not removed.
        let seen = Expression::new("revision = :seen").value(":seen", number(view.revision));
        let (Ok(()) | Err(Conflict)) =
            self.table.delete_if("removing a view", view.item_key.key(), seen).await?;
        Ok(())
    }
}

fn sort(item: &Item, scanned: &mut Scanned) -> Result<(), ItemError> {
    let item_key = item_key(item)?;
    if let Some(order_id) = item_key.pk.strip_prefix(ORDER) {
        // Each order has exactly one first commit, so each is named once.
        if item_key.sk == format!("{COMMIT}{:08}", 1) {
            scanned.orders.push(OrderId::from_str(order_id).map_err(|_| ItemError::Attribute(PK))?);
        }
    } else if item_key.pk.starts_with(CUSTOMER) && item_key.sk.starts_with(ORDER) {
        let order_id = item_key.sk.rsplit('#').next().map(OrderId::from_str);
        let Some(Ok(order_id)) = order_id else { return Err(ItemError::Attribute(SK)) };
        scanned.views.push(ScannedView { order_id, item_key, revision: count(item, REVISION)? });
    }
    Ok(())
}

fn item_key(item: &Item) -> Result<ItemKey, ItemError> {
    Ok(ItemKey { pk: text(item, PK)?.to_owned(), sk: text(item, SK)?.to_owned() })
}
