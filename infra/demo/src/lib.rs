//! `cargo ops demo`: places five orders and shows their progress.

mod check;
mod customer;
mod demo;
mod error;
mod screen;
mod story;
mod tour;

pub use customer::{Basket, Customer, address};
pub use demo::Demo;
pub use error::{Error, Result};
pub use screen::Clock;
pub use story::Story;
pub use tour::Frames;
