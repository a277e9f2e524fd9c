//! Users owns accounts: who a person is, how they prove it, and the tokens that say so to the other contexts.
//!
//! Publishes `user.registered`, `user.updated` and `user.deleted` (subject: the user id, sequence: the profile's version).
//! Listens to nothing. An access token of somebody who was deleted stays good for what is left of its 15 minutes: here it
//! finds nobody, orders takes no order for it, realtime does not let it in.

mod api;
mod domain;
mod erasure;
mod error;
mod store;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Users, routes};
pub use domain::Limits;
pub use erasure::sweep_all;
pub use store::Store;
