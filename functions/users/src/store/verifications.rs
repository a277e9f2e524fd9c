//! The codes of each channel, and what a right one changes.

use contracts::{UserId, events::Channel};
use lambda_kit::dynamodb::{
    ABSENT, Conflict, Expression, Item, TableError, TransactOutcome, Write, at_version, key, number, string,
    to_item,
};

use super::{Store, account_key, user_partition, with_events};
use crate::domain::{Account, ChangedProfile, Email, PendingCode, Verification};

/// The outcome of moving an account to another e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailChange {
    Done,
    /// Another account has the address.
    Taken,
    /// The account, the profile or the code has changed meanwhile.
    Conflict,
}

impl Store {
    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn verification(
        &self,
        user: &UserId,
        channel: Channel,
    ) -> Result<Option<Verification>, TableError> {
        self.table.get("reading a code", verification_key(user, channel)).await
    }

    /// Writes the state of a channel's codes over the version that it was decided on.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn save_verification(
        &self,
        user: &UserId,
        channel: Channel,
        verification: &Verification,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "storing a code";
        // A request that is under way during an erasure may store a code after the others were deleted. It opens
        // nothing, because a confirmation reads the profile, and it expires within two hours.
        let item = to_item(OPERATION, verification_key(user, channel), verification)?;
        self.table.put_if(OPERATION, item, at_version(verification.version - 1)).await
    }

    /// Stores a profile with a verified address or number and uses the code up, both or neither.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn confirm(
        &self,
        confirmed: &ChangedProfile,
        channel: Channel,
        code: &PendingCode,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "confirming a code";
        let writes =
            vec![profile_write(OPERATION, confirmed)?, use_up(&confirmed.profile.user_id, channel, code)];
        Ok(self.table.transact(OPERATION, writes).await?.done())
    }

    /// Moves `account` from the address `old` to that of the changed profile, and uses the code up: all or nothing.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn change_email(
        &self,
        account: &Account,
        old: &Email,
        confirmed: &ChangedProfile,
        code: &PendingCode,
    ) -> Result<EmailChange, TableError> {
        const OPERATION: &str = "changing an e-mail address";
        let moved = to_item(OPERATION, account_key(&confirmed.profile.email), account)?;
        // A role that is granted and a password that is set meanwhile are not lost.
        let unchanged = Expression::new("user_id = :user AND password_hash = :password AND #roles = :roles")
            .name("#roles", "roles")
            .value(":user", string(account.user_id.as_str()))
            .value(":password", string(account.password_hash.as_str()))
            .value(":roles", moved.get("roles").cloned().unwrap_or_else(|| string("")));
        let writes = vec![
            // The first one: its place in the transaction says that the address is taken.
            Write::put(moved).when(ABSENT),
            Write::delete(account_key(old)).when(unchanged),
            profile_write(OPERATION, confirmed)?,
            use_up(&confirmed.profile.user_id, Channel::Email, code),
        ];
        Ok(match self.table.transact(OPERATION, writes).await? {
            TransactOutcome::Done => EmailChange::Done,
            TransactOutcome::ConditionFailed { index: 0 } => EmailChange::Taken,
            TransactOutcome::ConditionFailed { .. } | TransactOutcome::Conflict => EmailChange::Conflict,
        })
    }
}

fn profile_write(operation: &'static str, changed: &ChangedProfile) -> Result<Write, TableError> {
    let ChangedProfile { profile, event } = changed;
    let item = with_events(operation, profile, &profile.user_id, std::slice::from_ref(event))?;
    Ok(Write::put(item).when(at_version(profile.version - 1)))
}

/// Uses a code up, if it is still the newest one.
// The condition is the code and not the version: tries that were counted meanwhile do not make a right code wrong.
fn use_up(user: &UserId, channel: Channel, code: &PendingCode) -> Write {
    let update = Expression::new("SET version = version + :one REMOVE pending").value(":one", number(1));
    let newest = Expression::new("pending.#hash = :hash")
        .name("#hash", "hash")
        .value(":hash", string(code.hash.as_str()));
    Write::update(verification_key(user, channel), update).when(newest)
}

pub(super) fn verification_key(user: &UserId, channel: Channel) -> Item {
    let channel = match channel {
        Channel::Email => "EMAIL",
        Channel::Sms => "SMS",
    };
    key(user_partition(user), format!("CODE#{channel}"))
}
