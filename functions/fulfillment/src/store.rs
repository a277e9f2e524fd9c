//! The table of fulfillment: the only place that knows its keys and expressions.
//!
//! | pk | sk | what |
//! |---|---|---|
//! | `SHIPMENT#<order>` | `SHIPMENT` | the order's parcel, with its outbox |
//! | `CUSTOMER#<user>` | `PARCEL#<order>` | a parcel of the customer's has an address |
//! | `CUSTOMER#<user>` | `DELETED` | the customer was deleted. Stays: an open order may still book a parcel |

mod addresses;

use contracts::OrderId;
use lambda_kit::{
    dynamodb::{Conflict, Item, Table, TableError, at_version, key, to_item, with_outbox},
    health::Check,
};

use crate::domain::{Change, Parcel};

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

impl Store {
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    pub fn health(&self) -> Check {
        self.table.health()
    }

    /// The order's parcel (a consistent read).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn parcel(&self, order: &OrderId) -> Result<Option<Parcel>, TableError> {
        self.table.get("read parcel", parcel_key(order)).await
    }

    /// Writes a parcel. Conflicts when it has changed since the decision.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn write(&self, change: &Change) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "write parcel";
        let item = to_item(OPERATION, parcel_key(&change.parcel.order_id), &change.parcel)?;
        let events = change.events().map_err(|error| TableError::item(OPERATION, error))?;
        let item = with_outbox(OPERATION, item, &events)?;
        self.table.put_if(OPERATION, item, at_version(change.expected.unwrap_or(0))).await
    }
}

fn parcel_key(order: &OrderId) -> Item {
    key(format!("SHIPMENT#{order}"), "SHIPMENT")
}
