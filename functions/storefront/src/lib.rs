//! The storefront is the shop's own face: its page, what is composed of several contexts for one person, the health of the
//! whole, and the answer for every address that no other context has.
//!
//! Owns the state of its breakers, and no data. Publishes nothing and listens to nothing; it asks the other contexts.

mod api;
mod dashboard;
mod export;
mod page;
mod readiness;
mod upstream;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Storefront, routes};
pub use dashboard::Composer;
pub use page::{Page, PageError, PublishableKey};
pub use readiness::Contexts;
pub use upstream::Upstream;
