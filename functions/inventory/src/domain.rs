//! Pure: what a reservation and a stock are, and how they move. No clock, no I/O.

mod reservation;
mod stock;

pub use reservation::{Cause, Change, Command, Decision, Move, Refused, Reservation, Status, decide};
pub use stock::{
    Availability, Setting, Shard, Stock, StockChange, Summary, from_first_shards, plan, set_available,
};
