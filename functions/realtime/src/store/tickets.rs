//! Tickets, stored under their hashes.

use aws_sdk_dynamodb::types::ReturnValue;
use lambda_kit::dynamodb::{EXPIRES_AT, Item, TableError, condition_failed, key, number, string};

use super::{Store, item_of, read};
use crate::domain::{TICKET_SECONDS, TicketHash, TicketHolder};

const TICKET: &str = "TICKET";

impl Store {
    /// Stores a ticket that is issued at `now` (Unix seconds).
    pub async fn add_ticket(
        &self,
        ticket: &TicketHash,
        holder: &TicketHolder,
        now: i64,
    ) -> Result<(), TableError> {
        const OPERATION: &str = "storing a ticket";
        let mut key = ticket_key(ticket);
        key.insert(EXPIRES_AT.to_owned(), number(now + TICKET_SECONDS));
        self.table.put(OPERATION, item_of(OPERATION, key, holder)?).await
    }

    /// Uses a ticket for this connection. Nothing when the ticket is unknown, has expired, or was used for another
    /// connection.
    pub async fn use_ticket(
        &self,
        ticket: &TicketHash,
        connection_id: &str,
        now: i64,
    ) -> Result<Option<TicketHolder>, TableError> {
        const OPERATION: &str = "using a ticket";
        // The ticket is marked and not deleted. When the answer is lost, the SDK's repeat finds the mark of the same
        // connection, and the client is admitted. DynamoDB deletes the item after its time.
        let answer = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(ticket_key(ticket)))
            .update_expression("SET used_by = :connection")
            .condition_expression(
                "expires_at > :now AND (attribute_not_exists(used_by) OR used_by = :connection)",
            )
            .expression_attribute_values(":connection", string(connection_id))
            .expression_attribute_values(":now", number(now))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let item = answer.attributes.ok_or_else(|| TableError::item(OPERATION, "no item"))?;
                read(OPERATION, item).map(Some)
            }
            Err(error) if condition_failed(&error) => Ok(None),
            Err(error) => Err(TableError::call(OPERATION, error)),
        }
    }
}

fn ticket_key(ticket: &TicketHash) -> Item {
    key(format!("TICKET#{}", ticket.as_str()), TICKET)
}
