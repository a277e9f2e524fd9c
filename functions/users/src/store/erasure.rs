//! Erasing a person from the table.

use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem};
use contracts::UserId;
use futures::{StreamExt, TryStreamExt, stream};
use lambda_kit::dynamodb::{Item, PK, SK, TableError, cancellation_reasons, number, string};

use super::{PROFILE, Store, UNCHANGED, Written, account_key, logins, with_event};
use crate::domain::{Erasure, Source};

/// Sessions deleted at the same time.
const CONCURRENCY: usize = 10;

impl Store {
    /// Replaces the profile by one without personal data and deletes the account and its failed logins, in
    /// one transaction. From then on no login with that address and no refresh succeeds, and the address is
    /// free. The sessions follow ([`Store::sweep`]).
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn erase(&self, erasure: &Erasure) -> Result<Written, TableError> {
        const OPERATION: &str = "erasing a user";
        let Erasure { erased, email, event } = erasure;
        let item_error = |e| TableError::item(OPERATION, e);
        let put = Put::builder()
            .table_name(&self.table.name)
            .set_item(Some(with_event(OPERATION, erased, &erased.user_id, event)?))
            .condition_expression(UNCHANGED)
            .expression_attribute_values(":before", number(erased.version - 1))
            .build()
            .map_err(item_error)?;
        let delete = |key: Item| Delete::builder().table_name(&self.table.name).set_key(Some(key)).build();
        let failures = logins::failures_key(&Source::Email(email.clone()));
        let call = self
            .table
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put).build())
            .transact_items(
                TransactWriteItem::builder().delete(delete(account_key(email)).map_err(item_error)?).build(),
            )
            .transact_items(
                TransactWriteItem::builder().delete(delete(failures).map_err(item_error)?).build(),
            );
        match call.send().await {
            Ok(_) => Ok(Written::Done),
            // The profile changed, or another transaction on one of the items was running: the caller reads
            // and decides again.
            Err(error) if cancellation_reasons(&error).is_some() => Ok(Written::Moved),
            Err(error) => Err(TableError::call(OPERATION, error)),
        }
    }

    /// Deletes all of a user but the profile: the sessions and what marks their ends. May be repeated, and goes on where
    /// it was interrupted.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn sweep(&self, user: &UserId) -> Result<usize, TableError> {
        const OPERATION: &str = "sweeping a user's sessions";
        let items = self.all_of(OPERATION, user).await?;
        let keys = items.into_iter().filter(|item| item.get(SK) != Some(&string(PROFILE))).map(key_of);
        let deleted: Vec<()> = stream::iter(keys)
            .map(|key| async move {
                let call = self.table.client.delete_item().table_name(&self.table.name).set_key(Some(key));
                call.send().await.map(drop).map_err(|e| TableError::call(OPERATION, e))
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok(deleted.len())
    }
}

fn key_of(item: Item) -> Item {
    item.into_iter().filter(|(name, _)| [PK, SK].contains(&name.as_str())).collect()
}
