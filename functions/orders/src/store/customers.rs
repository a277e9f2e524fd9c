//! Customers, of whom orders stores only whether their account was suspended or deleted.

use contracts::{Envelope, UserId};
use lambda_kit::{
    account::{AccountMark, AccountState},
    dynamodb::{Conflict, Item, SK, key, string},
    jwt::Audience,
};

use super::{Store, StoreError};

// At first, only deleted customers had a mark. The sort key stays, because the marks that are stored under it must
// still refuse the customers who were deleted shortly before a deployment.
const ACCOUNT: &str = "DELETED";

/// How long the mark of a customer's account is kept.
// As long as an access token from before the event may be valid, and a minute for clocks that differ.
const MARK_SECONDS: i64 = Audience::Api.lifetime() + 60;

pub(super) fn account_key(customer: &UserId) -> Item {
    key(format!("CUSTOMER#{customer}"), ACCOUNT)
}

pub(super) fn is_account(item: &Item) -> bool {
    item.get(SK) == Some(&string(ACCOUNT))
}

impl Store {
    /// Records the state of a customer's account that an event tells. Conflicts when a later one is known.
    pub async fn record_account(
        &self,
        customer: &UserId,
        state: AccountState,
        event: &Envelope,
    ) -> Result<Result<(), Conflict>, StoreError> {
        let mark = AccountMark::new(state, event, MARK_SECONDS);
        Ok(mark.write(&self.table, "recording a customer's account", account_key(customer)).await?)
    }
}
