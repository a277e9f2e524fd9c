//! DynamoDB: dynoxide in this process, with the tables of the templates and their streams.
//!
//! A table's stream has one shard, so records come in the order of all writes; DynamoDB keeps that of an item only.
//! Items are not deleted at `expires_at`, which DynamoDB does days later.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use dynoxide::{Database, DynoxideError};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::error;
use crate::{network::Reply, templates::Templates};

/// The database, for more than one connection (SQLite, "In-Memory Databases"): dynoxide has no index of its stream records,
/// and reads all of a table's to number the next one, which takes a quarter of the time of a storm.
const MEMORY: &str = "file:simulation?mode=memory&cache=shared";

pub struct Tables {
    database: Database,
    /// By table.
    streams: BTreeMap<String, Stream>,
}

struct Stream {
    arn: String,
    shard: String,
    changed: Notify,
    /// The ids of the events in the records that were read by [`Tables::has_stored`], and the last one of these.
    stored: RefCell<(BTreeSet<String>, Option<String>)>,
}

macro_rules! operations {
    ($database:expr, $operation:expr, $body:expr, $($name:literal => $call:ident),+ $(,)?) => {
        match $operation {
            $($name => run($body, |request| $database.$call(request)),)+
            other => panic!("the simulation's DynamoDB has no {other}"),
        }
    };
}

impl Tables {
    /// Makes the tables of the templates.
    pub fn new(templates: &Templates) -> Self {
        let database = Database::new(MEMORY).expect("a database in memory");
        let index = "CREATE INDEX _stream_records_by_number ON _stream_records \
                     (table_name, CAST(sequence_number AS INTEGER))";
        let connection = rusqlite::Connection::open(MEMORY);
        connection.and_then(|connection| connection.execute_batch(index)).expect("an index");
        let mut streams = BTreeMap::new();
        for table in templates.of_type("AWS::DynamoDB::Table") {
            let name = table.text("TableName");
            let mut request = json!({"TableName": name});
            for property in ["BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"] {
                let value = table.property(property);
                if !value.is_null() {
                    request[property] = value;
                }
            }
            let view = table.property("StreamSpecification")["StreamViewType"].clone();
            if !view.is_null() {
                request["StreamSpecification"] = json!({"StreamEnabled": true, "StreamViewType": view});
            }
            must(request, |request| database.create_table(request));
            if view.is_null() {
                continue;
            }
            let listed = must(json!({"TableName": name}), |request| database.list_streams(request));
            let stream = listed["Streams"][0]["StreamArn"].as_str().expect("a stream").to_owned();
            let described = must(json!({"StreamArn": stream}), |request| database.describe_stream(request));
            let shard =
                described["StreamDescription"]["Shards"][0]["ShardId"].as_str().expect("a shard").to_owned();
            let stored = RefCell::default();
            streams.insert(name, Stream { arn: stream, shard, changed: Notify::new(), stored });
        }
        Self { database, streams }
    }

    pub fn handle(&self, operation: &str, body: &str) -> Reply {
        let reply = operations!(self.database, operation, body,
            "GetItem" => get_item,
            "PutItem" => put_item,
            "UpdateItem" => update_item,
            "DeleteItem" => delete_item,
            "BatchGetItem" => batch_get_item,
            "BatchWriteItem" => batch_write_item,
            "Query" => query,
            "Scan" => scan,
            "TransactGetItems" => transact_get_items,
            "TransactWriteItems" => transact_write_items,
        );
        if ["Put", "Update", "Delete", "Write"].iter().any(|write| operation.contains(write)) {
            let written = self.streams.iter().filter(|(table, _)| body.contains(table.as_str()));
            written.for_each(|(_, stream)| stream.changed.notify_waiters());
        }
        reply
    }

    /// Waits for the next call that may change a table.
    pub async fn changed(&self, table: &str) {
        self.streams[table].changed.notified().await;
    }

    /// The records of a table's stream after this sequence number, and at most this number.
    pub fn records(&self, table: &str, after: Option<&str>, most: u64) -> Vec<Value> {
        let Stream { arn, shard, .. } = &self.streams[table];
        let mut from = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
        if let Some(after) = after {
            from["ShardIteratorType"] = json!("AFTER_SEQUENCE_NUMBER");
            from["SequenceNumber"] = json!(after);
        }
        let iterator = must(from, |request| self.database.get_shard_iterator(request));
        let iterator = json!({"ShardIterator": iterator["ShardIterator"], "Limit": most});
        let records = must(iterator, |request| self.database.get_records(request));
        records["Records"].as_array().cloned().unwrap_or_default()
    }

    /// The records of all writes to a table; none of a table without a stream, which holds no events.
    pub fn history(&self, table: &str) -> Vec<Value> {
        let mut history: Vec<Value> = Vec::new();
        if !self.streams.contains_key(table) {
            return history;
        }
        loop {
            let last = history.last().and_then(|record| record["dynamodb"]["SequenceNumber"].as_str());
            let page = self.records(table, last, 1_000);
            if page.is_empty() {
                return history;
            }
            history.extend(page);
        }
    }

    /// Whether an event was ever stored in a table. Of a table without a stream that is not known.
    pub fn has_stored(&self, table: &str, event_id: &str) -> bool {
        let Some(stream) = self.streams.get(table) else { return true };
        let mut stored = stream.stored.borrow_mut();
        let (events, last) = &mut *stored;
        while !events.contains(event_id) {
            let page = self.records(table, last.as_deref(), 1_000);
            let Some(record) = page.last() else { return false };
            *last = record["dynamodb"]["SequenceNumber"].as_str().map(str::to_owned);
            let read = page.iter().flat_map(|record| verify::events_of(&record["dynamodb"]["NewImage"]));
            events.extend(read.filter_map(|event| event["event_id"].as_str().map(str::to_owned)));
        }
        true
    }

    /// All items of a table.
    pub fn items(&self, table: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut from = Value::Null;
        loop {
            let mut request = json!({"TableName": table});
            if !from.is_null() {
                request["ExclusiveStartKey"] = from;
            }
            let page = must(request, |request| self.database.scan(request));
            items.extend(page["Items"].as_array().cloned().unwrap_or_default());
            from = page["LastEvaluatedKey"].clone();
            if from.is_null() {
                return items;
            }
        }
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &str,
    call: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Reply {
    let request = match serde_json::from_str(body) {
        Ok(request) => request,
        Err(wrong) => return error("ValidationException", wrong),
    };
    match call(request) {
        Ok(answer) => Reply::ok(serde_json::to_string(&answer).expect("an answer is JSON")),
        Err(error) => Reply::new(error.status_code(), error.to_json()),
    }
}

fn must<Q: DeserializeOwned, A: Serialize>(
    request: Value,
    call: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Value {
    let shown = request.to_string();
    let request = serde_json::from_value(request).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let answer = call(request).unwrap_or_else(|error| panic!("{shown}: {error}"));
    serde_json::to_value(answer).expect("an answer is JSON")
}
