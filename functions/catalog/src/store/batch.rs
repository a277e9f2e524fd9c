//! Reading many items at once.

use std::time::Duration;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use lambda_kit::dynamodb::{Item, TableError};

use super::Store;

/// The limit of keys in one call (BatchGetItem, API reference).
pub const KEYS: usize = 100;
/// Tries of a read that returns only a part. Last known values replace the rest.
const READS: usize = 2;
/// DynamoDB leaves keys out while it throttles, and would leave them out again if they were requested at
/// once.
const READ_PAUSE: Duration = Duration::from_millis(50);

impl Store {
    /// The existing items of these keys, in no order. Keys must be unique. Eventually consistent, at half the
    /// price.
    pub(super) async fn items(
        &self,
        operation: &'static str,
        keys: Vec<Item>,
    ) -> Result<Vec<Item>, TableError> {
        let mut items = Vec::new();
        for keys in keys.chunks(KEYS) {
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys.to_vec())).build();
            let wanted = wanted.map_err(|e| TableError::call(operation, e))?;
            items.extend(self.batch(operation, wanted).await?);
        }
        Ok(items)
    }

    async fn batch(
        &self,
        operation: &'static str,
        mut wanted: KeysAndAttributes,
    ) -> Result<Vec<Item>, TableError> {
        let mut items = Vec::new();
        for read in 0..READS {
            if read > 0 {
                tokio::time::sleep(READ_PAUSE).await;
            }
            let call = self.table.client.batch_get_item().request_items(&self.table.name, wanted);
            let answer = call.send().await.map_err(|e| TableError::call(operation, e))?;
            items.extend(answer.responses.unwrap_or_default().into_values().flatten());
            match answer.unprocessed_keys.unwrap_or_default().remove(&self.table.name) {
                Some(rest) if !rest.keys.is_empty() => wanted = rest,
                _ => return Ok(items),
            }
        }
        Err(TableError::call(operation, "the table left out a part of what was asked for"))
    }
}
