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

/// A place in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pk: String,
    sk: String,
}

/// A view as the scan found it; its order may not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    pub order_id: OrderId,
    place: Place,
    revision: u64,
}

/// A part of the table.
#[derive(Debug, Default)]
pub struct Scanned {
    pub orders: Vec<OrderId>,
    pub views: Vec<Stray>,
    /// The place after which it goes on, if it does.
    pub last: Option<Place>,
}

impl Place {
    fn key(&self) -> Item {
        key(&*self.pk, &*self.sk)
    }
}

impl Stray {
    /// Whether the view of that order belongs here.
    pub fn is_view_of(&self, history: &History) -> bool {
        key_of(history) == self.place.key()
    }
}

impl Store {
    /// The orders and the views among the next `limit` items after a place, read consistently.
    pub async fn scan(&self, after: Option<&Place>, limit: i32) -> Result<Scanned, StoreError> {
        const OPERATION: &str = "reading all orders";
        let scan = self
            .table
            .scan()
            .consistent_read(true)
            .projection_expression("pk, sk, revision")
            .limit(limit)
            .set_exclusive_start_key(after.map(Place::key));
        let page = self.table.scan_page(OPERATION, scan).await?;
        let mut scanned = Scanned::default();
        for item in &page.items {
            sort(item, &mut scanned).map_err(|e| TableError::item(OPERATION, e))?;
        }
        let last = page.next.as_ref().map(place).transpose();
        Ok(Scanned { last: last.map_err(|e| TableError::item(OPERATION, e))?, ..scanned })
    }

    /// Removes a view, unless it has changed.
    pub async fn remove_view(&self, view: &Stray) -> Result<(), StoreError> {
        let seen = Expression::new("revision = :seen").value(":seen", number(view.revision));
        let (Ok(()) | Err(Conflict)) =
            self.table.delete_if("removing a view", view.place.key(), seen).await?;
        Ok(())
    }
}

fn sort(item: &Item, scanned: &mut Scanned) -> Result<(), ItemError> {
    let place = place(item)?;
    if let Some(order_id) = place.pk.strip_prefix(ORDER) {
        if place.sk == format!("{COMMIT}{:08}", 1) {
            scanned.orders.push(OrderId::from_str(order_id).map_err(|_| ItemError::Attribute(PK))?);
        }
    } else if place.pk.starts_with(CUSTOMER) && place.sk.starts_with(ORDER) {
        let order_id = place.sk.rsplit('#').next().map(OrderId::from_str);
        let Some(Ok(order_id)) = order_id else { return Err(ItemError::Attribute(SK)) };
        scanned.views.push(Stray { order_id, place, revision: count(item, REVISION)? });
    }
    Ok(())
}

fn place(item: &Item) -> Result<Place, ItemError> {
    Ok(Place { pk: text(item, PK)?.to_owned(), sk: text(item, SK)?.to_owned() })
}
