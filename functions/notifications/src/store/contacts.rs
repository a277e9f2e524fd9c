//! Customers' contact data, copied from users' events, which arrive in any order.

use aws_sdk_dynamodb::types::AttributeValue;
use contracts::UserId;
use lambda_kit::dynamodb::{EXPIRES_AT, Item, TableError, condition_failed, key, number, string};

use super::{RECORD_SECONDS, Store};
use crate::domain::{Contact, Person};

const ERASED: &str = "erased";

impl Store {
    /// Stores a customer's contact data, unless a newer version is stored, or the customer is erased.
    pub async fn remember(&self, user_id: &UserId, contact: &Contact) -> Result<(), TableError> {
        let phone = contact.phone.as_ref().map_or(AttributeValue::Null(true), string);
        let update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(contact_key(user_id)))
            // An address's delivery problems are kept; they apply until the address changes.
            .update_expression(
                "SET email = :email, #name = :name, phone = :phone, wants_email = :wants_email, \
                 wants_sms = :wants_sms, #sequence = :sequence",
            )
            .condition_expression(
                "attribute_not_exists(pk) OR (attribute_not_exists(erased) AND #sequence < :sequence)",
            )
            .expression_attribute_names("#name", "name")
            .expression_attribute_names("#sequence", "sequence")
            .expression_attribute_values(":email", string(&contact.email))
            .expression_attribute_values(":name", string(&contact.name))
            .expression_attribute_values(":phone", phone)
            .expression_attribute_values(":wants_email", AttributeValue::Bool(contact.wants_email))
            .expression_attribute_values(":wants_sms", AttributeValue::Bool(contact.wants_sms))
            .expression_attribute_values(":sequence", number(contact.sequence));
        match update.send().await {
            // The stored version is as new or newer, which includes our own write whose answer was lost.
            Err(error) if !condition_failed(&error) => Err(TableError::call("remembering a contact", error)),
            _ => Ok(()),
        }
    }

    /// Replaces a customer's contact data by a mark, for as long as an older event may still arrive. `now` is
    /// in Unix seconds.
    pub async fn erase(&self, user_id: &UserId, now: i64) -> Result<(), TableError> {
        let mut item = contact_key(user_id);
        item.insert(ERASED.to_owned(), AttributeValue::Bool(true));
        item.insert(EXPIRES_AT.to_owned(), number(now + RECORD_SECONDS));
        let put = self.table.client.put_item().table_name(&self.table.name).set_item(Some(item));
        put.send().await.map_err(|e| TableError::call("erasing a contact", e))?;
        Ok(())
    }

    /// Stops e-mail to an address, if it still is the customer's.
    pub async fn suppress(&self, user_id: &UserId, address: &str) -> Result<(), TableError> {
        let update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(contact_key(user_id)))
            .update_expression("SET suppressed = :address")
            .condition_expression("email = :address")
            .expression_attribute_values(":address", string(address));
        match update.send().await {
            Err(error) if !condition_failed(&error) => Err(TableError::call("suppressing an address", error)),
            _ => Ok(()),
        }
    }

    pub async fn person(&self, user_id: &UserId) -> Result<Option<Person>, TableError> {
        const OPERATION: &str = "reading a contact";
        let Some(item) = self.get(OPERATION, contact_key(user_id)).await? else { return Ok(None) };
        if item.contains_key(ERASED) {
            return Ok(Some(Person::Erased));
        }
        let contact: Contact = serde_dynamo::from_item(item).map_err(|e| TableError::item(OPERATION, e))?;
        Ok(Some(Person::Known(contact)))
    }
}

fn contact_key(user_id: &UserId) -> Item {
    key(format!("CONTACT#{user_id}"), "CONTACT")
}
