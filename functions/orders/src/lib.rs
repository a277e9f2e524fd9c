//! Owns the orders as lists of events, the discount codes, the views for lists and reports, and a copy of the
//! prices. An order is the fold of its events, and commands append to them. Orders are placed with the copied
//! prices, so that a catalogue that is down prevents no order. For quotes it queries inventory and
//! fulfillment.
//!
//! Publishes `order.*` (subject: the order id, sequence: the order's version), starts the saga of each new
//! order, and reconciles orders whose saga was lost. Maintains the views for lists of orders. Answers queries
//! about orders' statuses. Listens to `product.created`, `product.updated`, `product.discontinued`,
//! `payment.refund_failed`, `user.deleted`, `user.suspended` and `user.restored`. The address of every order is erased when the order ends.

mod api;
mod commands;
mod consumer;
mod domain;
mod forecast;
mod handler;
mod queries;
mod reconciler;
mod reconciliation_index;
mod relay;
mod store;
#[cfg(test)]
mod testing;
mod views;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{EmailQueue, OrderRules, letter_routes, routes};
pub use commands::handle as handle_command;
pub use consumer::{EVENT_TYPES, handle as handle_event};
pub use forecast::Forecast;
pub use queries::handle as handle_query;
pub use reconciler::{ContextClient, Executions, Reconciler, run as reconcile};
pub use reconciliation_index::update_index;
pub use relay::Starter;
pub use store::{Partitioning, Store};
pub use views::run as keep_views;
