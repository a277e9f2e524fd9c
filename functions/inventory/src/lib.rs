//! Owns the stock of every SKU and what of it is held for which order: no more is sold than there is, and nothing
//! that is given back gets lost. Publishes `inventory.reserved`, `inventory.not_available`, `inventory.released` and
//! `inventory.committed`, with the order as their subject, and `inventory.stock_changed`, with the SKU; listens to
//! `order.completed`. The saga asks it to reserve and to release, orders what can be
//! sold; a sweeper asks orders about what is held too long.

mod api;
mod commands;
mod consumer;
mod domain;
mod queries;
mod relay;
mod settle;
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
pub use relay::tell_classes;
pub use store::{HeldPartitions, Store};
pub use sweeper::{Orders, Swept, sweep};
