//! Erasing a person from the table.

use contracts::{UserId, events::Channel};
use futures::{StreamExt, TryStreamExt, stream};
use lambda_kit::dynamodb::{Conflict, SK, TableError, Write, at_version, key_of, string};

use super::{
    PROFILE, Store, account_key, logins, user_partition, verifications::verification_key, with_events,
};
use crate::domain::{Erasure, FailureSource};

/// Sessions deleted at the same time.
const CONCURRENCY: usize = 10;

impl Store {
    /// Replaces the profile by one without personal data and deletes the account and its failed logins, in
    /// one transaction. From then on no login with that address and no refresh succeeds, and the address is
    /// free. The sessions follow ([`Store::delete_sessions`]). Conflicts when the profile has changed, or another
    /// transaction is under way on one of the items.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn erase(&self, erasure: &Erasure) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "erasing a user";
        let Erasure { erased, email, event } = erasure;
        let profile = with_events(OPERATION, erased, &erased.user_id, std::slice::from_ref(event))?;
        let writes = vec![
            Write::put(profile).when(at_version(erased.version - 1)),
            Write::delete(account_key(email)),
            // They name the address or number that the code was sent to.
            Write::delete(verification_key(&erased.user_id, Channel::Email)),
            Write::delete(verification_key(&erased.user_id, Channel::Sms)),
            // The counts of single networks stay, because the networks are not known here. They are found by a
            // hash only, and expire within a quarter of an hour.
            Write::delete(logins::failures_key(&FailureSource::Email(email.clone()))),
        ];
        Ok(self.table.transact(OPERATION, writes).await?.done())
    }

    /// Deletes all of a user but the profile: the sessions and the events of those that ended, page by page. May be
    /// repeated, and goes on where it was interrupted. Returns the number of deleted items.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn delete_sessions(&self, user: &UserId) -> Result<usize, TableError> {
        const OPERATION: &str = "deleting a user's sessions";
        let (mut count, mut start) = (0, None);
        loop {
            // A page is at most 1 MB. All pages of an account with very many sessions fit neither into the memory of the
            // function nor into one invocation. So each page is deleted before the next one is read.
            let query = self
                .table
                .query()
                // A session that was stored just before the erasure must be found.
                .consistent_read(true)
                .key_condition_expression("pk = :user")
                .expression_attribute_values(":user", string(user_partition(user)))
                .projection_expression("pk, sk")
                .set_exclusive_start_key(start);
            let page = self.table.query_page(OPERATION, query).await?;
            // The erased profile stays: it answers a repeated request.
            let keys = page.items.iter().filter(|item| item.get(SK) != Some(&string(PROFILE))).map(key_of);
            let deleted: Vec<()> = stream::iter(keys)
                .map(|key| self.table.delete(OPERATION, key))
                .buffer_unordered(CONCURRENCY)
                .try_collect()
                .await?;
            count += deleted.len();
            start = page.next;
            if start.is_none() {
                return Ok(count);
            }
        }
    }
}
