//! Records that a relay cannot process. They are stored in its own table as `pk = PARKED`, `sk = <sequence
//! number>`, so that the stream goes on. Each is counted (`Found`, kind `parked`, with an alarm) and stays
//! until it is processed.
//!
//! A parked record holds the key of its item and no content. A retry reads the item as it is then: an item
//! that has changed since yields the events of its last change.

use std::sync::Arc;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::metrics;
use jiff::Timestamp;
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{outbox::Handled, publisher::Publisher};
use crate::{
    dynamodb::{Item, PK, SK, Table, TableError, key, key_of, string, string_of},
    error::error_chain,
    stream::{StreamEvent, StreamRecord},
    telemetry,
};

const PARKED: &str = "PARKED";
const ITEM_PK: &str = "item_pk";
const ITEM_SK: &str = "item_sk";
const PARKED_AT: &str = "parked_at";

/// Records of one page.
// A relay has 30 s. It starts as many sagas as these within a few seconds.
const PAGE: i32 = 25;

/// Which parked records to retry.
#[derive(Debug, Default, Deserialize)]
pub struct Request {
    /// The previous page's cursor; `None` for the first page.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// The result of retrying one page of parked records.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct RetriedPage {
    /// Processed, and no longer parked.
    pub done: usize,
    /// Failed for a reason that may pass; still parked.
    pub failed: usize,
    /// Still cannot be processed.
    pub parked: Vec<Parked>,
    /// The cursor of the next page; `None` after the last one.
    pub cursor: Option<String>,
}

/// A record that cannot be processed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Parked {
    /// The partition key of the record's item.
    pub pk: String,
    /// The sort key of the record's item.
    pub sk: String,
    /// RFC 3339.
    pub parked_at: String,
}

/// Why parked records were not retried.
#[derive(Debug, thiserror::Error)]
pub enum ParkingError {
    /// The table does not answer, or a parked record is malformed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Never happens: every item has a form in JSON.
    #[error("an item has no form in the stream's JSON")]
    Image(#[from] serde_json::Error),
}

impl From<ParkingError> for Diagnostic {
    fn from(error: ParkingError) -> Self {
        Self { error_type: "NotRetried".to_owned(), error_message: error_chain(&error) }
    }
}

/// The parked records of a table.
#[derive(Debug, Clone)]
pub struct Parking {
    table: Table,
}

impl Parking {
    /// The parked records of this table.
    pub const fn new(table: Table) -> Self {
        Self { table }
    }

    /// Parks a record, and returns whether it is parked. Idempotent.
    pub(super) async fn park(&self, record: &StreamRecord) -> bool {
        let change = &record.dynamodb;
        let sequence_number = change.sequence_number.as_str();
        let mut item = key(PARKED, sequence_number);
        for (name, value) in [(ITEM_PK, change.keys.string(PK)), (ITEM_SK, change.keys.string(SK))] {
            let Some(value) = value else {
                // Parked without its key it would be lost.
                tracing::error!(sequence_number, "a record without the key of its item cannot be parked");
                return false;
            };
            item.insert(name.to_owned(), string(value));
        }
        item.insert(PARKED_AT.to_owned(), string(Timestamp::now().to_string()));
        // The key is the sequence number, so that a record that Lambda delivers again is parked once.
        match self.table.put("parking a record", item).await {
            Ok(()) => {
                tracing::error!(sequence_number, "a record cannot be processed and is parked");
                telemetry::emit(&metrics::RECORDS_PARKED, 1);
                true
            }
            Err(error) => {
                tracing::error!(sequence_number, error = error_chain(&error), "a record could not be parked");
                false
            }
        }
    }

    /// Processes a page of parked records again, as their stream would. Safe to repeat.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn retry<F, Fut>(
        &self,
        request: &Request,
        publisher: &Publisher,
        then: F,
    ) -> Result<RetriedPage, ParkingError>
    where
        F: Fn(Arc<StreamEvent>) -> Fut,
        Fut: Future<Output: Into<Handled>>,
    {
        let page = self.page(request).await?;
        let mut retried = RetriedPage::default();
        let (mut records, mut parked) = (Vec::new(), Vec::new());
        for item in page {
            let (number, pk, sk) = (text(&item, SK)?, text(&item, ITEM_PK)?, text(&item, ITEM_SK)?);
            retried.cursor = Some(number.clone());
            if let Some(source) =
                self.table.get_item("reading the item of a parked record", key(&pk, &sk)).await?
            {
                records.push(record(&number, &source)?);
                parked.push((number, Parked { pk, sk, parked_at: text(&item, PARKED_AT)? }));
            } else {
                // The item was deleted meanwhile, so there is nothing left to publish.
                self.delete(&number).await?;
                retried.done += 1;
            }
        }
        if records.len() + retried.done < usize::try_from(PAGE).unwrap_or(usize::MAX) {
            retried.cursor = None;
        }
        let Handled { failed, unprocessable } =
            publisher.process(Arc::new(StreamEvent { records }), then).await;
        // A record is deleted after it was processed. If the function dies in between, the next retry publishes
        // its events again, and consumers recognise them by their ids.
        for (number, record) in parked {
            if failed.contains(&number) {
                retried.failed += 1;
            } else if unprocessable.contains(&number) {
                retried.parked.push(record);
            } else {
                self.delete(&number).await?;
                retried.done += 1;
            }
        }
        tracing::info!(
            done = retried.done,
            failed = retried.failed,
            parked = retried.parked.len(),
            "parked records retried"
        );
        Ok(retried)
    }

    async fn page(&self, request: &Request) -> Result<Vec<Item>, TableError> {
        let page = self
            .table
            .query()
            .key_condition_expression("pk = :parked AND sk > :cursor")
            .expression_attribute_values(":parked", string(PARKED))
            // Sequence numbers are digits, and never empty.
            .expression_attribute_values(":cursor", string(request.cursor.as_deref().unwrap_or(" ")))
            .consistent_read(true)
            .limit(PAGE);
        Ok(self.table.query_page("listing parked records", page).await?.items)
    }

    async fn delete(&self, sequence_number: &str) -> Result<(), TableError> {
        self.table.delete("ending a parked record", key(PARKED, sequence_number)).await
    }
}

fn text(item: &Item, name: &str) -> Result<String, TableError> {
    let text = string_of(item, name).map(str::to_owned);
    text.ok_or_else(|| TableError::item("reading a parked record", format!("no {name}")))
}

/// The record that the stream would bring if the item were written now.
fn record(sequence_number: &str, item: &Item) -> Result<StreamRecord, serde_json::Error> {
    // By text: raw values are pieces of the text that is read.
    let record = json!({
        "eventName": "INSERT",
        "dynamodb": {"SequenceNumber": sequence_number, "Keys": map(&key_of(item)), "NewImage": map(item)},
    });
    serde_json::from_str(&record.to_string())
}

fn map(item: &Item) -> Value {
    Value::Object(item.iter().map(|(name, value)| (name.clone(), attribute(value))).collect())
}

/// An attribute in DynamoDB's JSON, as a stream has it (AttributeValue, DynamoDB Streams API reference).
fn attribute(value: &AttributeValue) -> Value {
    let binary = |blob: &Blob| STANDARD.encode(blob.as_ref());
    let one = |kind: &str, value: Value| Value::Object(Map::from_iter([(kind.to_owned(), value)]));
    match value {
        AttributeValue::S(text) => one("S", json!(text)),
        AttributeValue::N(number) => one("N", json!(number)),
        AttributeValue::B(blob) => one("B", json!(binary(blob))),
        AttributeValue::Bool(yes) => one("BOOL", json!(yes)),
        AttributeValue::L(list) => one("L", list.iter().map(attribute).collect()),
        AttributeValue::M(item) => one("M", map(item)),
        AttributeValue::Ss(texts) => one("SS", json!(texts)),
        AttributeValue::Ns(numbers) => one("NS", json!(numbers)),
        AttributeValue::Bs(blobs) => one("BS", blobs.iter().map(binary).collect()),
        _ => one("NULL", json!(true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_has_the_form_that_a_stream_gives_it() {
        use AttributeValue::{B, Bool, Bs, L, M, N, Ns, Null, S, Ss};
        let blob = || Blob::new(b"ab");
        for (value, expected) in [
            (S("a".to_owned()), json!({"S": "a"})),
            (N("1".to_owned()), json!({"N": "1"})),
            (B(blob()), json!({"B": "YWI="})),
            (Bool(true), json!({"BOOL": true})),
            (L(vec![N("1".to_owned())]), json!({"L": [{"N": "1"}]})),
            (M(Item::from([("a".to_owned(), S("b".to_owned()))])), json!({"M": {"a": {"S": "b"}}})),
            (Ss(vec!["a".to_owned()]), json!({"SS": ["a"]})),
            (Ns(vec!["1".to_owned()]), json!({"NS": ["1"]})),
            (Bs(vec![blob()]), json!({"BS": ["YWI="]})),
            (Null(true), json!({"NULL": true})),
        ] {
            assert_eq!(attribute(&value), expected);
        }
    }
}
