//! The table of notifications: `CONTACT#<user>`/`CONTACT` is a customer's contact data,
//! `MESSAGE#<event>`/`EMAIL` and `…/SMS` are the records of the messages about an event. The items of
//! breakers and buckets are in the same table.

mod contacts;
mod messages;

use lambda_kit::dynamodb::Table;

pub use messages::{LEASE_SECONDS, Lease};

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

impl Store {
    pub const fn new(table: Table) -> Self {
        Self { table }
    }
}

/// The lifetime of an item, in seconds: 90 days.
// This is longer than any repeat of its event: dead letters are kept for 14 days, and for 14 more after a
// redrive; the saga's history for 90.
const RECORD_SECONDS: i64 = 90 * 24 * 60 * 60;
