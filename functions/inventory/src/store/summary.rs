//! The last published availability of a SKU.

use contracts::Sku;
use lambda_kit::dynamodb::{Conflict, TableError, at_version, to_item, with_outbox};

use super::{Store, sku_key};
use crate::domain::{Summary, SummaryChange};

pub(super) const SUMMARY: &str = "SUMMARY";

impl Store {
    /// The last published summary of the SKU's stock (a consistent read).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn summary(&self, sku: &Sku) -> Result<Option<Summary>, TableError> {
        self.table.get("stock summary", sku_key(sku, SUMMARY)).await
    }

    /// Publishes a new availability, under the condition that the version before it is still the last one. Conflicts
    /// when another one was published meanwhile.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn write_summary(&self, change: &SummaryChange) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "write stock summary";
        let summary = &change.summary;
        let item = to_item(OPERATION, sku_key(&summary.sku, SUMMARY), summary)?;
        let item = with_outbox(OPERATION, item, std::slice::from_ref(&change.event))?;
        self.table.put_if(OPERATION, item, at_version(summary.version - 1)).await
    }
}
