//! Customers, of whom orders stores only whether they were deleted.

use contracts::UserId;
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{EXPIRES_AT, Item, SK, key, number, string},
    jwt::Audience,
};

use super::{Store, StoreError};

const DELETED: &str = "DELETED";

/// How long the mark of a deleted customer is kept.
// As long as an access token from before the deletion may be valid, and a minute for clocks that differ.
const DELETED_SECONDS: i64 = Audience::Api.lifetime() + 60;

pub(super) fn deleted_key(customer: &UserId) -> Item {
    key(format!("CUSTOMER#{customer}"), DELETED)
}

pub(super) fn is_deleted(item: &Item) -> bool {
    item.get(SK) == Some(&string(DELETED))
}

impl Store {
    /// Rejects new orders of a customer who was deleted at that time. A repeat changes nothing.
    pub async fn block_orders_of(&self, customer: &UserId, deleted_at: Timestamp) -> Result<(), StoreError> {
        let mut mark = deleted_key(customer);
        mark.insert(EXPIRES_AT.to_owned(), number(deleted_at.as_second() + DELETED_SECONDS));
        Ok(self.table.put("blocking the orders of a customer", mark).await?)
    }
}
