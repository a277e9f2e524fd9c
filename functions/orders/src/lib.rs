//! Orders owns orders: what was ordered at which price, and every fact about it since. An order is its list of
//! events; commands append to it, and the fold over it is the order. Also owned: discount codes, and the copy of prices
//! that orders are placed by, so that a catalogue that is down refuses nobody. Asks inventory and
//! fulfillment about orders that are not placed yet.
//!
//! Publishes `order.*` (subject: the order id, sequence: the order's version) and starts the saga of each new
//! order; looks after the orders whose saga was lost. Keeps the views that lists of orders are read from. Answers what
//! others ask of orders' statuses. Listens to `product.created`, `product.updated`, `product.discontinued`,
//! `payment.refund_failed` and `user.deleted`. An order's address is erased when the order ends, whoever's it is.

mod api;
mod commands;
mod consumer;
mod domain;
mod forecast;
mod queries;
mod reconciler;
mod relay;
mod store;
#[cfg(test)]
mod testing;
mod views;
mod watch;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Limits, routes};
pub use commands::handle as handle_command;
pub use consumer::{EVENT_TYPES, handle as handle_event};
pub use forecast::Forecast;
pub use queries::handle as handle_query;
pub use reconciler::{Contexts, Executions, Reconciler, run as reconcile};
pub use relay::Starter;
pub use store::{Partitioning, Store};
pub use views::run as keep_views;
pub use watch::watch_all;
