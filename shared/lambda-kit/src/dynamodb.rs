//! Common to all stores: the table, the outbox attribute, and the classification of failed calls.

mod partitions;
mod transaction;

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{AttributeValue, CancellationReason},
};
use aws_types::SdkConfig;
use contracts::Envelope;
use futures::FutureExt;

use crate::{
    config::{self, ConfigError},
    health::Check,
};

pub use self::{
    partitions::{InvalidPartitions, Partitions},
    transaction::{Transacted, is_busy},
};

pub type Item = HashMap<String, AttributeValue>;

/// Partition and sort key of every table.
pub const PK: &str = "pk";
pub const SK: &str = "sk";
/// Events that the item's last change brought; see `relay`.
pub const OUTBOX: &str = "outbox";
/// Unix seconds after which DynamoDB may delete the item (it may take days: readers check it themselves).
pub const EXPIRES_AT: &str = "expires_at";

/// A context's table.
#[derive(Debug, Clone)]
pub struct Table {
    pub client: Client,
    pub name: String,
}

/// A failed call to the table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The call failed or its answer was lost, so it may have taken effect.
    #[error("{operation} failed")]
    Call {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An item that other code wrote, or that has another format.
    #[error("an item of {operation} cannot be read")]
    Item {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TableError {
    pub fn call(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Call { operation, source: source.into() }
    }

    pub fn item(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Item { operation, source: source.into() }
    }

    /// Whether the table does not answer. An item that cannot be parsed is no outage: it stays unreadable.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Call { .. })
    }
}

impl Table {
    /// The table named by `TABLE_NAME`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self { client: Client::new(sdk), name: config::required("TABLE_NAME")? })
    }

    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }

    /// Reads a key that no item has: the cheapest call that shows that the table answers, with a permission
    /// that every function on the table has.
    pub fn health(&self) -> Check {
        let table = self.clone();
        Check::new("table", move || {
            let table = table.clone();
            async move {
                table
                    .client
                    .get_item()
                    .table_name(&table.name)
                    .key(PK, string("HEALTH"))
                    .key(SK, string("HEALTH"))
                    .send()
                    .await
                    .is_ok()
            }
            .boxed()
        })
    }
}

pub fn string(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A key of the table.
pub fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    HashMap::from([(PK.to_owned(), string(pk)), (SK.to_owned(), string(sk))])
}

/// The value of the attribute `outbox`.
///
/// # Errors
/// When an envelope has no JSON form.
pub fn outbox(events: &[Envelope]) -> Result<AttributeValue, serde_json::Error> {
    Ok(AttributeValue::L(
        events
            .iter()
            .map(|event| serde_json::to_string(event).map(AttributeValue::S))
            .collect::<Result<_, _>>()?,
    ))
}

/// Whether the call failed its condition.
pub fn condition_failed<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}

/// The item that failed an update's condition, if there was one and the call asked for it (`ALL_OLD`).
pub fn refused_item<R>(
    error: &SdkError<aws_sdk_dynamodb::operation::update_item::UpdateItemError, R>,
) -> Option<&Item> {
    use aws_sdk_dynamodb::operation::update_item::UpdateItemError as E;
    match error.as_service_error()? {
        E::ConditionalCheckFailedException(failed) => failed.item.as_ref(),
        _ => None,
    }
}

/// The reason for each item of a cancelled transaction, by its code (`None`, `ConditionalCheckFailed`,
/// `TransactionConflict`, …). `None` when the transaction failed for another reason.
pub fn cancellation_reasons<R>(
    error: &SdkError<aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError, R>,
) -> Option<&[CancellationReason]> {
    use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError as E;
    match error.as_service_error()? {
        E::TransactionCanceledException(cancelled) => Some(cancelled.cancellation_reasons()),
        _ => None,
    }
}
