//! A DynamoDB stream as Lambda delivers it to a function, and the function's answer (AWS Lambda, "Using AWS Lambda with
//! Amazon DynamoDB"; DynamoDB Streams API reference, "Record").

use std::{collections::HashMap, str::FromStr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::dynamodb::TableError;

/// The stream event that Lambda passes to a function, with the fields that a relay reads.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    /// Of one shard, in their order.
    #[serde(rename = "Records")]
    pub records: Vec<StreamRecord>,
}

/// One change of an item.
#[derive(Debug, Deserialize)]
pub struct StreamRecord {
    /// `INSERT`, `MODIFY` or `REMOVE`.
    #[serde(rename = "eventName")]
    pub event_name: String,
    /// What changed.
    pub dynamodb: ItemChange,
}

/// The change of an item. Which images it has depends on the stream's view type.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ItemChange {
    /// Identifies the record in its shard. Digits.
    pub sequence_number: String,
    /// The item's key.
    #[serde(default)]
    pub keys: Image,
    /// The item after the change; `None` when it was removed.
    #[serde(default)]
    pub new_image: Option<Image>,
    /// The item before the change; `None` when it is new.
    #[serde(default)]
    pub old_image: Option<Image>,
}

/// An item of the stream, in DynamoDB's JSON.
// An attribute is parsed only when it is read, so that a malformed one fails its own record and not the batch.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Image {
    attributes: HashMap<String, Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
struct StringList {
    #[serde(rename = "L")]
    items: Vec<StringValue>,
}

#[derive(Debug, Deserialize)]
struct StringValue {
    #[serde(rename = "S")]
    value: String,
}

/// DynamoDB writes numbers as text.
#[derive(Debug, Deserialize)]
struct NumberValue {
    #[serde(rename = "N")]
    value: String,
}

impl Image {
    /// The string attribute `name`, if the item has it.
    pub fn string(&self, name: &str) -> Option<String> {
        let raw = self.attributes.get(name)?;
        serde_json::from_str::<StringValue>(raw.get()).ok().map(|s| s.value)
    }

    /// The number attribute `name`, if the item has it and it is a `T`.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        let raw = self.attributes.get(name)?;
        serde_json::from_str::<NumberValue>(raw.get()).ok()?.value.parse().ok()
    }

    /// The value that the item stores.
    ///
    /// # Errors
    /// When the item has another format.
    pub fn value<T: DeserializeOwned>(&self, operation: &'static str) -> Result<T, TableError> {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, raw)| Ok((name.clone(), serde_json::from_str(raw.get())?)));
        let item = attributes.collect::<serde_json::Result<HashMap<String, serde_dynamo::AttributeValue>>>();
        let item = item.map_err(|e| TableError::item(operation, e))?;
        serde_dynamo::from_item(item).map_err(|e| TableError::item(operation, e))
    }

    /// Whether the item has an attribute `name`.
    pub fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }

    /// The list of strings `name`; empty when the item does not have it.
    ///
    /// # Errors
    /// When the attribute is something else.
    pub fn strings(&self, name: &str) -> Result<Vec<String>, serde_json::Error> {
        let Some(raw) = self.attributes.get(name) else { return Ok(Vec::new()) };
        let StringList { items } = serde_json::from_str(raw.get())?;
        Ok(items.into_iter().map(|item| item.value).collect())
    }
}

/// Which records of a batch are to be delivered again.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamBatchResponse {
    /// Lambda delivers again from the first of them in the batch on.
    pub batch_item_failures: Vec<ItemFailure>,
}

/// A record that failed.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// Its sequence number.
    pub item_identifier: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_read_as_the_value_that_the_item_stores() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Stored {
            name: String,
            counts: Vec<i64>,
        }

        let json = r#"{"pk": {"S": "A"}, "name": {"S": "mug"}, "counts": {"L": [{"N": "3"}, {"N": "-1"}]}}"#;
        let image: Image = serde_json::from_str(json).unwrap();
        let stored = image.value::<Stored>("test").unwrap();
        assert_eq!(stored, Stored { name: "mug".to_owned(), counts: vec![3, -1] });
        let other: Image = serde_json::from_str(r#"{"name": {"N": "1"}}"#).unwrap();
        assert!(!other.value::<Stored>("test").unwrap_err().is_outage());
    }
}
