//! The table of notifications: `CONTACT#<user>`/`CONTACT` is how a customer is reached, `MESSAGE#<event>`/`EMAIL` and
//! `…/SMS` what became of the message about an event. A breaker's and a bucket's item lie beside them.

mod contacts;
mod messages;

use lambda_kit::dynamodb::{Item, Table, TableError};

pub use messages::{LEASE_SECONDS, Lease};

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

impl Store {
    pub const fn new(table: Table) -> Self {
        Self { table }
    }

    async fn get(&self, operation: &'static str, key: Item) -> Result<Option<Item>, TableError> {
        let call = self.table.client.get_item().table_name(&self.table.name).set_key(Some(key));
        let answer = call.consistent_read(true).send().await.map_err(|e| TableError::call(operation, e))?;
        Ok(answer.item)
    }
}

/// Seconds that an item outlives every repeat of its event: dead letters are kept for 14 days, and 14 more once somebody
/// has moved them back; the saga's history for 90.
const RECORD_SECONDS: i64 = 90 * 24 * 60 * 60;
