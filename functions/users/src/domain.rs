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
pub use failures::{FailureSource, Failures, WINDOW};
pub use password::{Password, PasswordFingerprint, PasswordHash, SALT_BYTES};
pub use profile::{ChangedProfile, Erased, Erasure, Profile, ProfileChange, Suspended, Suspension};
pub use secret::Secret;
pub use session::{PART_BYTES, RefreshToken, Refused, Session, excess};

/// The rule that a value breaks, in words for the user who typed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokenRule(pub &'static str);
