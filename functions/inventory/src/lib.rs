//! Owns the stock of every SKU and the reservations of orders. It never sells more than the stock, and it puts
//! back all that is released. Publishes `inventory.reserved`, `inventory.not_available`, `inventory.released`
//! and `inventory.committed`, whose subject is the order, and `inventory.stock_changed`, whose subject is the
//! SKU. Listens to `order.completed`. The saga reserves and releases, orders queries what can be sold, and a
//! sweeper queries orders about reservations that are held too long.

mod api;
mod commands;
mod consumer;
mod domain;
mod handler;
mod queries;
mod relay;
mod store;
mod sweeper;
#[cfg(test)]
mod testing;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::routes;
pub use commands::handle as handle_command;
pub use consumer::{EVENT_TYPES, handle as handle_event};
pub use queries::handle as handle_query;
pub use relay::follow_stock;
pub use store::{HeldPartitions, Store};
pub use sweeper::{OrdersClient, SweepReport, sweep};
