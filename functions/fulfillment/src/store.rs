//! The table of fulfillment: the only place that knows its keys and expressions.
//!
//! | pk | sk | what |
//! |---|---|---|
//! | `SHIPMENT#<order>` | `SHIPMENT` | the order's shipment, with its outbox |
//! | `CUSTOMER#<user>` | `PARCEL#<order>` | a shipment of the customer's has an address |
//! | `CUSTOMER#<user>` | `DELETED` | the customer was deleted. Stays: an open order may still book a shipment |

mod addresses;

use contracts::OrderId;
use lambda_kit::{
    dynamodb::{Conflict, Item, Table, TableError, at_version, key, to_item, with_outbox},
    health::Check,
};

use crate::domain::{Change, Shipment};

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

    /// The order's shipment (a consistent read).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn shipment(&self, order: &OrderId) -> Result<Option<Shipment>, TableError> {
        self.table.get("read shipment", shipment_key(order)).await
    }

    /// Writes a shipment. Conflicts when it has changed since the decision.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn write(&self, change: &Change) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "write shipment";
        let item = to_item(OPERATION, shipment_key(&change.shipment.order_id), &change.shipment)?;
        let events = change.events().map_err(|error| TableError::item(OPERATION, error))?;
        let item = with_outbox(OPERATION, item, &events)?;
        self.table.put_if(OPERATION, item, at_version(change.expected.unwrap_or(0))).await
    }
}

fn shipment_key(order: &OrderId) -> Item {
    key(format!("SHIPMENT#{order}"), "SHIPMENT")
}
