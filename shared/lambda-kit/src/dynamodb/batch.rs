//! Reading many items by their keys (BatchGetItem).

use std::time::Duration;

use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::{Item, Table, TableError};
use crate::provider::full_jitter;

/// The limit of keys in one call (BatchGetItem, API reference).
const KEYS_PER_CALL: usize = 100;
/// The first pause is drawn below this, each later one below twice as much. DynamoDB leaves keys unprocessed
/// while it throttles, and would leave them unprocessed again if they were requested at once.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How a batch is read.
#[derive(Debug, Clone, Copy)]
pub struct BatchRead {
    /// A consistent read costs twice as much as an eventually consistent one.
    pub consistent: bool,
    /// The attributes to read (a projection expression); all when it is `None`.
    pub attributes: Option<&'static str>,
    /// Calls for the same keys, at most.
    pub tries: u32,
}

impl BatchRead {
    /// All attributes, consistently. With two tries, it fits into a function that serves a client.
    pub const CONSISTENT: Self = Self { consistent: true, attributes: None, tries: 2 };
    /// All attributes, eventually consistent.
    pub const EVENTUAL: Self = Self { consistent: false, ..Self::CONSISTENT };
}

/// DynamoDB left keys unprocessed at every try (the source of a [`TableError::Call`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{keys} keys were left unprocessed after {tries} calls")]
pub struct UnprocessedKeys {
    pub keys: usize,
    pub tries: u32,
}

impl Table {
    /// The existing items of these keys, in no order. Keys must be unique. Up to 100 keys are one call; keys
    /// that DynamoDB leaves unprocessed are requested again.
    ///
    /// # Errors
    /// When a call fails, or keys stay unprocessed ([`UnprocessedKeys`]): a part is never returned as the whole.
    pub async fn batch_get(
        &self,
        operation: &'static str,
        keys: Vec<Item>,
        read: BatchRead,
    ) -> Result<Vec<Item>, TableError> {
        let mut items = Vec::new();
        for keys in keys.chunks(KEYS_PER_CALL) {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys.to_vec()))
                .consistent_read(read.consistent)
                .set_projection_expression(read.attributes.map(str::to_owned))
                .build()
                .map_err(|e| TableError::call(operation, e))?;
            self.batch_get_into(&mut items, operation, wanted, read.tries).await?;
        }
        Ok(items)
    }

    async fn batch_get_into(
        &self,
        items: &mut Vec<Item>,
        operation: &'static str,
        mut wanted: KeysAndAttributes,
        tries: u32,
    ) -> Result<(), TableError> {
        for attempt in 0..tries {
            if attempt > 0 {
                tokio::time::sleep(full_jitter(FIRST_PAUSE * 2_u32.pow(attempt - 1))).await;
            }
            let call = self.client.batch_get_item().request_items(&self.name, wanted.clone());
            let answer = call.send().await.map_err(|e| TableError::call(operation, e))?;
            items.extend(answer.responses.unwrap_or_default().into_values().flatten());
            match answer.unprocessed_keys.unwrap_or_default().remove(&self.name) {
                Some(rest) if !rest.keys.is_empty() => wanted = rest,
                _ => return Ok(()),
            }
        }
        Err(TableError::call(operation, UnprocessedKeys { keys: wanted.keys.len(), tries }))
    }
}
