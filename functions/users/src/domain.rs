//! Accounts and their transitions. Time, ids and random bytes are arguments.

mod account;
mod contact;
mod failures;
mod password;
mod profile;
mod secret;
mod session;

pub use account::{Account, NewUser, Registered};
pub use contact::{Email, Name, Phone};
pub use failures::{Failures, Limits, Source, WINDOW};
pub use password::{Password, PasswordHash, SALT_BYTES};
pub use profile::{Changed, Erased, Erasure, Profile, Wish};
pub use secret::Secret;
pub use session::{FamilyId, RefreshToken, Refused, Session, TOKEN_BYTES, TokenHash};

/// A broken rule, in words for the person who typed the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub &'static str);
