//! The users' table.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | account: what a password belongs to | `EMAIL#<address>` | `ACCOUNT` |
//! | profile: the person, and the outbox; later, what is left of it | `USER#<id>` | `PROFILE` |
//! | session: what is behind a refresh token | `USER#<id>` | `SESSION#<hash>` |
//! | revoked: the mark of a family that ended | `USER#<id>` | `FAMILY#<id>` |
//! | failures: logins that failed, by e-mail or by address | `LOGIN#<digest>` | `FAILURES` |
//!
//! That an e-mail address belongs to one account is the account's key, and nothing else.

mod erasure;
mod logins;
mod sessions;

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use contracts::{Envelope, UserId};
use lambda_kit::dynamodb::{
    self, EXPIRES_AT, Item, OUTBOX, Table, TableError, cancellation_reasons, condition_failed, key, number,
    string,
};
use serde::{Serialize, de::DeserializeOwned};

pub use self::logins::Forgiven;
use crate::domain::{
    Account, Changed, Email, Erased, FamilyId, Profile, RefreshToken, Registered, Session, TokenHash,
};

/// Tries of a transaction that met another one on its items. Two people who type the same address in the same
/// instant are a rarity, three a mistake.
const CONFLICT_TRIES: usize = 3;

/// The mark of a revoked family outlives every session that can have been opened in it: 30 days, and a day for a
/// refresh that was under way and for clocks.
const REVOKED_LIFETIME: i64 = 31 * 24 * 60 * 60;

const PROFILE: &str = "PROFILE";
const SESSION: &str = "SESSION#";
const FAMILY: &str = "FAMILY#";
/// An attribute that only erased profiles have.
pub(crate) const ERASED_AT: &str = "erased_at";

/// The condition of a write that was decided on the version `:before`.
const UNCHANGED: &str = "version = :before";

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

/// The outcome of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    Done,
    EmailTaken,
}

/// The outcome of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    Done,
    /// A concurrent request has spent the token.
    Spent,
}

/// The person under an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    Known(Profile),
    Erased(Erased),
}

/// The outcome of a conditional change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Done,
    /// The profile is no longer the one that was read, perhaps by our own earlier try.
    Moved,
}

impl Store {
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    /// Writes account and profile, both or neither. A repeat whose first answer was lost is a success.
    ///
    /// # Errors
    /// When the table does not answer, or too many requests compete for the same address.
    pub async fn register(&self, new: &Registered) -> Result<Registration, TableError> {
        const OPERATION: &str = "registering a user";
        let Registered { account, profile, event } = new;
        let profile_item = with_event(OPERATION, profile, &profile.user_id, event)?;
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
    pub async fn person(&self, user: &UserId) -> Result<Option<Person>, TableError> {
        const OPERATION: &str = "reading a profile";
        let Some(item) = self.get_item(OPERATION, profile_key(user)).await? else { return Ok(None) };
        let person = if item.contains_key(ERASED_AT) {
            serde_dynamo::from_item(item).map(Person::Erased)
        } else {
            serde_dynamo::from_item(item).map(Person::Known)
        };
        person.map(Some).map_err(|e| TableError::item(OPERATION, e))
    }

    /// The person's profile, unless it was erased.
    ///
    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn profile(&self, user: &UserId) -> Result<Option<Profile>, TableError> {
        Ok(match self.person(user).await? {
            Some(Person::Known(profile)) => Some(profile),
            Some(Person::Erased(_)) | None => None,
        })
    }

    /// Puts a changed profile over the version that the change was decided on.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn change(&self, changed: &Changed) -> Result<Written, TableError> {
        const OPERATION: &str = "changing a profile";
        let Changed { profile, event } = changed;
        let put = self
            .table
            .client
            .put_item()
            .table_name(&self.table.name)
            .set_item(Some(with_event(OPERATION, profile, &profile.user_id, event)?))
            .condition_expression(UNCHANGED)
            .expression_attribute_values(":before", number(profile.version - 1));
        match put.send().await {
            Ok(_) => Ok(Written::Done),
            Err(error) if condition_failed(&error) => Ok(Written::Moved),
            Err(error) => Err(TableError::call(OPERATION, error)),
        }
    }

    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn session(&self, token: &RefreshToken) -> Result<Option<Session>, TableError> {
        self.get("reading a session", session_key(token.user_id(), &token.hash())).await
    }

    /// # Errors
    /// When the table does not answer.
    pub async fn open_session(&self, session: &Session) -> Result<(), TableError> {
        const OPERATION: &str = "opening a session";
        let item = item(OPERATION, session, session_key(&session.user_id, &session.token))?;
        self.put(OPERATION, item).await
    }

    /// Spends `old` for `next`; of two concurrent requests one succeeds. The new session is written first.
    /// When the token turns out to be spent, that session remains until it expires, under a token that no
    /// client has. A repeat whose first answer was lost is a success.
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
            .set_key(Some(session_key(&old.user_id, &old.token)))
            .update_expression("SET successor = :next")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(successor)")
            .expression_attribute_values(":next", string(next.token.as_str()))
            .send()
            .await;
        match spent {
            Ok(_) => Ok(Rotation::Done),
            Err(error) if condition_failed(&error) => {
                let stored: Option<Session> =
                    self.get(OPERATION, session_key(&old.user_id, &old.token)).await?;
                let ours = stored.is_some_and(|stored| stored.successor.as_ref() == Some(&next.token));
                Ok(if ours { Rotation::Done } else { Rotation::Spent })
            }
            Err(error) => Err(TableError::call(OPERATION, error)),
        }
    }

    /// Revokes all sessions of a family, whenever they were opened. Idempotent.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn revoke(&self, user: &UserId, family: &FamilyId, now: i64) -> Result<(), TableError> {
        let mut item = family_key(user, family);
        item.insert(EXPIRES_AT.to_owned(), number(now + REVOKED_LIFETIME));
        self.put("revoking a family of tokens", item).await
    }

    /// # Errors
    /// When the table does not answer.
    pub async fn is_revoked(&self, user: &UserId, family: &FamilyId) -> Result<bool, TableError> {
        Ok(self.get_item("reading a family of tokens", family_key(user, family)).await?.is_some())
    }

    /// Consistently: who registers logs in at once, and a token that was spent must be seen to be.
    async fn get_item(&self, operation: &'static str, key: Item) -> Result<Option<Item>, TableError> {
        let call = self.table.client.get_item().table_name(&self.table.name).set_key(Some(key));
        let answer = call.consistent_read(true).send().await.map_err(|e| TableError::call(operation, e))?;
        Ok(answer.item)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        key: Item,
    ) -> Result<Option<T>, TableError> {
        let item = self.get_item(operation, key).await?;
        item.map(serde_dynamo::from_item).transpose().map_err(|e| TableError::item(operation, e))
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

/// A profile, or an erased one, with its event.
fn with_event<T: Serialize>(
    operation: &'static str,
    profile: &T,
    user: &UserId,
    event: &Envelope,
) -> Result<Item, TableError> {
    let mut item = item(operation, profile, profile_key(user))?;
    let outbox = dynamodb::outbox(std::slice::from_ref(event)).map_err(|e| TableError::item(operation, e))?;
    item.insert(OUTBOX.to_owned(), outbox);
    Ok(item)
}

fn account_key(email: &Email) -> Item {
    key(format!("EMAIL#{}", email.as_str()), "ACCOUNT")
}

fn profile_key(user: &UserId) -> Item {
    key(user_partition(user), PROFILE)
}

fn session_key(user: &UserId, token: &TokenHash) -> Item {
    key(user_partition(user), format!("{SESSION}{}", token.as_str()))
}

fn family_key(user: &UserId, family: &FamilyId) -> Item {
    key(user_partition(user), format!("{FAMILY}{}", family.as_str()))
}

fn user_partition(user: &UserId) -> String {
    format!("USER#{user}")
}

#[cfg(test)]
mod tests;
