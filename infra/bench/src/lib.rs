//! `cargo ops bench`: measurements. They print figures and judge nothing: a machine's speed is no test.

mod bench;
mod cold;
mod cost;
mod cpu;
mod error;
mod figures;
mod overload;
mod push;
mod reserve;
mod upstream;

pub use bench::Bench;
pub use error::{Error, Result};
