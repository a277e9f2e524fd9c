//! Common to all stores: reads and conditional writes of a table, the outbox attribute, and the classification
//! of failed calls.
//!
//! A store decides on what it has read and writes under the condition that this is unchanged (optimistic
//! locking). A write that lost the race ends with [`Conflict`], and [`retry_on_conflict`] reads, decides and
//! writes again.

mod batch;
mod expression;
mod partitions;
mod query;
mod retry;
mod table;
mod transaction;

use std::{collections::HashMap, str::FromStr};

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    types::AttributeValue,
};
use contracts::Envelope;
use serde::{Serialize, de::DeserializeOwned};

use crate::trace;

pub use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;

pub use self::{
    batch::{BatchRead, UnprocessedKeys},
    expression::{ABSENT, Expression, at_version},
    partitions::{InvalidPartitions, Partitions},
    query::ItemPage,
    retry::{Budget, retry_on_conflict, retry_on_conflict_with},
    table::Table,
    transaction::{TransactOutcome, Write},
};

/// The attributes of an item by name, in the form of the SDK.
pub type Item = HashMap<String, AttributeValue>;

/// The partition key of every table.
pub const PK: &str = "pk";
/// The sort key of every table.
pub const SK: &str = "sk";
/// Events that the item's last change brought; see `relay`.
pub const OUTBOX: &str = "outbox";
/// Unix seconds after which DynamoDB may delete the item (it may take days: readers check it themselves).
pub const EXPIRES_AT: &str = "expires_at";

/// A failed call to the table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The call failed or its answer was lost, so it may have taken effect.
    #[error("{operation} failed")]
    Call {
        /// What the call was for, in words for the log.
        operation: &'static str,
        /// The SDK's error, or why an answer is incomplete.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An item that other code wrote, or that has another format.
    #[error("an item of {operation} cannot be read")]
    Item {
        /// What the item was read or written for, in words for the log.
        operation: &'static str,
        /// What is wrong with the item.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TableError {
    /// A failed call of this operation.
    pub fn call(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Call { operation, source: source.into() }
    }

    /// An item of this operation that cannot be read or written.
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

/// Another writer was faster: the item is not in the state that the write was decided on. It may also be our
/// own earlier write, whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another writer changed the same item first")]
pub struct Conflict;

/// A string attribute (`S`).
pub fn string(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute (`N`), which the API takes as text.
pub fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A key of the table.
pub fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    HashMap::from([(PK.to_owned(), string(pk)), (SK.to_owned(), string(sk))])
}

/// The item that stores `value` under `key`.
///
/// # Errors
/// When the value has no form as an item.
pub fn to_item<T: Serialize>(operation: &'static str, key: Item, value: &T) -> Result<Item, TableError> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(|e| TableError::item(operation, e))?;
    // The key is added after the value, so that no field of the value replaces it.
    item.extend(key);
    Ok(item)
}

/// The value that an item stores.
///
/// # Errors
/// When the item has another format.
pub fn from_item<T: DeserializeOwned>(operation: &'static str, item: Item) -> Result<T, TableError> {
    serde_dynamo::from_item(item).map_err(|e| TableError::item(operation, e))
}

/// A text attribute, if the item has one of this name.
pub fn string_of<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// A numeric attribute, if the item has one of this name that fits into `T`.
pub fn number_of<T: FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// The attributes of an item that are its key in the table.
pub fn key_of(item: &Item) -> Item {
    let part = |name: &str| Some((name.to_owned(), item.get(name)?.clone()));
    [PK, SK].into_iter().filter_map(part).collect()
}

/// Adds the attribute `outbox` to an item, so that one write stores a change and its events.
///
/// # Errors
/// When an envelope has no JSON form.
pub fn with_outbox(operation: &'static str, mut item: Item, events: &[Envelope]) -> Result<Item, TableError> {
    let events = outbox(events).map_err(|e| TableError::item(operation, e))?;
    item.insert(OUTBOX.to_owned(), events);
    Ok(item)
}

/// The value of the attribute `outbox`. In a sampled trace, the events name the span that they come from.
///
/// # Errors
/// When an envelope has no JSON form.
pub fn outbox(events: &[Envelope]) -> Result<AttributeValue, serde_json::Error> {
    let traceparent = trace::current().map(|span| span.traceparent());
    // An event is stored as text, which the relay publishes as it is. A map would be converted twice.
    let text = |event: &Envelope| match &traceparent {
        Some(_) => serde_json::to_string(&Envelope { traceparent: traceparent.clone(), ..event.clone() }),
        None => serde_json::to_string(event),
    };
    let texts = events.iter().map(|event| text(event).map(AttributeValue::S));
    Ok(AttributeValue::L(texts.collect::<Result<_, _>>()?))
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

/// Whether the call was refused because other transactions were writing the same items or the table was
/// throttled. It had no effect and may be retried after a short wait (DynamoDB Developer Guide, "Error handling
/// with DynamoDB").
pub(crate) fn is_busy<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    matches!(
        error.code(),
        Some(
            "TransactionConflictException"
                | "TransactionInProgressException"
                | "ThrottlingException"
                | "ProvisionedThroughputExceededException"
                | "RequestLimitExceeded"
        )
    )
}

#[cfg(test)]
mod tests;
