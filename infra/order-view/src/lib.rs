//! Everything that happened to one order, as one timeline, with what is stuck or owed and what to do about it.
//!
//! Pure: `cargo ops order` reads the sources, and this crate makes the view of them.

mod diagram;
mod findings;
mod mask;
mod moment;
mod page;
mod saga;
mod sources;
mod terminal;
mod time;
mod timeline;
mod view;

pub use findings::{Finding, Urgency};
pub use mask::masked;
pub use moment::Moment;
pub use page::page;
pub use saga::{Attempt, Execution, Saga, Visit};
pub use sources::{
    Breaker, Charge, DeadLetter, Frame, Function, Intent, LogLine, Mapping, Message, ParkedRecord, Payment,
    Reservation, Shipment, Sources, Warning,
};
pub use terminal::{Terminal, at_entry, text};
pub use time::read_time;
pub use timeline::{Entry, Lane, Mark};
pub use view::OrderView;
