//! The order saga as Step Functions runs it, and everything else that is generated from its ledger
//! (`contracts::saga::steps`). `cargo ops ledger` writes the files; a test of this crate compares them.
//!
//! The ledger itself is in contracts, because functions read it at run time, and because the types on the wire
//! (`Compensations`) are made from it. No function links this crate.

mod definition;
mod files;
pub mod interpreter;
mod json;
mod page;
mod readme;
mod template;

/// Amazon States Language, as deployed: `${…}` are the substitutions that `infra/orders.yaml` makes.
pub const ORDER_SAGA: &str = include_str!("../order_saga.asl.json");

pub use files::{File, LedgerError, files};
