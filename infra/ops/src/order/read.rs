//! The readers of everything that is known of an order, each by itself: one that is refused leaves a warning.

use std::collections::BTreeMap;

use contracts::{Envelope, EventId, OrderId};
use futures::future::join_all;
use futures::join;
use jiff::{SignedDuration, Timestamp};
use order_view::{
    Breaker, DeadLetter, Execution, Frame, Function, Message, ParkedRecord, Payment, Reservation, Saga,
    Shipment, Sources, Warning,
};
use order_view::{Mapping, read_time};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::logs;
use crate::attribute::item;
use crate::aws::{Aws, Service};
use crate::dlq;
use crate::error::{Error, Result};
use crate::{audit, breaker};

/// The functions that an order waits for.
const FUNCTIONS: [&str; 8] = [
    "orders-relay",
    "orders-commands",
    "inventory-commands",
    "inventory-consumer",
    "payments-commands",
    "fulfillment-commands",
    "notifications-consumer",
    "realtime-consumer",
];

/// The items of an order that a relay may park: the context, and the kind in the partition key.
const OUTBOXES: [(&str, &str); 4] =
    [("orders", "ORDER"), ("inventory", "RESERVATION"), ("payments", "PAYMENT"), ("fulfillment", "SHIPMENT")];

/// An item that a context has of each order.
struct ItemOf {
    context: &'static str,
    /// In the partition key, before the order's id.
    kind: &'static str,
    sk: &'static str,
    /// The attributes to read. Words that DynamoDB reserves have a `#`.
    fields: &'static str,
}

const RESERVATION: ItemOf = ItemOf {
    context: "inventory",
    kind: "RESERVATION",
    sk: "RESERVATION",
    fields: "#status, #short, created_at, updated_at",
};
const PAYMENT: ItemOf = ItemOf {
    context: "payments",
    kind: "PAYMENT",
    sk: "PAYMENT",
    fields: "#status, charge, intent, waiting, decline_code, refunded, returned",
};
/// Without the address.
const SHIPMENT: ItemOf = ItemOf {
    context: "fulfillment",
    kind: "SHIPMENT",
    sk: "SHIPMENT",
    fields: "#status, reason, created_at, updated_at",
};
const FRAMES: ItemOf =
    ItemOf { context: "realtime", kind: "ORDER", sk: "BUFFER", fields: "frames, short_frames" };

/// Keys of one BatchGetItem (DynamoDB API reference).
const KEYS: usize = 100;
/// More changes of one order by hand are not expected.
const CHANGES: u32 = 50;
/// Messages of a dead-letter queue that are searched for the order.
const DEAD_LETTERS: usize = 100;
/// Clocks differ, and the request's own lines come before the order's first event.
const BEFORE: SignedDuration = SignedDuration::from_mins(1);
/// Sweepers, relays and messages follow the last known change within this.
const AFTER: SignedDuration = SignedDuration::from_hours(1);
/// For so long after it was placed, everything until now is read.
const RECENT: SignedDuration = SignedDuration::from_hours(24);

/// Reads everything about an order.
///
/// # Errors
/// Nothing at all can be read.
pub async fn sources(aws: &Aws, order_id: &OrderId) -> Result<Sources> {
    let mut sources = Sources::new(order_id.clone(), aws.stage(), &aws.option(), Timestamp::now());
    let read = join!(
        events(aws, order_id),
        saga(aws, order_id),
        one::<Reservation>(aws, &RESERVATION, order_id),
        payment(aws, order_id),
        one::<Shipment>(aws, &SHIPMENT, order_id),
        frames(aws, order_id),
        trail(aws, order_id),
        functions(aws),
        breakers(aws),
        dlq::messages(aws, DEAD_LETTERS),
    );
    let (events, saga, reservation, payment, shipment, frames, trail, functions, breakers, letters) = read;
    if let (Err(error), Err(_), Err(_)) = (&events, &saga, &payment) {
        return Err(Error::Order(error.to_string()));
    }
    let warnings = &mut sources.warnings;
    sources.events = known(warnings, "the order's events", events);
    sources.saga = known(warnings, "the saga's execution", saga);
    sources.reservation = known(warnings, "the reservation", reservation);
    sources.payment = known(warnings, "the payment", payment);
    sources.shipment = known(warnings, "the shipment", shipment);
    sources.frames = known(warnings, "the frames of the WebSocket", frames);
    sources.audit = known(warnings, "the audit trail", trail);
    sources.functions = known(warnings, "the functions' event source mappings", functions);
    sources.breakers = known(warnings, "the circuit breakers", breakers);
    let letters = known(warnings, "the dead-letter queues", letters);

    let about = event_ids(&sources);
    let (from, to) = period(&sources);
    let correlation = sources.events().first().map(|event| event.correlation_id.clone());
    let (messages, parked, lines) = join!(
        messages(aws, &about),
        parked(aws, order_id, &about),
        logs::about(aws, order_id, correlation.as_ref(), from, to),
    );
    let warnings = &mut sources.warnings;
    sources.messages = known(warnings, "the messages to the customer", messages);
    sources.parked = known(warnings, "the parked records", parked);
    if let Some((lines, more)) = known(warnings, "the logs", lines) {
        if more {
            let reason = format!("only the first {} lines are shown", lines.len());
            warnings.push(Warning { source: "later log lines".to_owned(), reason });
        }
        sources.logs = Some(lines);
    }
    if let Some((letters, longer)) = letters {
        if !longer.is_empty() {
            let reason = format!("only {DEAD_LETTERS} messages each were read of {}", longer.join(", "));
            warnings.push(Warning { source: "other dead letters".to_owned(), reason });
        }
        sources.dead_letters = Some(of_order(letters, order_id, &about));
    }
    Ok(sources)
}

/// What was read, or a warning instead.
fn known<T>(warnings: &mut Vec<Warning>, source: &str, read: Result<T>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
            warnings.push(Warning { source: source.to_owned(), reason });
            None
        }
    }
}

async fn events(aws: &Aws, order_id: &OrderId) -> Result<Vec<Envelope>> {
    let query = json!({
        "TableName": aws.name("orders"),
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :commit)",
        "ExpressionAttributeValues": {":pk": {"S": format!("ORDER#{order_id}")}, ":commit": {"S": "COMMIT#"}},
        // Without the address.
        "ProjectionExpression": "outbox",
        "ConsistentRead": true,
    });
    let commits = all(aws, query).await?;
    let events = commits.iter().flat_map(|commit| commit["outbox"].as_array().into_iter().flatten());
    events
        .filter_map(Value::as_str)
        .map(|event| {
            serde_json::from_str(event)
                .map_err(|error| Error::Order(format!("an event cannot be read: {error}")))
        })
        .collect()
}

/// The items of all pages of a query, as plain JSON.
async fn all(aws: &Aws, mut query: Value) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    loop {
        let mut page = aws.find(Service::DynamoDb, "Query", query.clone()).await?.unwrap_or_default();
        items.extend(page["Items"].as_array().into_iter().flatten().filter_map(item));
        let next = page["LastEvaluatedKey"].take();
        // Emulators write an empty key after the last page, where DynamoDB writes none.
        if next.as_object().is_none_or(Map::is_empty) {
            return Ok(items);
        }
        query["ExclusiveStartKey"] = next;
    }
}

/// The item of an order, without what `fields` does not name.
async fn get(aws: &Aws, item_of: &ItemOf, order_id: &OrderId) -> Result<Option<Value>> {
    let ItemOf { context, kind, sk, fields } = item_of;
    let mut input = json!({
        "TableName": aws.name(context),
        "Key": {"pk": {"S": format!("{kind}#{order_id}")}, "sk": {"S": sk}},
        "ProjectionExpression": fields,
        "ConsistentRead": true,
    });
    let aliases = fields.split(", ").filter_map(|field| Some((field, field.strip_prefix('#')?)));
    let aliases: BTreeMap<&str, &str> = aliases.collect();
    if !aliases.is_empty() {
        input["ExpressionAttributeNames"] = json!(aliases);
    }
    let answer = aws.find(Service::DynamoDb, "GetItem", input).await?.unwrap_or_default();
    Ok(item(&answer["Item"]))
}

async fn one<T: DeserializeOwned>(aws: &Aws, item_of: &ItemOf, order_id: &OrderId) -> Result<Option<T>> {
    get(aws, item_of, order_id).await?.map(readable).transpose()
}

fn readable<T: DeserializeOwned>(item: Value) -> Result<T> {
    serde_json::from_value(item).map_err(|error| Error::Order(format!("an item cannot be read: {error}")))
}

/// The payment, without the customer's next action: its secret lets its holder pay.
async fn payment(aws: &Aws, order_id: &OrderId) -> Result<Option<Payment>> {
    let Some(mut payment) = get(aws, &PAYMENT, order_id).await? else { return Ok(None) };
    if let Some(kind) = payment["waiting"].as_object().and_then(|waiting| waiting.keys().next()) {
        payment["waiting"] = json!(kind.clone());
    }
    readable(payment).map(Some)
}

async fn frames(aws: &Aws, order_id: &OrderId) -> Result<Vec<Frame>> {
    let Some(buffer) = get(aws, &FRAMES, order_id).await? else {
        return Ok(Vec::new());
    };
    read_frames(&buffer).map_err(|error| Error::Order(format!("a frame cannot be read: {error}")))
}

fn read_frames(buffer: &Value) -> serde_json::Result<Vec<Frame>> {
    let Some(short) = buffer["short_frames"].as_str() else {
        return serde_json::from_str(buffer["frames"].as_str().unwrap_or("[]"));
    };
    let short: Vec<ShortFrame> = serde_json::from_str(short)?;
    Ok(short.into_iter().map(Frame::from).collect())
}

/// A frame as realtime's buffer stores it (functions/realtime/src/domain/short_frame.rs).
#[derive(Deserialize)]
struct ShortFrame {
    #[serde(rename = "e")]
    event_type: String,
    #[serde(rename = "n")]
    number: u64,
    #[serde(rename = "t")]
    occurred_at: Timestamp,
}

impl From<ShortFrame> for Frame {
    fn from(ShortFrame { event_type, number, occurred_at }: ShortFrame) -> Self {
        let kind = event_type.split('.').next().unwrap_or_default().to_owned();
        let is_order = kind == "order";
        let (version, sequence) = (is_order.then_some(number), (!is_order).then_some(number));
        Self { kind, version, sequence, event_type, occurred_at }
    }
}

async fn saga(aws: &Aws, order_id: &OrderId) -> Result<Saga> {
    let arn =
        format!("{}:execution:{}:{order_id}", aws.arn(Service::StepFunctions).await?, aws.name("order-saga"));
    let described =
        aws.find(Service::StepFunctions, "DescribeExecution", json!({"executionArn": arn})).await?;
    let Some(described) = described else { return Ok(Saga::NotStarted) };
    // Without the inputs, which have the address.
    let mut input = json!({"executionArn": arn, "includeExecutionData": false, "maxResults": 1000});
    let mut history = Vec::new();
    loop {
        let mut page =
            aws.find(Service::StepFunctions, "GetExecutionHistory", input.clone()).await?.unwrap_or_default();
        history.extend(page["events"].as_array_mut().map(std::mem::take).unwrap_or_default());
        if !page["nextToken"].is_string() {
            break;
        }
        input["nextToken"] = page["nextToken"].take();
    }
    let execution = Execution::read(&described, &history);
    execution.map(Saga::Started).ok_or_else(|| Error::Order("the execution has no start".to_owned()))
}

async fn trail(aws: &Aws, order_id: &OrderId) -> Result<Vec<Value>> {
    let (orders, payments) = join!(
        audit::read(aws, "orders", order_id.as_str(), CHANGES),
        audit::read(aws, "payments", order_id.as_str(), CHANGES)
    );
    let mut entries = orders?;
    entries.extend(payments?);
    Ok(entries)
}

async fn breakers(aws: &Aws) -> Result<Vec<Breaker>> {
    let read = breaker::providers().map(async |(context, dependency)| {
        let (mode, state) = breaker::read(aws, context, dependency).await?;
        Ok(Breaker { name: format!("{context}/{dependency}"), mode, state })
    });
    join_all(read).await.into_iter().collect()
}

async fn functions(aws: &Aws) -> Result<Vec<Function>> {
    let mappings = mappings(aws).await?;
    let read = FUNCTIONS.map(async |name| {
        let full = aws.name(name);
        let path = format!("/2019-09-30/functions/{full}/concurrency");
        let input = json!({"FunctionName": full});
        let answer = aws.find_in_lambda("GetFunctionConcurrency", &path, input).await?.unwrap_or_default();
        let of_function = mappings.iter().filter(|mapping| belongs(mapping, &full));
        Ok(Function {
            name: name.to_owned(),
            mapping: worst(of_function),
            concurrency: answer["ReservedConcurrentExecutions"].as_u64(),
        })
    });
    join_all(read).await.into_iter().collect()
}

async fn mappings(aws: &Aws) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let (mut path, mut input) = ("/2015-03-31/event-source-mappings/".to_owned(), json!({}));
    loop {
        let answer = aws.find_in_lambda("ListEventSourceMappings", &path, input).await?;
        let mut answer = answer.unwrap_or_default();
        found.extend(answer["EventSourceMappings"].as_array_mut().map(std::mem::take).unwrap_or_default());
        let Some(marker) = answer["NextMarker"].as_str().filter(|marker| !marker.is_empty()) else {
            return Ok(found);
        };
        path = format!("/2015-03-31/event-source-mappings/?Marker={marker}");
        input = json!({"Marker": marker});
    }
}

/// Whether a mapping invokes the function, or an alias of it.
fn belongs(mapping: &Value, function: &str) -> bool {
    let arn = mapping["FunctionArn"].as_str().unwrap_or_default();
    arn.split(':').nth(6) == Some(function)
}

/// Of a function's mappings the one that explains most: one that is not enabled, or else the last.
fn worst<'a>(mappings: impl Iterator<Item = &'a Value>) -> Option<Mapping> {
    let text = |mapping: &Value, name: &str| mapping[name].as_str().unwrap_or_default().to_owned();
    let worst = mappings
        .max_by_key(|mapping| (mapping["State"] != "Enabled", mapping["LastProcessingResult"] != "OK"))?;
    Some(Mapping {
        uuid: text(worst, "UUID"),
        state: text(worst, "State"),
        last_result: text(worst, "LastProcessingResult"),
    })
}

/// An event that a message may be about.
struct About {
    event_type: String,
    occurred_at: Timestamp,
}

/// The events of the order and of its payment and shipment, by their ids. Those of the latter follow from the numbers of
/// their frames.
fn event_ids(sources: &Sources) -> BTreeMap<String, About> {
    let own = sources.events().iter().map(|event| {
        let (event_type, occurred_at) = (event.event_type.clone(), event.occurred_at);
        (event.event_id.to_string(), About { event_type, occurred_at })
    });
    let frames = sources.frames.iter().flatten().filter_map(|frame| {
        let source = match frame.kind.as_str() {
            "payment" => "payments",
            "shipment" => "fulfillment",
            _ => return None,
        };
        let id = EventId::derive(source, sources.order_id.as_str(), frame.sequence?);
        let (event_type, occurred_at) = (frame.event_type.clone(), frame.occurred_at);
        Some((id.to_string(), About { event_type, occurred_at }))
    });
    own.chain(frames).collect()
}

async fn messages(aws: &Aws, about: &BTreeMap<String, About>) -> Result<Vec<Message>> {
    let table = aws.name("notifications");
    let channels = ["EMAIL", "SMS"];
    let keys = about.keys().flat_map(|id| {
        channels.map(|channel| json!({"pk": {"S": format!("MESSAGE#{id}")}, "sk": {"S": channel}}))
    });
    let keys: Vec<Value> = keys.collect();
    let mut found = Vec::new();
    for keys in keys.chunks(KEYS) {
        let names = json!({"#state": "state", "#result": "result"});
        let fields = "pk, sk, #state, #result, provider, ended_at, lease_until";
        let mut request = json!({&table: {"Keys": keys, "ProjectionExpression": fields, "ExpressionAttributeNames": names}});
        loop {
            let input = json!({"RequestItems": request});
            let mut answer = aws.find(Service::DynamoDb, "BatchGetItem", input).await?.unwrap_or_default();
            found.extend(answer["Responses"][&table].as_array().into_iter().flatten().filter_map(item));
            request = answer["UnprocessedKeys"].take();
            if request.as_object().is_none_or(Map::is_empty) {
                break;
            }
        }
    }
    Ok(found.iter().filter_map(|item| message(item, about)).collect())
}

fn message(item: &Value, about: &BTreeMap<String, About>) -> Option<Message> {
    let state = item["state"].as_str()?;
    let about = about.get(item["pk"].as_str()?.strip_prefix("MESSAGE#")?)?;
    Some(Message {
        event_type: about.event_type.clone(),
        channel: item["sk"].as_str()?.to_lowercase(),
        state: state.to_owned(),
        provider: item["provider"].as_str().map(str::to_owned),
        // The result of one that was sent is the provider's id.
        reason: item["result"].as_str().filter(|_| state != "sent").map(str::to_owned),
        // It is stored in whole seconds.
        ended_at: read_time(&item["ended_at"]).map(|ended| ended.max(about.occurred_at)),
        lease_until: read_time(&item["lease_until"]),
    })
}

async fn parked(aws: &Aws, order_id: &OrderId, about: &BTreeMap<String, About>) -> Result<Vec<ParkedRecord>> {
    let own = OUTBOXES.map(|(context, kind)| (context, vec![format!("{kind}#{order_id}")]));
    let messages = ("notifications", about.keys().map(|id| format!("MESSAGE#{id}")).collect());
    let places = own.into_iter().chain([messages]);
    let read = places.map(async |(context, items): (&str, Vec<String>)| {
        let query = json!({
            "TableName": aws.name(context),
            "KeyConditionExpression": "pk = :parked",
            "ExpressionAttributeValues": {":parked": {"S": "PARKED"}},
        });
        let records = all(aws, query).await?;
        let of_order = records.into_iter().filter(|record| {
            record["item_pk"].as_str().is_some_and(|pk| items.iter().any(|item| item == pk))
        });
        Ok(of_order
            .map(|record| ParkedRecord {
                context: context.to_owned(),
                item: format!("{} {}", shown(&record["item_pk"]), shown(&record["item_sk"])),
                parked_at: read_time(&record["parked_at"]),
            })
            .collect::<Vec<_>>())
    });
    let found: Result<Vec<Vec<ParkedRecord>>> = join_all(read).await.into_iter().collect();
    Ok(found?.into_iter().flatten().collect())
}

fn shown(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn of_order(
    letters: Vec<(String, dlq::Summary)>,
    order_id: &OrderId,
    about: &BTreeMap<String, About>,
) -> Vec<DeadLetter> {
    let of_order = letters.into_iter().filter(|(_, summary)| {
        summary.fields.values().any(|value| value == order_id.as_str() || about.contains_key(value))
    });
    of_order
        .map(|(queue, summary)| {
            let name = ["event_type", "action"].into_iter().find_map(|name| summary.fields.get(name));
            DeadLetter {
                queue,
                about: name.map_or_else(|| "a message".to_owned(), String::clone),
                sent_at: summary.sent_at,
                redriven: summary.redriven,
            }
        })
        .collect()
}

/// The time whose logs are read.
fn period(sources: &Sources) -> (Timestamp, Timestamp) {
    let now = sources.read_at;
    let placed = sources.events().first().map_or(now, |event| event.occurred_at);
    let from = placed.checked_sub(BEFORE).unwrap_or(placed);
    if now.duration_since(placed) < RECENT {
        return (from, now);
    }
    let events = sources.events().iter().map(|event| event.occurred_at);
    let frames = sources.frames.iter().flatten().map(|frame| frame.occurred_at);
    let last = events.chain(frames).max().unwrap_or(placed);
    (from, last.checked_add(AFTER).unwrap_or(last).min(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_in_both_of_their_stored_forms() {
        let time = "2026-11-20T12:00:00Z";
        let full = json!([
            {"type": "order", "version": 3, "event_type": "order.completed", "occurred_at": time},
            {"type": "payment", "sequence": 1, "event_type": "payment.succeeded", "occurred_at": time},
        ]);
        let short = json!([
            {"e": "order.completed", "n": 3, "t": time, "c": "cor_1"},
            {"e": "payment.succeeded", "n": 1, "t": time},
        ]);
        let read = |buffer: Value| json!(read_frames(&buffer).unwrap());
        let expected = read(json!({"frames": full.to_string()}));
        assert_eq!(expected[1]["sequence"], 1);
        assert_eq!(read(json!({"frames": "[]", "short_frames": short.to_string()})), expected);
    }
}
