//! Owns the products, with their names, descriptions and prices, and a copy of each SKU's availability.
//!
//! Publishes `product.created`, `product.updated` and `product.discontinued` (subject: the SKU, sequence: the
//! product's version). Listens to `inventory.stock_changed` and `order.completed`.

mod api;
mod availability;
mod consumer;
mod domain;
mod handler;
mod inventory_health;
mod stock;
mod store;
#[cfg(test)]
mod testing;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{LISTS_KEPT, routes};
pub use consumer::{EVENT_TYPES, ORDER_EVENT_TYPES, STOCK_EVENT_TYPES, handle as handle_event};
pub use inventory_health::InventoryProbe;
pub use store::Store;
