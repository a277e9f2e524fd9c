//! Owns the accounts, with each person's profile and credentials, and the tokens that identify them to the other
//! contexts.
//!
//! Publishes `user.registered`, `user.updated` and `user.deleted` (subject: the user id, sequence: the
//! profile's version). Listens to nothing. An access token of a deleted user stays valid for the rest of its
//! 15 minutes: here it gets 404, orders accepts no order for it, and realtime does not admit it.

mod api;
mod domain;
mod erasure;
mod error;
mod handler;
mod store;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Users, routes};
pub use erasure::delete_sessions_of_erased;
pub use store::Store;
