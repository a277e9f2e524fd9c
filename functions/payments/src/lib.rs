//! Owns the payment of each order. It takes the money at most once, and returns it when the order does not
//! complete. The payment item decides: the queue, webhooks, undos and checks bring inputs, and all of
//! them act on the item's new state.
//!
//! Publishes `payment.pending` (the payment waits for the customer or the bank), `payment.succeeded`,
//! `payment.failed`, `payment.refunded` and `payment.refund_failed` (subject: the order, sequence: the version of the
//! payment's item).
//! Listens to `order.cancel_requested`. Other input comes as a command, through its queue, or from the
//! gateway. Answers queries about payments.

mod api;
mod commands;
mod config;
mod consumer;
mod domain;
mod gateway;
mod handler;
mod queries;
mod queue;
mod reconciler;
mod recorder;
mod secrets;
mod signature;
mod store;
mod task_tokens;
#[cfg(test)]
mod testing;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Api, routes};
pub use commands::{Payments, run};
pub use consumer::{EVENT_TYPES, handle as handle_event};
pub use reconciler::{Reconciler, run as reconcile};
pub use recorder::InputRecorder;
