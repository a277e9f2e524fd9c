//! Reading and writing many items in one call (BatchGetItem, BatchWriteItem).

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{DeleteRequest, KeysAndAttributes, PutRequest, WriteRequest},
};

use super::{Item, Table, TableError};
use crate::provider::full_jitter;

/// The limit of keys in one call (BatchGetItem, API reference).
const KEYS_PER_CALL: usize = 100;
/// The limit of writes in one call (BatchWriteItem, API reference).
const WRITES_PER_CALL: usize = 25;
/// Calls for the same writes, at most.
const WRITE_TRIES: u32 = 3;
/// The first pause is drawn below this, each later one below twice as much.
// DynamoDB leaves keys unprocessed while it throttles, and would leave them unprocessed again if they were
// requested at once.
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
    /// All attributes, consistently.
    // With two tries, it fits into a function that serves a client.
    pub const CONSISTENT: Self = Self { consistent: true, attributes: None, tries: 2 };
    /// All attributes, eventually consistent.
    pub const EVENTUAL: Self = Self { consistent: false, ..Self::CONSISTENT };
}

/// DynamoDB left keys unprocessed at every try (the source of a [`TableError::Call`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{keys} keys were left unprocessed after {tries} calls")]
pub struct UnprocessedKeys {
    /// The number of keys that the last call left.
    pub keys: usize,
    /// The number of calls.
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
            pause_before(attempt).await;
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

    /// Writes these items over those that exist. Not atomic, and without conditions. Keys must be unique. Up to
    /// 25 items are one call; items that DynamoDB leaves unprocessed are written again after a pause.
    ///
    /// # Errors
    /// When a call fails, or items stay unprocessed ([`UnprocessedKeys`]): some of them may be written.
    pub async fn batch_put(&self, operation: &'static str, items: Vec<Item>) -> Result<(), TableError> {
        let put = |item| {
            let request = PutRequest::builder().set_item(Some(item)).build()?;
            Ok(WriteRequest::builder().put_request(request).build())
        };
        self.batch_write(operation, items.into_iter().map(put).collect()).await
    }

    /// Deletes the items of these keys, as [`batch_put`](Self::batch_put) writes items. A missing item is a
    /// success.
    ///
    /// # Errors
    /// When a call fails, or keys stay unprocessed ([`UnprocessedKeys`]): some items may be deleted.
    pub async fn batch_delete(&self, operation: &'static str, keys: Vec<Item>) -> Result<(), TableError> {
        let delete = |key| {
            let request = DeleteRequest::builder().set_key(Some(key)).build()?;
            Ok(WriteRequest::builder().delete_request(request).build())
        };
        self.batch_write(operation, keys.into_iter().map(delete).collect()).await
    }

    async fn batch_write(
        &self,
        operation: &'static str,
        writes: Result<Vec<WriteRequest>, BuildError>,
    ) -> Result<(), TableError> {
        for writes in writes.map_err(|e| TableError::call(operation, e))?.chunks(WRITES_PER_CALL) {
            self.write_chunk(operation, writes.to_vec()).await?;
        }
        Ok(())
    }

    async fn write_chunk(
        &self,
        operation: &'static str,
        mut writes: Vec<WriteRequest>,
    ) -> Result<(), TableError> {
        for attempt in 0..WRITE_TRIES {
            pause_before(attempt).await;
            let batch = HashMap::from([(self.name.clone(), writes)]);
            let call = self.client.batch_write_item().set_request_items(Some(batch));
            let answer = call.send().await.map_err(|e| TableError::call(operation, e))?;
            writes = answer.unprocessed_items.unwrap_or_default().remove(&self.name).unwrap_or_default();
            if writes.is_empty() {
                return Ok(());
            }
        }
        Err(TableError::call(operation, UnprocessedKeys { keys: writes.len(), tries: WRITE_TRIES }))
    }
}

/// Waits before a retry, with full jitter; not before the first try, which is number 0.
async fn pause_before(attempt: u32) {
    if let Some(doublings) = attempt.checked_sub(1) {
        tokio::time::sleep(full_jitter(FIRST_PAUSE * 2_u32.pow(doublings))).await;
    }
}
