//! Services that do a part of a batch, and say so.
//!
//! Sources: Amazon DynamoDB API reference, "BatchGetItem" (`UnprocessedKeys`) and "BatchWriteItem" (`UnprocessedItems`),
//! both of which throttle instead when they can do nothing; Amazon SNS API reference, "PublishBatch" (`Failed`).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Request, error, form, handle as handle_all};
use crate::network::Reply;

/// Does the first half of a batch. Any other request is throttled.
pub async fn handle(request: Request) -> Reply {
    let throttled = || error("ProvisionedThroughputExceededException", "a part of nothing");
    match request.operation.as_str() {
        "BatchGetItem" => {
            let mut body = request.json();
            let mut rest = json!({});
            for (table, wanted) in body["RequestItems"].as_object_mut().into_iter().flatten() {
                let left = second_half(&mut wanted["Keys"]);
                rest[table] = wanted.clone();
                rest[table]["Keys"] = left;
            }
            if is_nothing(&body, |wanted| &wanted["Keys"]) {
                return throttled();
            }
            let reply = handle_all(Request { body: body.to_string(), ..request }).await;
            with(reply, "UnprocessedKeys", rest)
        }
        "BatchWriteItem" => {
            let mut body = request.json();
            let mut rest = json!({});
            for (table, writes) in body["RequestItems"].as_object_mut().into_iter().flatten() {
                rest[table] = second_half(writes);
            }
            if is_nothing(&body, |writes| writes) {
                return throttled();
            }
            let reply = handle_all(Request { body: body.to_string(), ..request }).await;
            with(reply, "UnprocessedItems", rest)
        }
        "PublishBatch" => publish(request).await,
        _ => throttled(),
    }
}

/// Takes the second half of a list out of it: its only item, when it has one.
fn second_half(items: &mut Value) -> Value {
    let items = items.as_array_mut().expect("a list of items");
    json!(items.split_off(items.len() / 2))
}

fn is_nothing(body: &Value, items: impl Fn(&Value) -> &Value) -> bool {
    let tables = body["RequestItems"].as_object().into_iter().flatten();
    tables.into_iter().any(|(_, of_table)| items(of_table).as_array().is_none_or(Vec::is_empty))
}

fn with(reply: Reply, field: &str, value: Value) -> Reply {
    let Ok(mut body) = serde_json::from_str::<Value>(&reply.body) else { return reply };
    if reply.status == 200 {
        body[field] = value;
    }
    Reply { body: body.to_string(), ..reply }
}

/// Publishes the first half of the entries. The others are refused, and may be sent again.
async fn publish(request: Request) -> Reply {
    const ENTRY: &str = "PublishBatchRequestEntries.member.";
    let fields = form(&request.body);
    let number = |name: &str| -> Option<u32> { name.strip_prefix(ENTRY)?.split('.').next()?.parse().ok() };
    let numbers: BTreeSet<u32> = fields.iter().filter_map(|(name, _)| number(name)).collect();
    let taken: BTreeSet<u32> = numbers.iter().copied().take(numbers.len() / 2).collect();
    let is_refused = |name: &str| number(name).is_some_and(|number| !taken.contains(&number));
    let refused: String = fields
        .iter()
        .filter(|(name, _)| is_refused(name) && name.ends_with(".Id"))
        .map(|(_, id)| {
            format!(
                "<member><Id>{id}</Id><Code>InternalError</Code><Message>simulated</Message>\
                 <SenderFault>false</SenderFault></member>"
            )
        })
        .collect();
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields.iter().filter(|(name, _)| !is_refused(name)));
    let reply = handle_all(Request { body: body.finish(), ..request }).await;
    Reply { body: reply.body.replace("<Failed/>", &format!("<Failed>{refused}</Failed>")), ..reply }
}
