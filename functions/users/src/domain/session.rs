//! Refresh tokens: each is good once, and brings its successor. All successors of one login are a family.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::{SessionId, UserId};
use lambda_kit::jwt::{Role, Subject};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Secret;

/// The random part of a refresh token: 256 bits.
// A token is found by its hash alone, so guessing one must be hopeless. Then one pass of SHA-256 without salt
// is enough to store it.
pub const TOKEN_BYTES: usize = 32;

/// A session that is not used for this long ends: 30 days, in seconds.
pub const LIFETIME: i64 = 30 * 24 * 60 * 60;

/// A login is good for this long, however often it is refreshed: 90 days, in seconds.
// A stolen token that is refreshed in secret ends then, too.
pub const LONGEST: i64 = 90 * 24 * 60 * 60;

/// A refresh token as the client holds it: the user's id and 32 random bytes. `Debug` hides it.
// The token names the user, so that all sessions of a user are in one partition and are deleted with the
// account. The access token names the user as well, so this reveals nothing.
#[derive(Clone)]
pub struct RefreshToken {
    user_id: UserId,
    random: [u8; TOKEN_BYTES],
}

impl RefreshToken {
    pub fn new(user_id: UserId, random: [u8; TOKEN_BYTES]) -> Self {
        Self { user_id, random }
    }

    /// Nothing when the text does not have the form of our tokens.
    pub fn parse(text: &Secret) -> Option<Self> {
        let (user_id, random) = text.expose().split_once('.')?;
        let random = URL_SAFE_NO_PAD.decode(random).ok()?.try_into().ok()?;
        Some(Self { user_id: UserId::try_from(user_id).ok()?, random })
    }

    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// The text for the client: the user's id, a dot, and 43 characters of base64url.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.user_id, URL_SAFE_NO_PAD.encode(self.random))
    }

    pub fn hash(&self) -> TokenHash {
        TokenHash(URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.random)))
    }
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshToken(..)")
    }
}

/// SHA-256 of a refresh token: all that is stored of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenHash(String);

impl TokenHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One login and all refreshes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyId(String);

impl FamilyId {
    pub fn new(id: Uuid) -> Self {
        Self(id.simple().to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn session_id(&self) -> SessionId {
        SessionId::try_from(format!("ses_{}", self.0)).expect("a family has the form of a UUID")
    }
}

/// The stored record of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub token: TokenHash,
    pub family: FamilyId,
    pub user_id: UserId,
    /// When its family began, by a login. Unix seconds.
    pub opened_at: i64,
    /// Unix seconds.
    pub expires_at: i64,
    /// The token that this one was spent for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<TokenHash>,
}

/// Why a session does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Expired,
    /// The token was used before, so another party has a copy: the whole family is revoked.
    Reused,
}

impl Session {
    /// The first session of a family, by a login at `now` (Unix seconds).
    pub fn open(token: TokenHash, family: FamilyId, user_id: UserId, now: i64) -> Self {
        Self { token, family, user_id, opened_at: now, expires_at: now + LIFETIME, successor: None }
    }

    /// The user of its access tokens.
    pub fn subject(&self, roles: Vec<Role>) -> Subject {
        Subject {
            user_id: self.user_id.clone(),
            session_id: self.family.session_id(),
            roles,
            auth_time: self.opened_at,
            email_verified: false,
        }
    }

    /// The session after this one, under the token `next`.
    ///
    /// # Errors
    /// When the token was spent before, or its time is over.
    pub fn rotate(&self, next: TokenHash, now: i64) -> Result<Self, Refused> {
        // This is checked before the expiry, because an old copy that is used gives a theft away, too.
        if self.successor.is_some() {
            return Err(Refused::Reused);
        }
        if self.expires_at <= now {
            return Err(Refused::Expired);
        }
        let expires_at = (now + LIFETIME).min(self.opened_at + LONGEST);
        Ok(Self { token: next, expires_at, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn token(n: u8) -> RefreshToken {
        RefreshToken::new(UserId::generate(), [n; TOKEN_BYTES])
    }

    fn session() -> Session {
        Session::open(token(1).hash(), FamilyId::new(Uuid::from_u128(1)), UserId::generate(), NOW)
    }

    #[test]
    fn a_session_goes_on_in_its_family_for_30_days_from_each_use() {
        let first = session();
        let second = first.rotate(token(2).hash(), NOW + 100).unwrap();
        assert_eq!((&second.family, &second.user_id), (&first.family, &first.user_id));
        assert_eq!(second.opened_at, NOW);
        assert_eq!(second.token, token(2).hash());
        assert_eq!(second.expires_at, NOW + 100 + 30 * 86_400);
    }

    #[test]
    fn a_session_ends_90_days_after_the_login_however_often_it_is_used() {
        let mut session = session();
        for day in 1..90 {
            session = session.rotate(token(2).hash(), NOW + day * 86_400).unwrap();
        }
        let end = NOW + 90 * 86_400;
        assert_eq!(session.expires_at, end);
        assert_eq!(session.rotate(token(3).hash(), end), Err(Refused::Expired));
    }

    #[test]
    fn a_session_ends_at_its_time_whether_the_table_has_deleted_it_or_not() {
        let first = session();
        assert!(first.rotate(token(2).hash(), first.expires_at - 1).is_ok());
        assert_eq!(first.rotate(token(2).hash(), first.expires_at), Err(Refused::Expired));
    }

    #[test]
    fn a_spent_token_is_distinguished_from_an_expired_one() {
        let spent = Session { successor: Some(token(2).hash()), ..session() };
        assert_eq!(spent.rotate(token(3).hash(), NOW), Err(Refused::Reused));
        assert_eq!(spent.rotate(token(3).hash(), spent.expires_at), Err(Refused::Reused));
    }

    #[test]
    fn only_what_has_the_form_of_our_tokens_is_read_as_one() {
        let token = token(9);
        let user = token.user_id();
        let read = RefreshToken::parse(&Secret::from(token.expose())).unwrap();
        assert_eq!((read.user_id(), read.hash()), (user, token.hash()));
        let good = "A".repeat(43);
        for wrong in [
            String::new(),
            good.clone(),
            format!("anna.{good}"),
            format!("{user}.{}", &good[1..]),
            format!("{user}.A{good}"),
            format!("{user}.{good}.{good}"),
            format!("{user}.{}", "=".repeat(43)),
        ] {
            assert!(RefreshToken::parse(&Secret::from(wrong.clone())).is_none(), "{wrong}");
        }
    }

    #[test]
    fn tokens_are_not_shown_by_debug() {
        assert_eq!(format!("{:?}", token(1)), "RefreshToken(..)");
    }
}
