//! Customers' contact data, copied from users' events, which arrive in any order.

use aws_sdk_dynamodb::types::AttributeValue;
use contracts::UserId;
use lambda_kit::dynamodb::{
    Conflict, EXPIRES_AT, Expression, Item, TableError, from_item, key, number, string,
};

use super::{RECORD_SECONDS, Store};
use crate::domain::{Contact, StoredContact};

const ERASED: &str = "erased";

impl Store {
    /// Stores a customer's contact data, unless a newer version is stored, or the customer is erased.
    pub async fn save_contact(&self, user_id: &UserId, contact: &Contact) -> Result<(), TableError> {
        // The update must overwrite a number that the customer has removed. So a missing number is null, and is
        // not left out.
        let phone = contact.phone.as_ref().map_or(AttributeValue::Null(true), string);
        // An address's delivery problems are kept; they apply until the address changes.
        let update = Expression::new(
            "SET email = :email, #name = :name, phone = :phone, wants_email = :wants_email, \
             wants_sms = :wants_sms, email_verified = :email_verified, phone_verified = :phone_verified, \
             #sequence = :sequence",
        )
        .name("#name", "name")
        .name("#sequence", "sequence")
        .value(":email", string(&contact.email))
        .value(":name", string(&contact.name))
        .value(":phone", phone)
        .value(":wants_email", AttributeValue::Bool(contact.wants_email))
        .value(":wants_sms", AttributeValue::Bool(contact.wants_sms))
        .value(":email_verified", AttributeValue::Bool(contact.email_verified))
        .value(":phone_verified", AttributeValue::Bool(contact.phone_verified))
        .value(":sequence", number(contact.sequence));
        let older = "attribute_not_exists(pk) OR (attribute_not_exists(erased) AND #sequence < :sequence)";
        // After a conflict, the stored version is as new or newer, which includes our own write whose answer
        // was lost.
        let (Ok(()) | Err(Conflict)) =
            self.table.update_if("saving a contact", contact_key(user_id), update, older).await?;
        Ok(())
    }

    /// Replaces a customer's contact data by a mark, for as long as an older event may still arrive. `now` is
    /// in Unix seconds.
    pub async fn erase(&self, user_id: &UserId, now: i64) -> Result<(), TableError> {
        let mut item = contact_key(user_id);
        item.insert(ERASED.to_owned(), AttributeValue::Bool(true));
        item.insert(EXPIRES_AT.to_owned(), number(now + RECORD_SECONDS));
        // The write has no condition: a deletion outweighs every version, and the user's id is not used again.
        self.table.put("erasing a contact", item).await
    }

    /// Stops e-mail to an address, if it still is the customer's. False when there is no contact of the customer.
    pub async fn suppress(&self, user_id: &UserId, address: &str) -> Result<bool, TableError> {
        let update = Expression::new("SET suppressed = :address").value(":address", string(address));
        let key = contact_key(user_id);
        match self.table.update_if("suppressing an address", key, update, "email = :address").await? {
            Ok(()) => Ok(true),
            Err(Conflict) => Ok(self.contact(user_id).await?.is_some()),
        }
    }

    pub async fn contact(&self, user_id: &UserId) -> Result<Option<StoredContact>, TableError> {
        const OPERATION: &str = "reading a contact";
        let Some(item) = self.table.get_item(OPERATION, contact_key(user_id)).await? else { return Ok(None) };
        if item.contains_key(ERASED) {
            return Ok(Some(StoredContact::Erased));
        }
        from_item(OPERATION, item).map(|contact| Some(StoredContact::Known(contact)))
    }
}

fn contact_key(user_id: &UserId) -> Item {
    key(format!("CONTACT#{user_id}"), "CONTACT")
}
