//! Owns the accounts, with each person's profile and credentials, and the tokens that identify them to the other
//! contexts.
//!
//! Publishes `user.registered`, `user.updated`, `user.suspended`, `user.restored` and `user.deleted` (subject: the
//! user id, sequence: the profile's version), and `session.ended` (subject: the session id). Listens to nothing. Codes,
//! links for a new password and notices go to the queue `notifications-codes`, and not through events.
//!
//! An access token stays valid for the rest of its 15 minutes. When its user was deleted, it gets 404 here, orders
//! accepts no order for it, and realtime does not admit it.

mod api;
mod commands;
mod domain;
mod erasure;
mod error;
mod handler;
mod messages;
mod store;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Users, routes};
pub use commands::run as run_commands;
pub use erasure::delete_sessions_of_erased;
pub use messages::Messages;
pub use store::Store;
