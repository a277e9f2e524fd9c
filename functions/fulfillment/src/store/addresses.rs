//! The index of customers' addresses, and their erasure.

use contracts::{OrderId, UserId};
use lambda_kit::dynamodb::{Conflict, Expression, Item, SK, TableError, key, number, string, string_of};

use super::{Store, shipment_key};

const SHIPMENT_ENTRY: &str = "PARCEL#";
const DELETED: &str = "DELETED";

/// Shipments of one customer that have an address, and the start of the next page.
#[derive(Debug, Default)]
pub struct AddressPage {
    pub orders: Vec<OrderId>,
    pub next: Option<Item>,
}

impl Store {
    /// Records that the order's shipment has an address of this customer. Idempotent.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn put_address_entry(&self, customer: &UserId, order: &OrderId) -> Result<(), TableError> {
        self.table.put("write address entry", address_key(customer, order)).await
    }

    /// Deletes that record, if there is one.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn delete_address_entry(&self, customer: &UserId, order: &OrderId) -> Result<(), TableError> {
        self.table.delete("delete address entry", address_key(customer, order)).await
    }

    /// Records permanently that the customer was deleted.
    ///
    /// # Errors
    /// When the table cannot be written.
    // Without an expiry: an order of the customer that is still open may book a shipment much later.
    pub async fn mark_deleted(&self, customer: &UserId) -> Result<(), TableError> {
        self.table.put("mark a deleted customer", key(partition(customer), DELETED)).await
    }

    /// Whether the customer was deleted (a consistent read).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn is_deleted(&self, customer: &UserId) -> Result<bool, TableError> {
        let mark = self.table.get_item("look for a deleted customer", key(partition(customer), DELETED));
        Ok(mark.await?.is_some())
    }

    /// One page of the orders whose shipments have an address of this customer (a consistent read).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn addresses(&self, customer: &UserId, from: Option<Item>) -> Result<AddressPage, TableError> {
        const OPERATION: &str = "list a customer's addresses";
        let query = self
            .table
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :customer AND begins_with(sk, :shipment)")
            .expression_attribute_values(":customer", string(partition(customer)))
            .expression_attribute_values(":shipment", string(SHIPMENT_ENTRY))
            .set_exclusive_start_key(from);
        let page = self.table.query_page(OPERATION, query).await?;
        let order = |item: &Item| {
            let order = string_of(item, SK).and_then(|sk| sk.strip_prefix(SHIPMENT_ENTRY)?.parse().ok());
            order.ok_or_else(|| TableError::item(OPERATION, "its key names no order"))
        };
        Ok(AddressPage { orders: page.items.iter().map(order).collect::<Result<_, _>>()?, next: page.next })
    }

    /// Removes the address from a shipment, if it has one. This counts as a write, so that a concurrent
    /// decision that read the address is made again.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn erase_address(&self, order: &OrderId) -> Result<(), TableError> {
        let (Ok(()) | Err(Conflict)) = self
            .table
            .update_if(
                "erase an address",
                shipment_key(order),
                // The version makes a concurrent decision fail that has read the address and would write it
                // back.
                Expression::new("REMOVE shipping_address ADD version :one").value(":one", number(1)),
                "attribute_exists(shipping_address)",
            )
            .await?;
        Ok(())
    }
}

fn address_key(customer: &UserId, order: &OrderId) -> Item {
    key(partition(customer), format!("{SHIPMENT_ENTRY}{order}"))
}

fn partition(customer: &UserId) -> String {
    format!("CUSTOMER#{customer}")
}
