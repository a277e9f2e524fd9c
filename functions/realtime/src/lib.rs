//! Owns the WebSocket connections and the tickets that open them, what each connection follows, and the last frames of
//! each order. It publishes nothing, and listens to `order.*`, `payment.*`, `shipment.*`, `user.deleted`,
//! `user.suspended`, `user.restored` and `session.ended`.
//!
//! Everything about one order passes through one queue: the message group of that order. It carries the order's
//! events and the subscriptions to it, so that replayed and live frames cannot overtake each other.

mod api;
mod authorizer;
mod connections;
mod consumer;
mod domain;
mod handler;
mod order_queue;
mod push;
mod socket;
mod store;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Tickets, routes};
pub use authorizer::{Authorizer, Policy};
pub use consumer::{Consumer, EVENT_TYPES};
pub use domain::Origins;
#[cfg(feature = "openapi")]
pub use domain::{Frames, frames};
pub use order_queue::OrderQueue;
pub use push::Pusher;
pub use socket::{Answer, Socket};
pub use store::Store;
