//! The users' table.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | account: what a password belongs to | `EMAIL#<address>` | `ACCOUNT` |
//! | profile: the person, and the outbox; later, what is left of it | `USER#<id>` | `PROFILE` |
//! | session: what is behind a refresh token | `USER#<id>` | `SESSION#<hash>` |
//! | revoked: the mark of a family that ended | `USER#<id>` | `FAMILY#<id>` |
//! | failures: logins that failed, by e-mail address and network, and by e-mail address | `LOGIN#<digest>` | `FAILURES` |
//!
//! That an e-mail address belongs to one account is the account's key, and nothing else.

mod erasure;
mod logins;
mod sessions;

use contracts::{Envelope, UserId};
use lambda_kit::dynamodb::{
    ABSENT, Budget, Conflict, EXPIRES_AT, Expression, Item, Table, TableError, Write, at_version, from_item,
    key, number, retry_on_conflict, string, to_item, with_outbox,
};
use serde::Serialize;

pub use self::logins::Attempt;
use crate::domain::{
    Account, ChangedProfile, Email, Erased, FamilyId, Profile, RefreshToken, Registered, Session, TokenHash,
};

/// Tries of a transaction that met another one on its items.
// Two people who type the same address in the same instant are rare, and three are a mistake.
const CONFLICTS: Budget = Budget::Tries(3);

/// How long the mark of a revoked family is kept, in seconds: 31 days.
// It outlives every session that can have been opened in the family: 30 days, and a day for a refresh that was
// under way and for clocks.
const REVOKED_LIFETIME: i64 = 31 * 24 * 60 * 60;

const PROFILE: &str = "PROFILE";
const SESSION: &str = "SESSION#";
const REVOKED_FAMILY: &str = "FAMILY#";
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
            Write::put(with_event(OPERATION, profile, &profile.user_id, event)?).when(ABSENT),
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
        let item = with_event(OPERATION, profile, &profile.user_id, event)?;
        self.table.put_if(OPERATION, item, at_version(profile.version - 1)).await
    }

    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn session(&self, token: &RefreshToken) -> Result<Option<Session>, TableError> {
        self.table.get("reading a session", session_key(token.user_id(), &token.hash())).await
    }

    /// # Errors
    /// When the table does not answer.
    pub async fn open_session(&self, session: &Session) -> Result<(), TableError> {
        const OPERATION: &str = "opening a session";
        let key = session_key(&session.user_id, &session.token);
        // This write has no condition. A login that is under way during an erasure may store its session after
        // the others were deleted. That session opens nothing, because a refresh reads the profile, and it
        // expires.
        self.table.put(OPERATION, to_item(OPERATION, key, session)?).await
    }

    /// Spends `old` for `next`; of two concurrent requests one succeeds and the other gets [`Conflict`]. A
    /// repeat whose first answer was lost is a success.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn rotate(&self, old: &Session, next: &Session) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "spending a refresh token";
        // The new session is stored first. If the function dies after this write, the client's token is still
        // unspent, and the new session remains until it expires, under a token that no client has.
        self.open_session(next).await?;
        let key = session_key(&old.user_id, &old.token);
        let update = Expression::new("SET successor = :next").value(":next", string(next.token.as_str()));
        // Without `attribute_exists`, the update would create the session again that an erasure has just
        // deleted.
        let unspent = "attribute_exists(pk) AND attribute_not_exists(successor)";
        let spent = self.table.update_if(OPERATION, key.clone(), update, unspent).await?;
        if spent.is_ok() {
            return Ok(spent);
        }
        // The SDK tries again after a lost answer, so the token may be spent for our own `next`.
        let stored: Option<Session> = self.table.get(OPERATION, key).await?;
        let ours = stored.is_some_and(|stored| stored.successor.as_ref() == Some(&next.token));
        Ok(if ours { Ok(()) } else { Err(Conflict) })
    }

    /// Revokes all sessions of a family, whenever they were opened. Idempotent.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn revoke(&self, user: &UserId, family: &FamilyId, now: i64) -> Result<(), TableError> {
        // Deleting the sessions would not be enough: a refresh that is under way stores one more. So the family
        // gets a mark.
        let mut item = family_key(user, family);
        item.insert(EXPIRES_AT.to_owned(), number(now + REVOKED_LIFETIME));
        self.table.put("revoking a family of tokens", item).await
    }

    /// # Errors
    /// When the table does not answer.
    pub async fn is_revoked(&self, user: &UserId, family: &FamilyId) -> Result<bool, TableError> {
        Ok(self.table.get_item("reading a family of tokens", family_key(user, family)).await?.is_some())
    }
}

/// A profile, or an erased one, with its event.
fn with_event<T: Serialize>(
    operation: &'static str,
    profile: &T,
    user: &UserId,
    event: &Envelope,
) -> Result<Item, TableError> {
    let item = to_item(operation, profile_key(user), profile)?;
    with_outbox(operation, item, std::slice::from_ref(event))
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
    key(user_partition(user), format!("{REVOKED_FAMILY}{}", family.as_str()))
}

fn user_partition(user: &UserId) -> String {
    format!("USER#{user}")
}

#[cfg(test)]
mod tests;
