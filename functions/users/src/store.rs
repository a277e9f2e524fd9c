//! The users' table.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | account: all that a login reads | `EMAIL#<address>` | `ACCOUNT` |
//! | profile: the person, and the outbox | `USER#<id>` | `PROFILE` |
//! | session: what is behind a refresh token | `REFRESH#<hash>` | `TOKEN` |
//! | revoked: the mark of a family that ended | `FAMILY#<id>` | `REVOKED` |
//!
//! That an e-mail address belongs to one account is the account's key, and nothing else.

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use contracts::UserId;
use lambda_kit::dynamodb::{
    self, EXPIRES_AT, Item, OUTBOX, Table, TableError, cancellation_reasons, condition_failed, key, number,
    string,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::domain::{Account, Email, FamilyId, Profile, Registered, Session, TokenHash};

/// Tries of a transaction that met another one on its items. Two people who type the same address in the same
/// instant are a rarity, three a mistake.
const CONFLICT_TRIES: usize = 3;

/// The mark of a revoked family outlives every session that can have been opened in it: 30 days, and a day for a
/// refresh that was under way and for clocks.
const REVOKED_LIFETIME: i64 = 31 * 24 * 60 * 60;

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    Done,
    EmailTaken,
}

/// What became of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    Done,
    /// The token was spent by somebody else meanwhile.
    Spent,
}

impl Store {
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    /// Writes account and profile, both or neither. A repeat whose first answer was lost is a success.
    ///
    /// # Errors
    /// When the table does not answer, or meets too many others on the same address.
    pub async fn register(&self, new: &Registered) -> Result<Registration, TableError> {
        const OPERATION: &str = "registering a user";
        let Registered { account, profile, event } = new;
        let mut profile_item = item(OPERATION, profile, profile_key(&profile.user_id))?;
        let outbox =
            dynamodb::outbox(std::slice::from_ref(event)).map_err(|e| TableError::item(OPERATION, e))?;
        profile_item.insert(OUTBOX.to_owned(), outbox);
        let puts = [
            self.put_new(OPERATION, item(OPERATION, account, account_key(&profile.email))?)?,
            self.put_new(OPERATION, profile_item)?,
        ];
        let mut tries = 0;
        loop {
            tries += 1;
            let call = self.table.client.transact_write_items().set_transact_items(Some(puts.to_vec()));
            let Err(error) = call.send().await else { return Ok(Registration::Done) };
            if cancellation_reasons(&error).is_none() {
                return Err(TableError::call(OPERATION, error));
            }
            // The SDK tries again after a lost answer: what is there may be our own earlier try.
            match self.account(&profile.email).await? {
                Some(stored) if stored.user_id == account.user_id => return Ok(Registration::Done),
                Some(_) => return Ok(Registration::EmailTaken),
                None if tries < CONFLICT_TRIES => {}
                None => return Err(TableError::call(OPERATION, error)),
            }
        }
    }

    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn account(&self, email: &Email) -> Result<Option<Account>, TableError> {
        self.get("reading an account", account_key(email)).await
    }

    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn profile(&self, user: &UserId) -> Result<Option<Profile>, TableError> {
        self.get("reading a profile", profile_key(user)).await
    }

    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn session(&self, token: &TokenHash) -> Result<Option<Session>, TableError> {
        self.get("reading a session", session_key(token)).await
    }

    /// # Errors
    /// When the table does not answer.
    pub async fn open_session(&self, session: &Session) -> Result<(), TableError> {
        const OPERATION: &str = "opening a session";
        let item = item(OPERATION, session, session_key(&session.token))?;
        self.put(OPERATION, item).await
    }

    /// Spends `old` for `next`: of two who try, one succeeds. The new session is written first; where the token
    /// turns out to be spent it stays behind until it expires, under a token that nobody has. A repeat whose
    /// first answer was lost is a success.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn rotate(&self, old: &Session, next: &Session) -> Result<Rotation, TableError> {
        const OPERATION: &str = "spending a refresh token";
        self.open_session(next).await?;
        let spent = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(session_key(&old.token)))
            .update_expression("SET successor = :next")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(successor)")
            .expression_attribute_values(":next", string(next.token.as_str()))
            .send()
            .await;
        match spent {
            Ok(_) => Ok(Rotation::Done),
            Err(error) if condition_failed(&error) => {
                let stored = self.session(&old.token).await?;
                let ours = stored.is_some_and(|stored| stored.successor.as_ref() == Some(&next.token));
                Ok(if ours { Rotation::Done } else { Rotation::Spent })
            }
            Err(error) => Err(TableError::call(OPERATION, error)),
        }
    }

    /// Ends all sessions of a family, whenever they were opened. May be repeated.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn revoke(&self, family: &FamilyId, now: i64) -> Result<(), TableError> {
        let mut item = family_key(family);
        item.insert(EXPIRES_AT.to_owned(), number(now + REVOKED_LIFETIME));
        self.put("revoking a family of tokens", item).await
    }

    /// # Errors
    /// When the table does not answer.
    pub async fn is_revoked(&self, family: &FamilyId) -> Result<bool, TableError> {
        let mark: Option<serde::de::IgnoredAny> =
            self.get("reading a family of tokens", family_key(family)).await?;
        Ok(mark.is_some())
    }

    /// Consistently: who registers logs in at once, and a token that was spent must be seen to be.
    async fn get<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        key: Item,
    ) -> Result<Option<T>, TableError> {
        let call = self.table.client.get_item().table_name(&self.table.name).set_key(Some(key));
        let answer = call.consistent_read(true).send().await.map_err(|e| TableError::call(operation, e))?;
        answer.item.map(serde_dynamo::from_item).transpose().map_err(|e| TableError::item(operation, e))
    }

    async fn put(&self, operation: &'static str, item: Item) -> Result<(), TableError> {
        let call = self.table.client.put_item().table_name(&self.table.name).set_item(Some(item));
        call.send().await.map(|_| ()).map_err(|e| TableError::call(operation, e))
    }

    fn put_new(&self, operation: &'static str, item: Item) -> Result<TransactWriteItem, TableError> {
        let put = Put::builder().table_name(&self.table.name).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(pk)").build();
        Ok(TransactWriteItem::builder().put(put.map_err(|e| TableError::item(operation, e))?).build())
    }
}

fn item<T: Serialize>(operation: &'static str, value: &T, key: Item) -> Result<Item, TableError> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(|e| TableError::item(operation, e))?;
    item.extend(key);
    Ok(item)
}

fn account_key(email: &Email) -> Item {
    key(format!("EMAIL#{}", email.as_str()), "ACCOUNT")
}

fn profile_key(user: &UserId) -> Item {
    key(format!("USER#{user}"), "PROFILE")
}

fn session_key(token: &TokenHash) -> Item {
    key(format!("REFRESH#{}", token.as_str()), "TOKEN")
}

fn family_key(family: &FamilyId) -> Item {
    key(format!("FAMILY#{}", family.as_str()), "REVOKED")
}

#[cfg(test)]
mod tests;
