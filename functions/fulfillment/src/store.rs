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
    dynamodb::{Item, OUTBOX, Table, TableError, condition_failed, key, number, outbox},
    health::Check,
};

use crate::domain::{Change, Parcel};

/// The outcome of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Done,
    /// The parcel has changed since the decision.
    Moved,
}

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
        let operation = "read parcel";
        let answer = self
            .table
            .client
            .get_item()
            .table_name(&self.table.name)
            .set_key(Some(parcel_key(order)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| TableError::call(operation, error))?;
        answer
            .item
            .map(serde_dynamo::from_item)
            .transpose()
            .map_err(|error| TableError::item(operation, error))
    }

    /// Writes a parcel, if it has not changed since the decision.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn write(&self, change: &Change) -> Result<Written, TableError> {
        let operation = "write parcel";
        let put = self
            .table
            .client
            .put_item()
            .table_name(&self.table.name)
            .set_item(Some(item(operation, change)?));
        let put = match change.expected {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(version) => put
                .condition_expression("version = :expected")
                .expression_attribute_values(":expected", number(version)),
        };
        match put.send().await {
            Ok(_) => Ok(Written::Done),
            Err(error) if condition_failed(&error) => Ok(Written::Moved),
            Err(error) => Err(TableError::call(operation, error)),
        }
    }
}

fn item(operation: &'static str, change: &Change) -> Result<Item, TableError> {
    let mut item: Item =
        serde_dynamo::to_item(&change.parcel).map_err(|error| TableError::item(operation, error))?;
    item.extend(parcel_key(&change.parcel.order_id));
    let events = change.events().map_err(|error| TableError::item(operation, error))?;
    item.insert(OUTBOX.to_owned(), outbox(&events).map_err(|error| TableError::item(operation, error))?);
    Ok(item)
}

fn parcel_key(order: &OrderId) -> Item {
    key(format!("SHIPMENT#{order}"), "SHIPMENT")
}
