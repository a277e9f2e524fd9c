//! Sessions. A login opens one, and each use of its refresh token continues it with another token.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::{CorrelationId, Envelope, NewEvent, SessionId, UserId, events::SessionEnded};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{PasswordFingerprint, Secret};

/// Each of the two random parts of a refresh token: 128 bits.
// Guessing one must be hopeless. Then one pass of SHA-256 without salt is enough to store it.
pub const PART_BYTES: usize = 16;

/// A session that is not used for this long ends: 30 days, in seconds.
pub const LIFETIME: i64 = 30 * 24 * 60 * 60;

/// A session lasts no longer than this, however often it is used: 90 days, in seconds.
// A stolen token that is refreshed in secret ends then, too.
pub const LONGEST: i64 = 90 * 24 * 60 * 60;

/// Open sessions of one account. One more login ends the oldest.
// It is more than the devices of one person, and as many as one transaction and one read take.
pub const OPEN_SESSIONS_MAX: usize = 20;

/// A refresh token as the client holds it. `Debug` hides it.
// The token names the user and the session, so that one read finds it. The access token names both as well, so
// this reveals nothing.
#[derive(Clone)]
pub struct RefreshToken {
    user_id: UserId,
    session_id: SessionId,
    /// The same in all tokens of a session.
    // Without it, a stranger could end a session by naming its id with any other token.
    session_secret: [u8; PART_BYTES],
    /// Replaced by each use.
    one_time_secret: [u8; PART_BYTES],
}

impl RefreshToken {
    /// The first token of a new session.
    pub fn new(user_id: UserId, session_id: SessionId, random: [[u8; PART_BYTES]; 2]) -> Self {
        let [session_secret, one_time_secret] = random;
        Self { user_id, session_id, session_secret, one_time_secret }
    }

    /// The token that replaces this one.
    #[must_use]
    pub fn next(&self, one_time_secret: [u8; PART_BYTES]) -> Self {
        Self { one_time_secret, ..self.clone() }
    }

    /// Nothing when the text does not have the form of our tokens.
    pub fn parse(text: &Secret) -> Option<Self> {
        let mut parts = text.expose().split('.');
        let user_id = UserId::try_from(parts.next()?).ok()?;
        let session_id = SessionId::try_from(parts.next()?).ok()?;
        let mut secret = || URL_SAFE_NO_PAD.decode(parts.next()?).ok()?.try_into().ok();
        let (session_secret, one_time_secret) = (secret()?, secret()?);
        parts.next().is_none().then_some(Self { user_id, session_id, session_secret, one_time_secret })
    }

    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    pub fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    /// The text for the client: the two ids and the two secrets (22 characters of base64url each), with dots between
    /// them.
    pub fn expose(&self) -> String {
        let secret = |secret| URL_SAFE_NO_PAD.encode(secret);
        let (session, one_time) = (secret(self.session_secret), secret(self.one_time_secret));
        format!("{}.{}.{session}.{one_time}", self.user_id, self.session_id)
    }
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshToken(..)")
    }
}

/// SHA-256 of a part of a refresh token: all that is stored of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHash(String);

impl SecretHash {
    fn of(secret: &[u8]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest(&SHA256, secret)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The stored record of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub session_id: SessionId,
    pub user_id: UserId,
    /// Of the part that all refresh tokens of the session share.
    pub session_hash: SecretHash,
    /// Of the one-time part of the current refresh token.
    pub token_hash: SecretHash,
    /// Of the password that opened it. A session ends when the account gets another password.
    pub password: PasswordFingerprint,
    /// When the user logged in with the password: the claim `auth_time`. Unix seconds.
    pub opened_at: i64,
    /// The login or the last refresh. Unix seconds.
    pub last_used_at: i64,
    /// Unix seconds.
    pub expires_at: i64,
}

/// Why a refresh token does not continue a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is no token of this session.
    Unknown,
    Expired,
    /// The token was used before, so another party has a copy: the session must end.
    Reused,
}

impl Session {
    /// A session opened by a login at `now` (Unix seconds).
    pub fn open(token: &RefreshToken, password: PasswordFingerprint, now: i64) -> Self {
        Self {
            session_id: token.session_id.clone(),
            user_id: token.user_id.clone(),
            session_hash: SecretHash::of(&token.session_secret),
            token_hash: SecretHash::of(&token.one_time_secret),
            password,
            opened_at: now,
            last_used_at: now,
            expires_at: now + LIFETIME,
        }
    }

    /// Whether `token` is or was one of this session.
    pub fn has(&self, token: &RefreshToken) -> bool {
        self.session_hash == SecretHash::of(&token.session_secret)
    }

    /// The session after `token` was used and replaced by `next`.
    ///
    /// # Errors
    /// When the token is none of this session or was used before, or the session's time is over.
    pub fn refresh(&self, token: &RefreshToken, next: &RefreshToken, now: i64) -> Result<Self, Refused> {
        if !self.has(token) {
            return Err(Refused::Unknown);
        }
        if !self.is_open(now) {
            return Err(Refused::Expired);
        }
        if self.token_hash != SecretHash::of(&token.one_time_secret) {
            return Err(Refused::Reused);
        }
        Ok(Self {
            token_hash: SecretHash::of(&next.one_time_secret),
            last_used_at: now,
            expires_at: (now + LIFETIME).min(self.opened_at + LONGEST),
            ..self.clone()
        })
    }

    /// Whether its time is not over (Unix seconds).
    // DynamoDB deletes expired items late.
    pub fn is_open(&self, now: i64) -> bool {
        self.expires_at > now
    }

    /// The event that it has ended. Always the same one, however often it is ended.
    ///
    /// # Errors
    /// When the event has no JSON form.
    pub fn ended(
        &self,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<Envelope, serde_json::Error> {
        let new = NewEvent {
            source: "users",
            subject: self.session_id.as_str(),
            sequence: 1,
            occurred_at: now,
            correlation_id,
            causation_id: correlation_id.as_str(),
            user_id: Some(&self.user_id),
        };
        let ended = SessionEnded { session_id: self.session_id.clone(), user_id: self.user_id.clone() };
        Envelope::new(new, &ended)
    }
}

/// The oldest sessions, as many as are open beyond the limit.
pub fn excess(mut sessions: Vec<Session>, now: i64) -> Vec<Session> {
    sessions.retain(|session| session.is_open(now));
    // Ids sort by the time they were made, which orders the logins of one second.
    sessions.sort_by(|a, b| (b.opened_at, &b.session_id).cmp(&(a.opened_at, &a.session_id)));
    sessions.split_off(OPEN_SESSIONS_MAX.min(sessions.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PasswordHash;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    fn token() -> RefreshToken {
        RefreshToken::new(UserId::generate(), SessionId::generate(), [[1; PART_BYTES], [2; PART_BYTES]])
    }

    fn opened(token: &RefreshToken, now: i64) -> Session {
        Session::open(token, PasswordHash::dummy().fingerprint(), now)
    }

    #[test]
    fn a_session_lasts_30_days_from_each_use_and_takes_only_its_newest_token() {
        let first = token();
        let second = first.next([3; PART_BYTES]);
        let session = opened(&first, NOW);
        assert_eq!(session.expires_at, NOW + 30 * DAY);
        let after = session.refresh(&first, &second, NOW + 100).unwrap();
        assert_eq!((after.opened_at, after.last_used_at), (NOW, NOW + 100));
        assert_eq!(after.expires_at, NOW + 100 + 30 * DAY);
        assert_eq!(after.session_hash, session.session_hash);
        assert_eq!(after.refresh(&first, &token(), NOW + 200), Err(Refused::Reused));
        assert!(after.refresh(&second, &second.next([4; PART_BYTES]), NOW + 200).is_ok());
    }

    #[test]
    fn a_session_ends_90_days_after_the_login_however_often_it_is_used() {
        let token = token();
        let mut session = opened(&token, NOW);
        for day in 1..90 {
            session = session.refresh(&token, &token, NOW + day * DAY).unwrap();
        }
        let end = NOW + 90 * DAY;
        assert_eq!(session.expires_at, end);
        assert_eq!(session.refresh(&token, &token, end), Err(Refused::Expired));
    }

    #[test]
    fn a_session_ends_at_its_time_whether_the_table_has_deleted_it_or_not() {
        let token = token();
        let session = opened(&token, NOW);
        assert!(session.refresh(&token, &token, session.expires_at - 1).is_ok());
        assert_eq!(session.refresh(&token, &token, session.expires_at), Err(Refused::Expired));
    }

    #[test]
    fn a_stranger_who_names_a_session_has_no_spent_token_of_it() {
        let token = token();
        let session = opened(&token, NOW);
        let stranger = RefreshToken { session_secret: [9; PART_BYTES], ..token.clone() };
        assert!(!session.has(&stranger));
        assert_eq!(session.refresh(&stranger, &token, NOW), Err(Refused::Unknown));
        assert!(session.has(&token.next([9; PART_BYTES])));
    }

    #[test]
    fn the_oldest_open_sessions_are_beyond_the_limit() {
        let mut sessions: Vec<Session> = (0..25).map(|n| opened(&token(), NOW + n)).collect();
        sessions.rotate_left(7);
        // Its time is over, so it counts no more.
        sessions.iter_mut().find(|session| session.opened_at == NOW).unwrap().expires_at = NOW + 30;
        let mut excess: Vec<i64> =
            excess(sessions, NOW + 30).iter().map(|session| session.opened_at).collect();
        excess.sort_unstable();
        assert_eq!(excess, [NOW + 1, NOW + 2, NOW + 3, NOW + 4]);
        assert_eq!(super::excess(vec![opened(&token(), NOW)], NOW), []);
    }

    #[test]
    fn an_end_is_the_same_event_however_often_it_is_reported() {
        let session = opened(&token(), NOW);
        let event = |now| session.ended(now, &CorrelationId::generate()).unwrap();
        let (first, second) = (event(Timestamp::UNIX_EPOCH), event(Timestamp::MAX));
        assert_eq!(first.event_id, second.event_id);
        assert_eq!(
            (first.event_type.as_str(), first.subject.as_str()),
            ("session.ended", session.session_id.as_str())
        );
        assert_eq!(first.decode::<SessionEnded>().unwrap().user_id, session.user_id);
    }

    #[test]
    fn only_what_has_the_form_of_our_tokens_is_read_as_one() {
        let token = token();
        let (user, session) = (token.user_id(), token.session_id());
        let read = RefreshToken::parse(&Secret::from(token.expose())).unwrap();
        assert_eq!((read.user_id(), read.session_id()), (user, session));
        assert!(opened(&token, NOW).refresh(&read, &token, NOW).is_ok());
        let good = "A".repeat(22);
        assert!(RefreshToken::parse(&Secret::from(format!("{user}.{session}.{good}.{good}"))).is_some());
        for wrong in [
            String::new(),
            good.clone(),
            format!("{user}.{session}.{good}"),
            format!("anna.{session}.{good}.{good}"),
            format!("{user}.{user}.{good}.{good}"),
            format!("{user}.{session}.{good}.{}", &good[1..]),
            format!("{user}.{session}.A{good}.{good}"),
            format!("{user}.{session}.{good}.{good}.{good}"),
            format!("{user}.{session}.{good}.{}", "=".repeat(22)),
        ] {
            assert!(RefreshToken::parse(&Secret::from(wrong.clone())).is_none(), "{wrong}");
        }
    }

    #[test]
    fn tokens_are_not_shown_by_debug() {
        assert_eq!(format!("{:?}", token()), "RefreshToken(..)");
    }
}
