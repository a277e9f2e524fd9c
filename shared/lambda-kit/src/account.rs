//! The state of users' accounts, which a context copies from events.
//!
//! An access token is checked without a read, so it stays valid for some minutes after its account was suspended or
//! deleted. A context that must refuse it until then keeps a mark of the account.

use contracts::{
    Envelope, EventPayload,
    events::{UserDeleted, UserRestored, UserSuspended},
};
use serde::{Deserialize, Serialize};

use crate::dynamodb::{Conflict, Expression, Item, Table, TableError, number, to_item};

/// The state of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// The account may do what its roles allow.
    Active,
    /// It may do nothing until it is restored.
    Suspended,
    /// It is gone for good.
    // The state of a mark that has none: at first, marks were of deleted accounts only.
    #[default]
    Deleted,
}

impl AccountState {
    /// The state that an event tells. Nothing when it is none of the events that tell one.
    pub fn of(event: &Envelope) -> Option<Self> {
        match event.event_type.as_str() {
            UserSuspended::TYPE => Some(Self::Suspended),
            UserRestored::TYPE => Some(Self::Active),
            UserDeleted::TYPE => Some(Self::Deleted),
            _ => None,
        }
    }
}

/// The copy of an account's state, as an item stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountMark {
    /// The attribute `account_state`.
    #[serde(rename = "account_state", default)]
    state: AccountState,
    /// The account's version with this state.
    #[serde(default)]
    version: u64,
    /// Unix seconds.
    expires_at: i64,
}

impl AccountMark {
    /// The mark of an event that tells this state. It is kept for `seconds`, for as long as what was issued before the
    /// event may be valid.
    // It counts from the event and not from now. When an event arrives late, its mark has expired, and so has what it
    // would refuse.
    pub fn new(state: AccountState, event: &Envelope, seconds: i64) -> Self {
        let expires_at = event.occurred_at.as_second() + seconds;
        Self { state, version: event.sequence, expires_at }
    }

    /// The state at `now` (Unix seconds). A mark that has expired refuses nothing.
    // The time is compared, because DynamoDB may delete an expired item days later.
    pub fn state(&self, now: i64) -> AccountState {
        if self.expires_at > now { self.state } else { AccountState::Active }
    }

    /// Writes the mark under this key. Conflicts when there is one of a later version.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn write(
        &self,
        table: &Table,
        operation: &'static str,
        key: Item,
    ) -> Result<Result<(), Conflict>, TableError> {
        // The same version is written again: an event is delivered again until its effects are complete.
        let not_older = Expression::new("attribute_not_exists(version) OR version <= :version")
            .value(":version", number(self.version));
        table.put_if(operation, to_item(operation, key, self)?, not_older).await
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::{
        dynamodb::{from_item, key},
        testing::{event, table},
    };

    fn told(event_type: &str, version: u64) -> AccountMark {
        let event = event("usr_1", event_type, version);
        AccountMark::new(AccountState::of(&event).unwrap(), &event, 960)
    }

    async fn after(marks: impl IntoIterator<Item = AccountMark>) -> AccountState {
        let (table, _) = table(&[]).await;
        for mark in marks {
            let _ = mark.write(&table, "marking", key("USER", "MARK")).await.unwrap();
        }
        let mark: AccountMark = table.get("reading", key("USER", "MARK")).await.unwrap().unwrap();
        mark.state(0)
    }

    #[tokio::test]
    async fn the_last_event_of_an_account_counts_whatever_the_order_of_their_arrival() {
        let (suspended, restored) = (told("user.suspended", 2), told("user.restored", 3));
        let deleted = told("user.deleted", 4);
        assert_eq!(after([suspended]).await, AccountState::Suspended);
        assert_eq!(after([suspended, restored]).await, AccountState::Active);
        assert_eq!(after([restored, suspended]).await, AccountState::Active);
        assert_eq!(after([deleted, restored, suspended]).await, AccountState::Deleted);
    }

    #[tokio::test]
    async fn an_event_that_arrives_twice_is_no_conflict() {
        let (table, _) = table(&[]).await;
        for _ in 0..2 {
            told("user.suspended", 2).write(&table, "marking", key("USER", "MARK")).await.unwrap().unwrap();
        }
        let older = told("user.suspended", 1).write(&table, "marking", key("USER", "MARK")).await.unwrap();
        assert_eq!(older, Err(Conflict));
    }

    #[test]
    fn a_mark_refuses_until_it_expires() {
        let mark = told("user.suspended", 2);
        assert_eq!(mark.state(959), AccountState::Suspended);
        assert_eq!(mark.state(960), AccountState::Active);
    }

    #[test]
    fn a_mark_without_a_state_is_of_a_deleted_account() {
        let item = Item::from([("expires_at".to_owned(), number(960))]);
        let mark: AccountMark = from_item("reading", item).unwrap();
        assert_eq!(mark.state(0), AccountState::Deleted);
    }

    #[test]
    fn other_events_tell_no_state() {
        assert_eq!(AccountState::of(&event("usr_1", "user.updated", 2)), None);
    }
}
