//! DynamoDB: dynoxide in this process, with the tables of the templates and their streams.
//!
//! A table's stream has one shard, so records come in the order of all writes; DynamoDB keeps that of an item only.
//! Items are not deleted at `expires_at`, which DynamoDB does days later.

use std::collections::BTreeMap;

use dynoxide::{Database, DynoxideError};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::error;
use crate::{network::Reply, templates::Templates};

pub struct Tables {
    database: Database,
    /// By table: its stream and the stream's shard.
    streams: BTreeMap<String, (String, String)>,
    changed: Notify,
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
        let database = Database::memory().expect("a database in memory");
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
            streams.insert(name, (stream, shard));
        }
        Self { database, streams, changed: Notify::new() }
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
        self.changed.notify_waiters();
        reply
    }

    /// Waits for the next call, which may have changed a table.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The records of a table's stream after this sequence number, and at most this number.
    pub fn records(&self, table: &str, after: Option<&str>, most: u64) -> Vec<Value> {
        let (stream, shard) = &self.streams[table];
        let mut from = json!({"StreamArn": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
        if let Some(after) = after {
            from["ShardIteratorType"] = json!("AFTER_SEQUENCE_NUMBER");
            from["SequenceNumber"] = json!(after);
        }
        let iterator = must(from, |request| self.database.get_shard_iterator(request));
        let iterator = json!({"ShardIterator": iterator["ShardIterator"], "Limit": most});
        let records = must(iterator, |request| self.database.get_records(request));
        records["Records"].as_array().cloned().unwrap_or_default()
    }

    /// The records of all writes to a table.
    pub fn history(&self, table: &str) -> Vec<Value> {
        let mut history: Vec<Value> = Vec::new();
        loop {
            let last = history.last().and_then(|record| record["dynamodb"]["SequenceNumber"].as_str());
            let page = self.records(table, last, 1_000);
            if page.is_empty() {
                return history;
            }
            history.extend(page);
        }
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
