//! Owns the shipments: which carrier takes an order's parcel, under which tracking number, and where to. Publishes
//! `shipment.scheduled` and `shipment.cancelled`, with the order as their subject. The saga asks it to schedule and
//! to cancel. Listens to `user.deleted`: a deleted customer's address leaves every parcel.

mod carrier;
mod commands;
mod domain;
mod erasure;
mod store;

pub use carrier::{Carrier, HouseCarrier};
pub use commands::handle as handle_command;
pub use erasure::{follow_addresses, handle_event};
pub use store::Store;
