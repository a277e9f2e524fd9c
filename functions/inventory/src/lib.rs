//! Owns the stock of every SKU and what of it is held for which order: no more is sold than there is, and nothing
//! that is given back gets lost. Publishes `inventory.reserved`, `inventory.not_available`, `inventory.released` and
//! `inventory.committed`, with the order as their subject; listens to `order.completed`. The saga asks it to reserve
//! and to release.

mod api;
mod backoff;
mod commands;
mod consumer;
mod domain;
mod settle;
mod store;

pub use api::routes;
pub use commands::handle as handle_command;
pub use consumer::handle as handle_event;
pub use store::Store;
