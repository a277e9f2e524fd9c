//! The invariants of a stage, checked against what its stores hold: every order ends, nothing is oversold, no customer
//! pays twice, nothing is owed. Pure: reads no store and no clock.
//!
//! ```text
//! let mut snapshot = Snapshot::default();
//! snapshot.add("orders", item);           // each item of each table, as DynamoDB writes it: {"pk": {"S": "ORDER#…"}, …}
//! let report = snapshot.verify(&Policy::at_rest());
//! ```
//!
//! Items are JSON in the form of DynamoDB's API (`AttributeValue`), which a Scan, a stream record and an export share. No
//! context's crate is linked: `items` repeats the attributes that the rules read, and an item that cannot be read is a
//! violation itself. tests/simulation runs the rules on the items that the contexts really write.

mod attribute;
mod history;
mod items;
mod policy;
mod published;
mod report;
mod rules;
mod snapshot;

#[cfg(test)]
mod tests;

pub use attribute::plain;
pub use items::{Intent, IntentStatus, attributes};
pub use policy::{ORDER_DEADLINE, Policy, SETTLE};
pub use published::{events_of, unpublished};
pub use report::{Counts, End, Report, Rule, Violation};
pub use snapshot::Snapshot;

/// The contexts whose tables are read as a whole, `ordersaga-<stage>-<context>`, in this order.
// The orders come last: whatever a context holds for an order was read before the order, so an order that is missing
// was never placed.
pub const CONTEXTS: [&str; 5] = ["inventory", "payments", "fulfillment", "notifications", "orders"];
/// The contexts of which only the partition [`PARKED`] is read.
pub const RELAYS_ONLY: [&str; 3] = ["users", "catalog", "realtime"];
/// The partition of records that a relay could not process, in every context's table.
pub const PARKED: &str = "PARKED";
