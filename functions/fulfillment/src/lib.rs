//! Owns the shipments: which carrier takes an order's parcel, under which tracking number, and where to. Publishes
//! `shipment.scheduled` and `shipment.cancelled`, with the order as their subject. The saga asks it to schedule and
//! to cancel.

mod carrier;
mod commands;
mod domain;
mod store;

pub use carrier::{Carrier, HouseCarrier};
pub use commands::handle as handle_command;
pub use store::Store;
