//! Sessions of one user. An ended session is deleted: a refresh that is under way finds nothing to continue.

use std::time::Duration;

use contracts::{CorrelationId, SessionId, UserId};
use jiff::Timestamp;
use lambda_kit::dynamodb::{
    Budget, Conflict, EXPIRES_AT, Expression, Item, TableError, Write, from_item, key, number,
    retry_on_conflict, string, to_item, with_outbox,
};

use super::{Store, user_partition};
use crate::domain::{Session, excess};

/// Every session's sort key begins with this.
const SESSION: &str = "SESSION#ses_";

/// For writes that end sessions. All of a user's meet on one item, the outbox of their events.
pub(super) const ENDING: Budget = Budget::Time(Duration::from_secs(1));

/// How long the events of ended sessions are kept, in seconds: a day.
// The relay has published them within seconds.
const EVENTS_LIFETIME: i64 = 24 * 60 * 60;

/// Sessions that one transaction ends. With the outbox and other writes it stays below DynamoDB's limit of 100 items.
pub(super) const AT_ONCE: usize = 50;

/// The outcome of replacing a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    Done,
    /// Another request has used the token before.
    Spent,
    /// The session was ended meanwhile.
    Ended,
}

impl Store {
    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn session(&self, user: &UserId, session: &SessionId) -> Result<Option<Session>, TableError> {
        self.table.get("reading a session", session_key(user, session)).await
    }

    /// The user's sessions, those included whose time is over.
    ///
    /// # Errors
    /// When the table does not answer, or an item cannot be read.
    pub async fn sessions(&self, user: &UserId) -> Result<Vec<Session>, TableError> {
        const OPERATION: &str = "listing a user's sessions";
        let query = self
            .table
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :user AND begins_with(sk, :session)")
            .expression_attribute_values(":user", string(user_partition(user)))
            .expression_attribute_values(":session", string(SESSION));
        let items = self.table.query_all(OPERATION, query).await?;
        items.into_iter().map(|item| from_item(OPERATION, item)).collect()
    }

    /// Stores a new session, and ends the oldest ones of its user that are beyond the limit.
    ///
    /// # Errors
    /// When the table does not answer. The session may be stored.
    pub async fn open_session(
        &self,
        session: &Session,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<(), TableError> {
        const OPERATION: &str = "opening a session";
        // This write has no condition. A login that is under way during an erasure may store its session after
        // the others were deleted. That session opens nothing, because a refresh reads the profile, and it
        // expires.
        let key = session_key(&session.user_id, &session.session_id);
        self.table.put(OPERATION, to_item(OPERATION, key, session)?).await?;
        // The sessions are counted after the write: of logins at the same time, the last one sees them all. If
        // the function dies here, the next login ends one more.
        let ended = retry_on_conflict(ENDING, || async {
            let excess = excess(self.sessions(&session.user_id).await?, now.as_second());
            self.end(&excess, now, correlation_id).await
        });
        done(OPERATION, ended.await?).map(drop)
    }

    /// Replaces the token of `current` by that of `next`; of two concurrent requests one succeeds. A repeat whose
    /// first answer was lost is a success.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn rotate(&self, current: &Session, next: &Session) -> Result<Rotation, TableError> {
        const OPERATION: &str = "replacing a refresh token";
        let update = "SET token_hash = :next, last_used_at = :now, expires_at = :until";
        let update = Expression::new(update)
            .value(":next", string(next.token_hash.as_str()))
            .value(":now", number(next.last_used_at))
            .value(":until", number(next.expires_at));
        // An ended session has no token, so the update does not create it again.
        let unspent =
            Expression::new("token_hash = :current").value(":current", string(current.token_hash.as_str()));
        let key = session_key(&current.user_id, &current.session_id);
        if self.table.update_if(OPERATION, key, update, unspent).await?.is_ok() {
            return Ok(Rotation::Done);
        }
        // The SDK tries again after a lost answer, so the current token may be our own.
        let stored = self.session(&current.user_id, &current.session_id).await?;
        Ok(match stored {
            Some(stored) if stored.token_hash == next.token_hash => Rotation::Done,
            Some(_) => Rotation::Spent,
            None => Rotation::Ended,
        })
    }

    /// Ends one session. Idempotent.
    ///
    /// # Errors
    /// When the table does not answer, or too many requests end sessions of this user.
    pub async fn end_session(
        &self,
        session: &Session,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<(), TableError> {
        let ended =
            retry_on_conflict(ENDING, || self.end(std::slice::from_ref(session), now, correlation_id));
        done("ending a session", ended.await?).map(drop)
    }

    /// Ends all sessions of a user but `except`, and returns how many there were. Idempotent.
    ///
    /// A login that is under way may store its session after this. Where the password has changed, that session
    /// cannot be refreshed.
    ///
    /// # Errors
    /// When the table does not answer, or too many requests end sessions of this user.
    pub async fn end_sessions(
        &self,
        user: &UserId,
        except: Option<&SessionId>,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<usize, TableError> {
        let ended = retry_on_conflict(ENDING, || async {
            let mut sessions = self.sessions(user).await?;
            sessions.retain(|session| Some(&session.session_id) != except);
            self.end(&sessions, now, correlation_id).await
        });
        done("ending a user's sessions", ended.await?)
    }

    /// Deletes the sessions and stores the events of those whose time was not over. Returns how many these were.
    async fn end(
        &self,
        sessions: &[Session],
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<Result<usize, Conflict>, TableError> {
        for sessions in sessions.chunks(AT_ONCE) {
            let writes = ending(sessions, now, correlation_id)?;
            if self.table.transact(OPERATION_END, writes).await?.done().is_err() {
                return Ok(Err(Conflict));
            }
        }
        let open = sessions.iter().filter(|session| session.is_open(now.as_second()));
        Ok(Ok(open.count()))
    }
}

const OPERATION_END: &str = "ending sessions";

/// The writes that end sessions of one user: each is deleted, and their events replace those of the user's sessions
/// that ended before. The relay publishes the events of each version of that item.
// The events are not in the sessions' own items, which would have to stay until they are published: an account
// could pile up as many as it can log in.
pub(super) fn ending(
    sessions: &[Session],
    now: Timestamp,
    correlation_id: &CorrelationId,
) -> Result<Vec<Write>, TableError> {
    let mut writes: Vec<Write> = sessions
        .iter()
        .map(|session| Write::delete(session_key(&session.user_id, &session.session_id)))
        .collect();
    let open = sessions.iter().filter(|session| session.is_open(now.as_second()));
    let events: Vec<_> = open
        .map(|session| session.ended(now, correlation_id))
        .collect::<Result<_, _>>()
        .map_err(|error| TableError::item(OPERATION_END, error))?;
    if let Some(session) = sessions.first().filter(|_| !events.is_empty()) {
        let mut item = key(user_partition(&session.user_id), "ENDED_SESSIONS");
        item.insert(EXPIRES_AT.to_owned(), number(now.as_second() + EVENTS_LIFETIME));
        writes.push(Write::put(with_outbox(OPERATION_END, item, &events)?));
    }
    Ok(writes)
}

fn done<T>(operation: &'static str, ended: Result<T, Conflict>) -> Result<T, TableError> {
    ended.map_err(|conflict| TableError::call(operation, conflict))
}

pub(super) fn session_key(user: &UserId, session: &SessionId) -> Item {
    key(user_partition(user), format!("SESSION#{session}"))
}
