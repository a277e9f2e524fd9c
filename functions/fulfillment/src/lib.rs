//! Owns the shipments: which carrier takes an order's parcel, under which tracking number, and where to. Publishes
//! `shipment.*`, with the order as their subject. The saga asks it to schedule and to cancel, staff report how far a
//! parcel is. Listens to `user.deleted`: a deleted customer's address leaves every parcel.

mod api;
mod carrier;
mod commands;
mod domain;
mod erasure;
mod orders;
mod queries;
mod store;

#[cfg(feature = "openapi")]
pub use api::operations;
pub use api::{Api, routes};
pub use carrier::{Carrier, HouseCarrier};
pub use commands::handle as handle_command;
pub use erasure::{EVENT_TYPES, follow_addresses, handle_event};
pub use orders::Orders;
pub use queries::handle as handle_query;
pub use store::Store;
