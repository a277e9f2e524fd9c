//! The table of notifications: `CONTACT#<user>`/`CONTACT` is how a customer is reached, `MESSAGE#<event>`/`EMAIL` what
//! became of the e-mail about an event.

use aws_sdk_dynamodb::types::AttributeValue;
use contracts::{EventId, UserId};
use lambda_kit::dynamodb::{EXPIRES_AT, Item, Table, TableError, condition_failed, key, number, string};

use crate::domain::Contact;

/// How long one try may hold an event: longer than the function's timeout (15 s), so that nobody else sends while it
/// runs, and shorter than the queue's visibility timeout (90 s), so that the next try is not refused.
pub const LEASE_SECONDS: i64 = 60;

/// A record outlives every repeat of its event: dead letters are kept for 14 days, the saga's history for 90.
const RECORD_SECONDS: i64 = 90 * 24 * 60 * 60;

const EMAIL: &str = "EMAIL";
const STATE: &str = "state";
const SENDING: &str = "sending";
const SENT: &str = "sent";
const HOLDER: &str = "holder";
const LEASE_UNTIL: &str = "lease_until";

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

/// Whether the e-mail about an event may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    Held,
    /// It was sent.
    Done,
    /// Somebody is at it, or died at it a moment ago.
    Busy,
}

impl Store {
    pub const fn new(table: Table) -> Self {
        Self { table }
    }

    /// Keeps a customer's contact data, unless it is older than what is kept.
    pub async fn remember(&self, user_id: &UserId, contact: &Contact) -> Result<(), TableError> {
        const OPERATION: &str = "remembering a contact";
        let mut item: Item = serde_dynamo::to_item(contact).map_err(|e| TableError::item(OPERATION, e))?;
        item.extend(contact_key(user_id));
        let answer = self
            .table
            .client
            .put_item()
            .table_name(&self.table.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR #sequence < :sequence")
            .expression_attribute_names("#sequence", "sequence")
            .expression_attribute_values(":sequence", number(contact.sequence))
            .send()
            .await;
        match answer {
            // What is kept is as new or newer: also when it is our own write, whose answer was lost.
            Err(error) if !condition_failed(&error) => Err(TableError::call(OPERATION, error)),
            _ => Ok(()),
        }
    }

    pub async fn contact(&self, user_id: &UserId) -> Result<Option<Contact>, TableError> {
        const OPERATION: &str = "reading a contact";
        let item = self.get(OPERATION, contact_key(user_id)).await?;
        item.map(|item| serde_dynamo::from_item(item).map_err(|e| TableError::item(OPERATION, e))).transpose()
    }

    /// Takes the e-mail about an event for one try. `holder` is this try's own name; `now` in Unix seconds.
    pub async fn lease(&self, event_id: &EventId, holder: &str, now: i64) -> Result<Lease, TableError> {
        const OPERATION: &str = "leasing an e-mail";
        let mut item = message_key(event_id);
        item.extend([
            (STATE.to_owned(), string(SENDING)),
            (HOLDER.to_owned(), string(holder)),
            (LEASE_UNTIL.to_owned(), number(now + LEASE_SECONDS)),
            (EXPIRES_AT.to_owned(), number(now + RECORD_SECONDS)),
        ]);
        let answer = self
            .table
            .client
            .put_item()
            .table_name(&self.table.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR (#state = :sending AND lease_until <= :now)")
            .expression_attribute_names("#state", STATE)
            .expression_attribute_values(":sending", string(SENDING))
            .expression_attribute_values(":now", number(now))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(Lease::Held),
            Err(error) if condition_failed(&error) => {
                let item = self.get(OPERATION, message_key(event_id)).await?.unwrap_or_default();
                let is = |name, value| item.get(name) == Some(&string(value));
                Ok(match () {
                    () if is(STATE, SENT) => Lease::Done,
                    // Our own write, whose answer was lost.
                    () if is(HOLDER, holder) => Lease::Held,
                    () => Lease::Busy,
                })
            }
            Err(error) => Err(TableError::call(OPERATION, error)),
        }
    }

    /// Records that the e-mail went out, under the provider's id of it.
    pub async fn sent(&self, event_id: &EventId, provider_id: &str, now: i64) -> Result<(), TableError> {
        self.table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(message_key(event_id)))
            .update_expression(
                "SET #state = :sent, provider_id = :id, sent_at = :now REMOVE lease_until, holder",
            )
            .expression_attribute_names("#state", STATE)
            .expression_attribute_values(":sent", string(SENT))
            .expression_attribute_values(":id", string(provider_id))
            .expression_attribute_values(":now", AttributeValue::N(now.to_string()))
            .send()
            .await
            .map_err(|e| TableError::call("recording an e-mail", e))?;
        Ok(())
    }

    async fn get(&self, operation: &'static str, key: Item) -> Result<Option<Item>, TableError> {
        let call = self.table.client.get_item().table_name(&self.table.name).set_key(Some(key));
        let answer = call.consistent_read(true).send().await.map_err(|e| TableError::call(operation, e))?;
        Ok(answer.item)
    }
}

fn contact_key(user_id: &UserId) -> Item {
    key(format!("CONTACT#{user_id}"), "CONTACT")
}

fn message_key(event_id: &EventId) -> Item {
    key(format!("MESSAGE#{event_id}"), EMAIL)
}
