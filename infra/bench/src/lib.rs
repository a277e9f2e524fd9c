//! `cargo ops bench`: measurements. They print figures and judge nothing: a machine's speed is no test.

mod bench;
mod cold;
mod cost;
mod cpu;
mod error;
mod figures;
mod load;
mod overload;
mod peers;
mod product;
mod push;
mod reserve;

pub use bench::Bench;
pub use error::{Error, Result};
pub use load::Load;
