//! Owns the shop's page and the state of its circuit breakers. It also serves the responses that are composed of
//! several contexts, the health of the whole platform, and the response for every path that belongs to no other
//! context.
//!
//! Publishes nothing and listens to nothing; it
//! calls the other contexts.

mod api;
mod audit;
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
pub use readiness::ReadinessProbe;
pub use upstream::Upstream;
