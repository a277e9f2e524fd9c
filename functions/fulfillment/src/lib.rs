//! Owns the shipment of each order, with its carrier, tracking number, progress and address. Publishes
//! `shipment.*`, whose subject is the order. The saga schedules and cancels shipments; staff report their
//! progress. Listens to `user.deleted`: it erases a deleted customer's address from all shipments.

mod api;
mod carrier;
mod commands;
mod domain;
mod erasure;
mod handler;
mod orders;
mod queries;
mod store;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Api, routes};
pub use carrier::{Carrier, HouseCarrier};
pub use commands::handle as handle_command;
pub use erasure::{EVENT_TYPES, handle_event, index_addresses};
pub use orders::OrdersClient;
pub use queries::handle as handle_query;
pub use store::Store;
