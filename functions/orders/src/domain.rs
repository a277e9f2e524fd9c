//! An event-sourced order: `decide` turns commands into events, and the order is the fold of its events.

mod checkout;
mod command;
mod daily_totals;
mod decide;
mod discount;
mod event;
mod history;
mod lines;
mod order;
#[cfg(test)]
mod properties;

pub use checkout::CheckoutDetails;
pub use command::{Command, command_id};
pub use daily_totals::{DailyTotals, SalesMetric, daily_totals};
pub use decide::{Rejected, decide, quote};
pub use discount::{Discount, DiscountCode, DiscountError, Offer, Reduction, Terms};
pub use event::Event;
pub use history::{Commit, EventContext, History, Recorded, ReplayError};
pub use lines::{LineError, check_lines, price_lines};
pub use order::{Order, Placed, apply};

/// `source` of every event that an order is made of.
pub const SOURCE: &str = "orders";
