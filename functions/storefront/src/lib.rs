//! The storefront is the shop's own face: its page, the health of the whole, and the answer for every address that
//! no other context has.
//!
//! Owns no table. Publishes nothing and listens to nothing; it asks the other contexts.

mod api;
mod page;
mod readiness;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Storefront, routes};
pub use page::{Page, PageError, PublishableKey};
pub use readiness::Contexts;
