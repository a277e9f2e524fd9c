//! The last published class of a SKU's stock.

use aws_sdk_dynamodb::types::Put;
use contracts::Sku;
use lambda_kit::dynamodb::{OUTBOX, TableError, number, outbox};

use super::{Store, Written, item, sku_key};
use crate::domain::{Summary, SummaryChange};

pub(super) const SUMMARY: &str = "SUMMARY";

impl Store {
    /// The last published summary of the SKU's stock (a consistent read).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn summary(&self, sku: &Sku) -> Result<Option<Summary>, TableError> {
        self.get("stock summary", sku_key(sku, SUMMARY)).await
    }

    /// Publishes a new class with a condition on the version before it. `Moved` when another one was
    /// published meanwhile.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn write_summary(&self, change: &SummaryChange) -> Result<Written, TableError> {
        const OPERATION: &str = "write stock summary";
        let summary = &change.summary;
        let mut item = item(OPERATION, sku_key(&summary.sku, SUMMARY), summary)?;
        let events = outbox(std::slice::from_ref(&change.event));
        item.insert(OUTBOX.to_owned(), events.map_err(|error| TableError::item(OPERATION, error))?);
        let put = Put::builder().table_name(&self.table.name).set_item(Some(item));
        let put = match summary.version - 1 {
            0 => put.condition_expression("attribute_not_exists(pk)"),
            before => put
                .condition_expression("version = :before")
                .expression_attribute_values(":before", number(before)),
        };
        self.put(OPERATION, put.build().map_err(|error| TableError::call(OPERATION, error))?).await
    }
}
