//! Users and sessions that get no ticket and no connection.

use contracts::{Envelope, SessionId, UserId};
use lambda_kit::{
    account::{AccountMark, AccountState},
    dynamodb::{BatchRead, Conflict, EXPIRES_AT, Item, SK, TableError, key, number, number_of, string},
    jwt::Audience,
};

use super::{Store, read, user_pk};
use crate::domain::TICKET_SECONDS;

/// How long a mark is kept, in seconds.
// An access token from before the mark lives this long, and a ticket made with it at its end; the clocks of two
// functions differ by less than a minute. Without an access token there are no tickets.
const MARK_SECONDS: i64 = Audience::Api.lifetime() + TICKET_SECONDS + 60;

// The mark was called `BARRED` at first. The sort key stays, because the marks that are stored under it must
// still stop the users who were deleted shortly before a deployment.
const ACCOUNT: &str = "BARRED";
const ENDED: &str = "ENDED";

/// Whether a user may have a ticket or a connection, in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Granted,
    Suspended,
    Deleted,
    SessionEnded,
}

impl Store {
    /// Records the state of a user's account that an event tells. Conflicts when a later one is known.
    pub async fn record_account(
        &self,
        user_id: &UserId,
        state: AccountState,
        event: &Envelope,
    ) -> Result<Result<(), Conflict>, TableError> {
        let mark = AccountMark::new(state, event, MARK_SECONDS);
        mark.write(&self.table, "recording an account's state", account_key(user_id)).await
    }

    /// Records that a session ended at this time (Unix seconds).
    pub async fn end_session(&self, session_id: &SessionId, ended_at: i64) -> Result<(), TableError> {
        let mut mark = session_key(session_id);
        mark.insert(EXPIRES_AT.to_owned(), number(ended_at + MARK_SECONDS));
        self.table.put("recording the end of a session", mark).await
    }

    /// Whether this user may connect. The session is unknown for connections from before sessions had ids.
    pub async fn access(
        &self,
        user_id: &UserId,
        session_id: Option<&SessionId>,
        now: i64,
    ) -> Result<Access, TableError> {
        const OPERATION: &str = "reading whether a user may connect";
        let keys = [account_key(user_id)].into_iter().chain(session_id.map(session_key)).collect();
        let marks = self.table.batch_get(OPERATION, keys, BatchRead::CONSISTENT).await?;
        let (sessions, accounts): (Vec<Item>, Vec<Item>) =
            marks.into_iter().partition(|mark| mark.get(SK) == Some(&string(ENDED)));
        // The account's state decides before the session's, because it says more to the client.
        for mark in accounts {
            match read::<AccountMark>(OPERATION, mark)?.state(now) {
                AccountState::Active => {}
                AccountState::Suspended => return Ok(Access::Suspended),
                AccountState::Deleted => return Ok(Access::Deleted),
            }
        }
        let ends = sessions.iter().filter_map(|mark| number_of::<i64>(mark, EXPIRES_AT));
        Ok(if ends.max() > Some(now) { Access::SessionEnded } else { Access::Granted })
    }
}

fn account_key(user_id: &UserId) -> Item {
    key(user_pk(user_id), ACCOUNT)
}

fn session_key(session_id: &SessionId) -> Item {
    key(format!("SESSION#{session_id}"), ENDED)
}
