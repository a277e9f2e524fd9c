//! `cargo ops chaos`: every call of the real functions goes wrong in every way, and a judge reads whether the orders
//! ended well.

mod chaos;
mod disturbance;
mod error;
mod fault;
mod judge;
mod lane;
mod ledger;
mod platform;
mod proxy;
mod runs;
mod scenario;
mod subscriber;
mod sweep;
mod wait;

pub use chaos::Chaos;
pub use error::{Error, Result};
