//! The users' table.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | account: what a password belongs to | `EMAIL#<address>` | `ACCOUNT` |
//! | profile: the person, and the outbox; later, what is left of it | `USER#<id>` | `PROFILE` |
//! | session: a login, and the refreshes after it | `USER#<id>` | `SESSION#<session id>` |
//! | the events of the sessions that ended last: an outbox | `USER#<id>` | `ENDED_SESSIONS` |
//! | audit entry: what an operator changed | `AUDIT#<user id>` | `<time>#<id>` |
//! | code: the newest code of a channel (`EMAIL`, `SMS`), by a hash, and how many were sent | `USER#<id>` | `CODE#<channel>` |
//! | reset: what is behind a token for a new password | `RESET#<hash>` | `RESET` |
//! | failures: logins that failed, by e-mail address and network, and by e-mail address | `LOGIN#<digest>` | `FAILURES` |
//!
//! That an e-mail address belongs to one account is the account's key, and nothing else.

mod accounts;
mod buckets;
mod erasure;
mod logins;
mod resets;
mod sessions;
mod verifications;

use contracts::{Envelope, UserId};
use lambda_kit::dynamodb::{
    ABSENT, Budget, Conflict, Item, Table, TableError, Write, at_version, from_item, key, retry_on_conflict,
    to_item, with_outbox,
};
use serde::Serialize;

pub use self::{accounts::PasswordChange, logins::Attempt, sessions::Rotation, verifications::EmailChange};
use crate::domain::{Account, ChangedProfile, Email, Erased, Profile, Registered};

/// Tries of a transaction that met another one on its items.
// Two people who type the same address in the same instant are rare, and three are a mistake.
const CONFLICTS: Budget = Budget::Tries(3);

const PROFILE: &str = "PROFILE";
/// An attribute that only erased profiles have.
pub(crate) const ERASED_AT: &str = "erased_at";

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

/// The stored data of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredUser {
    Active(Profile),
    Erased(Erased),
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
        let writes = [
            Write::put(to_item(OPERATION, account_key(&profile.email), account)?).when(ABSENT),
            Write::put(with_events(OPERATION, profile, &profile.user_id, std::slice::from_ref(event))?)
                .when(ABSENT),
        ];
        let registered = retry_on_conflict(CONFLICTS, || async {
            if self.table.transact(OPERATION, writes.to_vec()).await?.done().is_ok() {
                return Ok::<_, TableError>(Ok(Registration::Done));
            }
            // The SDK tries again after a lost answer: the stored account may be our own earlier try.
            Ok(match self.account(&profile.email).await? {
                Some(stored) if stored.user_id == account.user_id => Ok(Registration::Done),
                Some(_) => Ok(Registration::EmailTaken),
                // Another transaction was under way on the address, and has stored no account yet. The next try
                // sees its result.
                None => Err(Conflict),
            })
        });
        registered.await?.map_err(|conflict| TableError::call(OPERATION, conflict))
    }

    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn account(&self, email: &Email) -> Result<Option<Account>, TableError> {
        self.table.get("reading an account", account_key(email)).await
    }

    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn user(&self, user_id: &UserId) -> Result<Option<StoredUser>, TableError> {
        const OPERATION: &str = "reading a profile";
        let Some(item) = self.table.get_item(OPERATION, profile_key(user_id)).await? else { return Ok(None) };
        let user = if item.contains_key(ERASED_AT) {
            from_item(OPERATION, item).map(StoredUser::Erased)
        } else {
            from_item(OPERATION, item).map(StoredUser::Active)
        };
        user.map(Some)
    }

    /// The person's profile, unless it was erased.
    ///
    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn profile(&self, user: &UserId) -> Result<Option<Profile>, TableError> {
        Ok(match self.user(user).await? {
            Some(StoredUser::Active(profile)) => Some(profile),
            Some(StoredUser::Erased(_)) | None => None,
        })
    }

    /// Writes a changed profile over the version that the change was decided on.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn change(&self, changed: &ChangedProfile) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "changing a profile";
        let ChangedProfile { profile, event } = changed;
        let item = with_events(OPERATION, profile, &profile.user_id, std::slice::from_ref(event))?;
        self.table.put_if(OPERATION, item, at_version(profile.version - 1)).await
    }
}

/// A profile, or an erased one, with its events.
fn with_events<T: Serialize>(
    operation: &'static str,
    profile: &T,
    user: &UserId,
    events: &[Envelope],
) -> Result<Item, TableError> {
    let item = to_item(operation, profile_key(user), profile)?;
    with_outbox(operation, item, events)
}

fn account_key(email: &Email) -> Item {
    key(format!("EMAIL#{}", email.as_str()), "ACCOUNT")
}

fn profile_key(user: &UserId) -> Item {
    key(user_partition(user), PROFILE)
}

fn user_partition(user: &UserId) -> String {
    format!("USER#{user}")
}

#[cfg(test)]
mod tests;
