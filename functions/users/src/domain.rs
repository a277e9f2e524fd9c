//! Accounts and their transitions. Time, ids and random bytes are arguments.

mod account;
mod contact;
mod failures;
mod password;
mod profile;
mod reset;
mod secret;
mod session;
mod verification;

pub use account::{Account, NewUser, Registered};
pub use contact::{Email, Name, Phone};
pub use failures::{FailureSource, Failures, WINDOW};
pub use password::{Password, PasswordFingerprint, PasswordHash, SALT_BYTES};
pub use profile::{ChangedProfile, Erased, Erasure, Profile, ProfileChange, Suspended, Suspension};
pub use reset::{PasswordReset, RESET_LIFETIME, ResetToken};
pub use secret::Secret;
pub use session::{PART_BYTES, RefreshToken, Refused, Session, excess};
pub use verification::{CODE_BYTES, Code, NotConfirmable, PendingCode, Verification, lifetime};

/// The rule that a value breaks, in words for the user who typed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokenRule(pub &'static str);
