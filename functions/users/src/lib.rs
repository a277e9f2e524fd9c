//! Users owns accounts: who a person is, how they prove it, and the tokens that say so to the other contexts.
//!
//! Publishes `user.registered` (subject: the user id, sequence: the profile's version). Listens to nothing.

mod api;
mod domain;
mod error;
mod store;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Users, routes};
pub use store::Store;
