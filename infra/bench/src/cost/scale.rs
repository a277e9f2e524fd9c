//! Weighs what a DynamoDB call reads and writes, by looking at the items themselves.
//!
//! A function's request is signed, so nothing can be added to it (`ReturnConsumedCapacity`), and its reads are mostly
//! projected, so answers do not show what was read. Each call's items are therefore read whole, as the emulator's root:
//! before and after a write, and after a read. Writes go one at a time, so that none comes between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use local_stack::Emulator;
use serde_json::{Map, Value, json};

use super::units::{Consistency, Index, Projection, Units, index_units, item_bytes, read_units, write_units};
use crate::error::Result;

/// A transactional write counts twice.
const TRANSACTIONAL: u64 = 2;

pub struct Scale {
    emulator: Emulator,
    schemas: Mutex<HashMap<String, Arc<Schema>>>,
    turn: tokio::sync::Mutex<()>,
}

/// The parts of a table's schema that determine the cost of its items.
struct Schema {
    keys: Vec<String>,
    indexes: Vec<Index>,
}

/// The units that a call consumed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weight {
    pub units: Units,
    /// The charged size of each written item, which shows how far it is from the next unit.
    pub written: Vec<u64>,
}

/// The response to a call.
pub trait Outcome {
    fn is_success(&self) -> bool;
    fn body(&self) -> &[u8];
}

/// The reads and writes of one call.
#[derive(Debug, PartialEq)]
enum Work {
    Writes { items: Vec<Written>, factor: u64 },
    Items(Vec<Read>),
    Search { operation: String, request: Value },
    Nothing,
}

#[derive(Debug, PartialEq)]
struct Written {
    table: String,
    /// Its key, or all of it.
    item: Value,
    /// Whether `item` is the whole item.
    is_whole: bool,
}

#[derive(Debug, PartialEq)]
struct Read {
    table: String,
    key: Value,
    consistency: Consistency,
}

impl Scale {
    pub fn new(emulator: Emulator) -> Self {
        Self { emulator, schemas: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Lets a call happen, and answers what it answered and what it used.
    pub async fn weigh<A: Outcome>(
        &self,
        operation: &str,
        request: &[u8],
        call: impl Future<Output = A>,
    ) -> (A, Result<Weight>) {
        let request = serde_json::from_slice(request).unwrap_or_default();
        match work(operation, request) {
            Work::Writes { items, factor } => {
                let _turn = self.turn.lock().await;
                let before = self.images(&items).await;
                let answer = call.await;
                let units = match before {
                    Ok(before) if is_charged(&answer) => self.written(&items, before, factor).await,
                    Ok(_) => Ok(Weight::default()),
                    Err(error) => Err(error),
                };
                (answer, units)
            }
            Work::Items(reads) => {
                let answer = call.await;
                let units = if answer.is_success() { self.read(&reads).await } else { Ok(Weight::default()) };
                (answer, units)
            }
            Work::Search { operation, request } => {
                let answer = call.await;
                let units = if answer.is_success() {
                    self.searched(&operation, request).await
                } else {
                    Ok(Weight::default())
                };
                (answer, units)
            }
            Work::Nothing => (call.await, Ok(Weight::default())),
        }
    }

    async fn written(&self, items: &[Written], before: Vec<Option<Value>>, factor: u64) -> Result<Weight> {
        let mut total = Weight::default();
        let after = self.images(items).await?;
        for ((written, before), after) in items.iter().zip(before).zip(after) {
            let (before, after) = (before.as_ref(), after.as_ref());
            // Refused by its condition, it is charged by what would have been there.
            let asked = written.is_whole.then_some(&written.item);
            let bytes =
                [before, after, asked].into_iter().flatten().map(item_bytes).max().unwrap_or_default();
            total.written.push(bytes);
            total.units.writes += factor * write_units(bytes).writes;
            for index in &self.schema(&written.table).await?.indexes {
                total.units += index_units(index, before, after);
            }
        }
        Ok(total)
    }

    async fn read(&self, reads: &[Read]) -> Result<Weight> {
        let mut units = Units::default();
        for read in reads {
            let item = self.image(&read.table, &read.key).await?;
            units += read_units(item.as_ref().map_or(0, item_bytes), read.consistency);
        }
        Ok(Weight { units, ..Weight::default() })
    }

    /// The same search without what hides parts of items or whole ones.
    async fn searched(&self, operation: &str, request: Value) -> Result<Weight> {
        let consistency = consistency(&request);
        let target = format!("DynamoDB_20120810.{operation}");
        let answer = self.emulator.json("dynamodb", &target, &bared(request)).await?;
        let found = answer["Items"].as_array().into_iter().flatten();
        let units = read_units(found.map(item_bytes).sum(), consistency);
        Ok(Weight { units, ..Weight::default() })
    }

    async fn images(&self, items: &[Written]) -> Result<Vec<Option<Value>>> {
        let mut images = Vec::new();
        for item in items {
            let keys = &self.schema(&item.table).await?.keys;
            let key: Map<String, Value> =
                keys.iter().map(|name| (name.clone(), item.item[name].clone())).collect();
            images.push(self.image(&item.table, &Value::Object(key)).await?);
        }
        Ok(images)
    }

    async fn image(&self, table: &str, key: &Value) -> Result<Option<Value>> {
        let input = json!({"TableName": table, "Key": key, "ConsistentRead": true});
        let answer = self.emulator.json("dynamodb", "DynamoDB_20120810.GetItem", &input).await?;
        Ok(answer.get("Item").cloned())
    }

    async fn schema(&self, table: &str) -> Result<Arc<Schema>> {
        let known = self.schemas.lock().unwrap_or_else(PoisonError::into_inner).get(table).cloned();
        if let Some(schema) = known {
            return Ok(schema);
        }
        let input = json!({"TableName": table});
        let answer = self.emulator.json("dynamodb", "DynamoDB_20120810.DescribeTable", &input).await?;
        let schema = Arc::new(Schema::read(&answer["Table"]));
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        schemas.insert(table.to_owned(), schema.clone());
        Ok(schema)
    }
}

impl Schema {
    fn read(table: &Value) -> Self {
        let keys = key_names(table);
        let kinds = ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"];
        let indexes = kinds.iter().flat_map(|kind| list(&table[kind])).map(|index| {
            let projection = match index["Projection"]["ProjectionType"].as_str() {
                Some("KEYS_ONLY" | "INCLUDE") => {
                    let more = list(&index["Projection"]["NonKeyAttributes"]).filter_map(Value::as_str);
                    Projection::Only(keys.iter().cloned().chain(more.map(str::to_owned)).collect())
                }
                _ => Projection::All,
            };
            Index { keys: key_names(index), projection }
        });
        Self { indexes: indexes.collect(), keys: keys.clone() }
    }
}

fn key_names(of: &Value) -> Vec<String> {
    list(&of["KeySchema"]).filter_map(|key| key["AttributeName"].as_str().map(str::to_owned)).collect()
}

/// A call that is throttled or malformed costs nothing; one whose condition fails costs as much as a
/// successful one.
fn is_charged(answer: &impl Outcome) -> bool {
    if answer.is_success() {
        return true;
    }
    let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let kind = said["__type"].as_str().unwrap_or_default();
    ["ConditionalCheckFailedException", "TransactionCanceledException"]
        .iter()
        .any(|name| kind.ends_with(name))
}

fn work(operation: &str, request: Value) -> Work {
    let once = |item: Option<Written>| Work::Writes { items: item.into_iter().collect(), factor: 1 };
    match operation {
        "PutItem" => once(Written::whole(&request["TableName"], &request["Item"])),
        "UpdateItem" | "DeleteItem" => once(Written::keyed(&request["TableName"], &request["Key"])),
        "BatchWriteItem" => {
            let tables = request["RequestItems"].as_object().into_iter().flatten();
            let items = tables.flat_map(|(table, writes)| {
                list(writes).filter_map(move |write| {
                    let table = Value::from(table.as_str());
                    Written::whole(&table, &write["PutRequest"]["Item"])
                        .or_else(|| Written::keyed(&table, &write["DeleteRequest"]["Key"]))
                })
            });
            Work::Writes { items: items.collect(), factor: 1 }
        }
        "TransactWriteItems" => {
            let parts = list(&request["TransactItems"]).filter_map(|part| part.as_object()?.values().next());
            let items = parts.filter_map(|part| {
                Written::whole(&part["TableName"], &part["Item"])
                    .or_else(|| Written::keyed(&part["TableName"], &part["Key"]))
            });
            Work::Writes { items: items.collect(), factor: TRANSACTIONAL }
        }
        "GetItem" => {
            let consistency = consistency(&request);
            Work::Items(Read::of(&request["TableName"], &request["Key"], consistency).into_iter().collect())
        }
        "BatchGetItem" => {
            let tables = request["RequestItems"].as_object().into_iter().flatten();
            let reads = tables.flat_map(|(table, wanted)| {
                let consistency = consistency(wanted);
                list(&wanted["Keys"])
                    .filter_map(move |key| Read::of(&Value::from(table.as_str()), key, consistency))
            });
            Work::Items(reads.collect())
        }
        "TransactGetItems" => {
            let gets = list(&request["TransactItems"]).map(|part| &part["Get"]);
            let reads =
                gets.filter_map(|get| Read::of(&get["TableName"], &get["Key"], Consistency::Transactional));
            Work::Items(reads.collect())
        }
        "Query" | "Scan" => Work::Search { operation: operation.to_owned(), request },
        _ => Work::Nothing,
    }
}

impl Written {
    fn whole(table: &Value, item: &Value) -> Option<Self> {
        Self::of(table, item, true)
    }

    fn keyed(table: &Value, key: &Value) -> Option<Self> {
        Self::of(table, key, false)
    }

    fn of(table: &Value, item: &Value, is_whole: bool) -> Option<Self> {
        item.as_object()?;
        Some(Self { table: table.as_str()?.to_owned(), item: item.clone(), is_whole })
    }
}

impl Read {
    fn of(table: &Value, key: &Value, consistency: Consistency) -> Option<Self> {
        Some(Self { table: table.as_str()?.to_owned(), key: key.clone(), consistency })
    }
}

fn consistency(request: &Value) -> Consistency {
    if request["ConsistentRead"] == true { Consistency::Strong } else { Consistency::Eventual }
}

/// A search that shows all that it looks at.
fn bared(mut request: Value) -> Value {
    let Some(fields) = request.as_object_mut() else { return request };
    for hiding in ["ProjectionExpression", "FilterExpression", "Select", "AttributesToGet"] {
        fields.remove(hiding);
    }
    let words: Vec<String> = fields
        .get("KeyConditionExpression")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .split(|letter: char| !letter.is_alphanumeric() && !"#:_".contains(letter))
        .map(str::to_owned)
        .collect();
    // A name or a value that no expression uses is refused.
    for given in ["ExpressionAttributeNames", "ExpressionAttributeValues"] {
        let Some(Value::Object(mut used)) = fields.remove(given) else { continue };
        used.retain(|name, _| words.contains(name));
        if !used.is_empty() {
            fields.insert(given.to_owned(), Value::Object(used));
        }
    }
    request
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_repeated_without_what_hides_items() {
        let request = json!({
            "TableName": "t", "KeyConditionExpression": "#pk = :pk AND begins_with(sk, :from)",
            "ProjectionExpression": "#a", "FilterExpression": "#pk2 > :min", "Limit": 3,
            "ExpressionAttributeNames": {"#pk": "pk", "#a": "a", "#pk2": "b"},
            "ExpressionAttributeValues": {":pk": {"S": "1"}, ":from": {"S": "A"}, ":min": {"N": "1"}},
        });
        let wanted = json!({
            "TableName": "t", "KeyConditionExpression": "#pk = :pk AND begins_with(sk, :from)", "Limit": 3,
            "ExpressionAttributeNames": {"#pk": "pk"},
            "ExpressionAttributeValues": {":pk": {"S": "1"}, ":from": {"S": "A"}},
        });
        assert_eq!(bared(request), wanted);
    }

    #[test]
    fn each_item_of_a_batch_or_a_transaction_is_weighed() {
        let key = json!({"pk": {"S": "1"}});
        let transaction = json!({"TransactItems": [
            {"Put": {"TableName": "a", "Item": key}}, {"Update": {"TableName": "b", "Key": key}},
            {"ConditionCheck": {"TableName": "c", "Key": key}},
        ]});
        let Work::Writes { items, factor } = work("TransactWriteItems", transaction) else { panic!() };
        let seen: Vec<_> = items.iter().map(|item| (item.table.as_str(), item.is_whole)).collect();
        assert_eq!((seen.as_slice(), factor), ([("a", true), ("b", false), ("c", false)].as_slice(), 2));

        let batch = json!({"RequestItems": {"a": {"Keys": [key, key], "ConsistentRead": true}}});
        let Work::Items(reads) = work("BatchGetItem", batch) else { panic!() };
        assert!(reads.len() == 2 && reads.iter().all(|read| read.consistency == Consistency::Strong));
    }

    #[test]
    fn an_index_is_read_from_the_tables_description() {
        let table = json!({
            "KeySchema": [{"AttributeName": "pk"}, {"AttributeName": "sk"}],
            "GlobalSecondaryIndexes": [{
                "KeySchema": [{"AttributeName": "g"}],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["n"]},
            }],
        });
        let schema = Schema::read(&table);
        assert_eq!(schema.keys, ["pk", "sk"]);
        let only = ["pk", "sk", "n"].map(str::to_owned).to_vec();
        assert_eq!(schema.indexes, [Index { keys: vec!["g".into()], projection: Projection::Only(only) }]);
    }
}
