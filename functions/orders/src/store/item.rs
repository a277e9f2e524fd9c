//! A commit as an item.

use aws_sdk_dynamodb::types::AttributeValue;
use contracts::{Envelope, OrderId};
use lambda_kit::dynamodb::{Item, OUTBOX, SK, key, number, number_of, outbox, string, string_of};

use crate::domain::{Commit, EventContext};

/// The prefix of a commit's sort key.
pub(super) const COMMIT: &str = "COMMIT#";
const COMMAND_ID: &str = "command_id";
const FIRST_VERSION: &str = "first_version";
const REQUEST_HASH: &str = "request_hash";
/// The address and the payment method.
// The attribute keeps its older name, because stored items have it.
pub(crate) const CHECKOUT_DETAILS: &str = "private";

/// The attributes for reading an order.
// Without the address, which few readers need.
pub(super) const COMMIT_ATTRIBUTES: &str = "sk, command_id, first_version, outbox";
/// The attributes of commits, prices, discount codes and the customer's account for placing an order.
pub(super) const LOOKUP_ATTRIBUTES: &str = "pk, sk, command_id, first_version, outbox, request_hash, amount, currency, terms, used, ended, account_state, \
     expires_at";

/// An item that this code did not write.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    #[error("the attribute {0} is missing or of another type")]
    Attribute(&'static str),
    #[error("an event cannot be read")]
    Event(#[from] serde_json::Error),
    #[error("a view cannot be decompressed")]
    View(#[from] std::io::Error),
}

pub(super) fn partition(order_id: &OrderId) -> String {
    format!("ORDER#{order_id}")
}

/// The key of a commit.
// Eight digits, so that keys sort as versions do. An order has about ten.
fn commit_key(order_id: &OrderId, first_version: u64) -> Item {
    key(partition(order_id), format!("{COMMIT}{first_version:08}"))
}

/// The key of the commit that an order begins with.
pub(super) fn first_key(order_id: &OrderId) -> Item {
    commit_key(order_id, 1)
}

pub(super) fn write(commit: &Commit, context: EventContext<'_>) -> Result<Item, serde_json::Error> {
    let mut item = commit_key(context.order_id, commit.first_version);
    item.extend(
        [
            (COMMAND_ID, string(&commit.command_id)),
            (FIRST_VERSION, number(commit.first_version)),
            ("last_version", number(commit.last_version())),
            (OUTBOX, outbox(&commit.events)?),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(item)
}

/// The attributes of the first commit in addition to its events.
pub(super) fn beginning(request_hash: &str, checkout_details: &str) -> Item {
    [(REQUEST_HASH, request_hash), (CHECKOUT_DETAILS, checkout_details)]
        .map(|(name, value)| (name.to_owned(), string(value)))
        .into()
}

pub(super) fn read(item: &Item) -> Result<Commit, ItemError> {
    let first_version = count(item, FIRST_VERSION)?;
    // An item whose key and version differ was changed by hand, and nothing may be decided on it.
    if text(item, SK)? != format!("{COMMIT}{first_version:08}") {
        return Err(ItemError::Attribute(SK));
    }
    let command_id = text(item, COMMAND_ID)?.to_owned();
    Ok(Commit { first_version, command_id, events: events(item)? })
}

fn events(item: &Item) -> Result<Vec<Envelope>, ItemError> {
    let list = item.get(OUTBOX).and_then(|value| value.as_l().ok());
    list.ok_or(ItemError::Attribute(OUTBOX))?
        .iter()
        .map(|event| match event {
            AttributeValue::S(json) => Ok(serde_json::from_str(json)?),
            _ => Err(ItemError::Attribute(OUTBOX)),
        })
        .collect()
}

pub(super) fn text<'a>(item: &'a Item, name: &'static str) -> Result<&'a str, ItemError> {
    string_of(item, name).ok_or(ItemError::Attribute(name))
}

pub(super) fn count(item: &Item, name: &'static str) -> Result<u64, ItemError> {
    number_of(item, name).ok_or(ItemError::Attribute(name))
}

/// The first commit: enough to answer a repeated request like the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstCommit {
    pub request_hash: String,
    pub commit: Commit,
}

impl FirstCommit {
    pub(super) fn read(item: &Item) -> Result<Self, ItemError> {
        Ok(Self { request_hash: text(item, REQUEST_HASH)?.to_owned(), commit: read(item)? })
    }
}
