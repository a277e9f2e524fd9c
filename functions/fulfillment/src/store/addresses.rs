//! The index of customers' addresses, and their erasure.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use contracts::{OrderId, UserId};
use lambda_kit::dynamodb::{PK, SK, TableError, condition_failed, key, number, string};

use super::{Store, parcel_key};

const PARCEL: &str = "PARCEL#";
const DELETED: &str = "DELETED";

/// Parcels of one customer that have an address, and the start of the next page.
#[derive(Debug, Default)]
pub struct Page {
    pub orders: Vec<OrderId>,
    pub next: Option<HashMap<String, AttributeValue>>,
}

impl Store {
    /// Records that the order's parcel has an address of this customer. Idempotent.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn note_address(&self, customer: &UserId, order: &OrderId) -> Result<(), TableError> {
        let put = self.table.client.put_item().table_name(&self.table.name);
        let put = put.set_item(Some(key(partition(customer), format!("{PARCEL}{order}"))));
        put.send().await.map(drop).map_err(|error| TableError::call("note an address", error))
    }

    /// Deletes that record, if there is one.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn forget_address(&self, customer: &UserId, order: &OrderId) -> Result<(), TableError> {
        let delete = self.table.client.delete_item().table_name(&self.table.name);
        let delete = delete.set_key(Some(key(partition(customer), format!("{PARCEL}{order}"))));
        delete.send().await.map(drop).map_err(|error| TableError::call("forget an address", error))
    }

    /// Records permanently that the customer was deleted.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn mark_deleted(&self, customer: &UserId) -> Result<(), TableError> {
        let put = self.table.client.put_item().table_name(&self.table.name);
        let put = put.set_item(Some(key(partition(customer), DELETED)));
        put.send().await.map(drop).map_err(|error| TableError::call("mark a deleted customer", error))
    }

    /// Whether the customer was deleted (a consistent read).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn is_deleted(&self, customer: &UserId) -> Result<bool, TableError> {
        let get = self.table.client.get_item().table_name(&self.table.name);
        let get = get.set_key(Some(key(partition(customer), DELETED))).consistent_read(true);
        let answer =
            get.send().await.map_err(|error| TableError::call("look for a deleted customer", error))?;
        Ok(answer.item.is_some())
    }

    /// One page of the orders whose parcels have an address of this customer (a consistent read).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn addresses(
        &self,
        customer: &UserId,
        from: Option<HashMap<String, AttributeValue>>,
    ) -> Result<Page, TableError> {
        let operation = "list a customer's addresses";
        let page = self
            .table
            .client
            .query()
            .table_name(&self.table.name)
            .consistent_read(true)
            .key_condition_expression("pk = :customer AND begins_with(sk, :parcel)")
            .expression_attribute_values(":customer", string(partition(customer)))
            .expression_attribute_values(":parcel", string(PARCEL))
            .set_exclusive_start_key(from)
            .send()
            .await
            .map_err(|error| TableError::call(operation, error))?;
        let order = |item: HashMap<String, AttributeValue>| {
            let order = item.get(SK).and_then(|sk| sk.as_s().ok()?.strip_prefix(PARCEL)?.parse().ok());
            order.ok_or_else(|| TableError::item(operation, "its key names no order"))
        };
        Ok(Page {
            orders: page.items.unwrap_or_default().into_iter().map(order).collect::<Result<_, _>>()?,
            next: page.last_evaluated_key.filter(|key| key.contains_key(PK)),
        })
    }

    /// Removes the address from a parcel, if it has one. This counts as a write, so that a concurrent
    /// decision that read the address is made again.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn erase_address(&self, order: &OrderId) -> Result<(), TableError> {
        let update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(parcel_key(order)))
            .update_expression("REMOVE shipping_address ADD version :one")
            .condition_expression("attribute_exists(shipping_address)")
            .expression_attribute_values(":one", number(1));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if condition_failed(&error) => Ok(()),
            Err(error) => Err(TableError::call("erase an address", error)),
        }
    }
}

fn partition(customer: &UserId) -> String {
    format!("CUSTOMER#{customer}")
}
