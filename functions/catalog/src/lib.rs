//! The catalogue owns products: what is sold, under which name, at which price.
//!
//! Publishes `product.created`, `product.updated` and `product.discontinued` (subject: the SKU, sequence: the
//! product's version). Listens to nothing.

mod api;
mod domain;
mod store;

pub use api::routes;
pub use store::Store;
