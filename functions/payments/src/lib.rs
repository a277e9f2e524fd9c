//! Payments own, for each order, whether its money was taken, and see to it that it is taken once at most, and
//! goes back when the order does not come about. The payment item is the judge: the queue, webhooks, undos and
//! checks bring facts, it decides, and everyone acts on what it says.
//!
//! Publishes `payment.pending` (the payment waits for the customer or the bank), `payment.succeeded`,
//! `payment.failed`, `payment.refunded` and `payment.refund_failed` (subject: the order, sequence: the version of the
//! payment's item).
//! Listens to `order.cancel_requested`. All else that it is told comes as a command, through its queue, or from the
//! gateway. Answers what others ask of payments' standing.

mod answers;
mod api;
mod commands;
mod config;
mod consumer;
mod domain;
mod gateway;
mod intake;
mod queries;
mod queue;
mod reconciler;
mod secrets;
mod signature;
mod store;
#[cfg(test)]
mod testing;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Api, routes};
pub use commands::{Payments, run};
pub use consumer::{EVENT_TYPES, handle as handle_event};
pub use intake::Intake;
pub use reconciler::{Reconciler, run as reconcile};
