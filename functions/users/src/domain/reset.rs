//! Tokens that set a new password.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::UserId;
use serde::{Deserialize, Serialize};

use super::{Email, PasswordHash, Secret};

/// The random part of a token: 256 bits.
// A token is found by its hash alone. So guessing one must be hopeless, and one pass of SHA-256 without salt is enough
// to store it.
pub const RESET_TOKEN_BYTES: usize = 32;

/// How long a token is good, in seconds: half an hour.
pub const RESET_LIFETIME: i64 = 30 * 60;

/// A token as its recipient has it: 43 characters of base64url. `Debug` hides it.
#[derive(Clone)]
pub struct ResetToken([u8; RESET_TOKEN_BYTES]);

impl ResetToken {
    pub fn new(random: [u8; RESET_TOKEN_BYTES]) -> Self {
        Self(random)
    }

    /// Nothing when the text does not have the form of our tokens.
    pub fn parse(text: &Secret) -> Option<Self> {
        let random = URL_SAFE_NO_PAD.decode(text.expose().trim()).ok()?;
        Some(Self(random.try_into().ok()?))
    }

    /// The text for the recipient.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The hash under which it is stored.
    pub fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.0))
    }
}

impl std::fmt::Debug for ResetToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResetToken(..)")
    }
}

/// What is stored of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordReset {
    pub user_id: UserId,
    /// A digest of the address and the password that the account had.
    // A token is void as soon as one of them has changed: it works once, and the other tokens end with it.
    pub login: String,
    /// Unix seconds.
    pub expires_at: i64,
}

impl PasswordReset {
    pub fn new(user_id: UserId, email: &Email, password: &PasswordHash, now: i64) -> Self {
        Self { user_id, login: digest_of(email, password), expires_at: now + RESET_LIFETIME }
    }

    /// Whether its time is not over.
    // DynamoDB deletes late.
    pub fn is_open(&self, now: i64) -> bool {
        self.expires_at > now
    }

    /// Whether an account still has the address and the password for which the token was made.
    pub fn is_for(&self, email: &Email, password: &PasswordHash) -> bool {
        self.login == digest_of(email, password)
    }
}

fn digest_of(email: &Email, password: &PasswordHash) -> String {
    let login = format!("{} {}", email.as_str(), password.as_str());
    URL_SAFE_NO_PAD.encode(digest(&SHA256, login.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_form_of_our_tokens_is_read_as_one() {
        let token = ResetToken::new([7; RESET_TOKEN_BYTES]);
        let read = |text: &str| ResetToken::parse(&Secret::from(text.to_owned()));
        assert_eq!(read(&format!(" {}\n", token.expose())).unwrap().hash(), token.hash());
        for wrong in ["", "A", &"A".repeat(42), &"A".repeat(44), &"=".repeat(43)] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "ResetToken(..)");
    }

    #[test]
    fn a_hash_is_of_one_token_and_does_not_hold_it() {
        let token = ResetToken::new([7; RESET_TOKEN_BYTES]);
        assert_ne!(token.hash(), ResetToken::new([8; RESET_TOKEN_BYTES]).hash());
        assert!(!token.hash().contains(&token.expose()));
    }

    #[test]
    fn a_token_is_void_when_the_address_or_the_password_has_changed_or_its_time_is_over() {
        let (email, other): (Email, Email) =
            ("anna@example.com".parse().unwrap(), "anna@example.org".parse().unwrap());
        let hash = |salt| PasswordHash::of(&Secret::from("blue mug 42".to_owned()), &[salt; 16]).unwrap();
        let reset = PasswordReset::new(UserId::generate(), &email, &hash(1), 100);
        assert!(reset.is_for(&email, &hash(1)));
        assert!(!reset.is_for(&other, &hash(1)));
        assert!(!reset.is_for(&email, &hash(2)), "the same password, set anew");
        assert!(reset.is_open(100 + 1799) && !reset.is_open(100 + 1800));
    }
}
