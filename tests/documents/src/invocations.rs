//! `infra/events/<function>.json`: what each function is invoked with, for `sam local invoke`, `cargo lambda invoke` and
//! `cargo ops sam-local`.
//!
//! They are made from the golden examples of the events and from the types of the saga's commands, so all of them are
//! about one order of one customer. That order was never placed. Therefore no file holds what would start a saga or take
//! money, and each can be sent as often as one likes.

use contracts::{
    CorrelationId, Envelope, EventId, EventPayload, OrderId, OrderLine, Sku, UserId,
    events::{
        InventoryNotAvailable, InventoryStockChanged, NotificationSent, OrderCancelRequested, OrderCompleted,
        OrderInventoryReserved, OrderPaymentPending, PaymentSucceeded, ProductCreated, ShipmentPicked,
        ShipmentScheduled, UserDeleted, UserRegistered, UserUpdated,
    },
    query::OrderQuery,
    saga::{CommandContext, FulfillmentCommand, InventoryCommand, PAYMENT_DECLINED, PaymentCommand},
    schema::event_versions,
};
use serde_json::{Map, Value, json};

use crate::{Document, sorted};

/// Stands for an access token; `cargo ops sam-local` puts a real one in its place.
const TOKEN: &str = "TOKEN";

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";
const ORDER: &str = "ord_0123456789abcdef0123456789abcdef";
const USER: &str = "usr_0123456789abcdef0123456789abcdef";
const SESSION: &str = "ses_0123456789abcdef0123456789abcdef";
/// Has the form of a ticket of the WebSocket.
const TICKET: &str = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k";
const CORRELATION: &str = "cor_0123456789abcdef0123456789abcdef";
const SKU: &str = "MUG-BLUE";
/// 2026-11-21T12:00:00Z, the time of the golden examples, in Unix seconds.
const TIME: i64 = 1_795_262_400;

/// The event of every function, by the function's name.
pub fn invocations() -> Vec<Document> {
    // The first event of a product from the seed data, so that all consumers have it already: a later event
    // would change the price.
    let product = stream_record(
        "catalog",
        (&format!("PRODUCT#{SKU}"), "PRODUCT"),
        None,
        &[golden::<ProductCreated>(1)],
    );
    let user = stream_record(
        "users",
        (&format!("USER#{USER}"), "PROFILE"),
        Some(&[golden::<UserRegistered>(1)]),
        &[golden::<UserUpdated>(2)],
    );
    let shipment = stream_record(
        "fulfillment",
        (&format!("SHIPMENT#{ORDER}"), "SHIPMENT"),
        Some(&[golden::<ShipmentScheduled>(1)]),
        &[golden::<ShipmentPicked>(2)],
    );
    let payment = stream_record(
        "payments",
        (&format!("PAYMENT#{ORDER}"), "PAYMENT"),
        Some(&[]),
        &[golden::<PaymentSucceeded>(1)],
    );
    let reservation = {
        // One that took nothing, because what it takes would be recorded as a move of stock.
        let rejected = golden::<InventoryNotAvailable>(1);
        let key = (&*format!("RESERVATION#{ORDER}"), "RESERVATION");
        let mut record = stream_record("inventory", key, None, &[rejected]);
        add_attributes(
            &mut record,
            [
                ("order_id", json!({"S": ORDER})),
                ("user_id", json!({"S": USER})),
                ("correlation_id", json!({"S": CORRELATION})),
                ("status", json!({"S": "rejected"})),
                ("taken", json!({"L": []})),
                ("short", json!({"L": [{"S": SKU}]})),
                ("version", json!({"N": "1"})),
                ("created_at", json!({"S": "2026-11-21T12:00:00Z"})),
                ("updated_at", json!({"S": "2026-11-21T12:00:00Z"})),
            ],
        );
        record
    };
    let message = {
        let sent = golden::<NotificationSent>(1);
        let about = sent.data["about"].as_str().unwrap_or_default().to_owned();
        let mut record = stream_record("notifications", (&format!("MESSAGE#{about}"), "sms"), None, &[sent]);
        record["dynamodb"]["NewImage"]["state"] = json!({"S": "sent"});
        record
    };
    // The commit of RecordReservation, the saga's second step.
    let commit = {
        let events = [golden::<OrderInventoryReserved>(2), golden::<OrderPaymentPending>(3)];
        let mut record =
            stream_record("orders", (&format!("ORDER#{ORDER}"), "COMMIT#00000002"), None, &events);
        add_attributes(
            &mut record,
            [
                ("command_id", json!({"S": format!("{ORDER}.RecordReservation")})),
                ("first_version", json!({"N": "2"})),
                ("last_version", json!({"N": "3"})),
            ],
        );
        record
    };

    let functions = [
        ("catalog-api", request("GET", "/v1/products", "category=kitchen&limit=3", None)),
        ("catalog-consumer", batch([queued("catalog-events", &golden::<InventoryStockChanged>(1))])),
        ("catalog-relay", batch([product])),
        ("fulfillment-api", request("GET", &format!("/v1/shipments/{ORDER}"), "", Some(TOKEN))),
        (
            "fulfillment-commands",
            json!(FulfillmentCommand::CancelShipment { context: context(), user_id: user_id() }),
        ),
        ("fulfillment-consumer", batch([queued("fulfillment-events", &golden::<UserDeleted>(3))])),
        ("fulfillment-relay", batch([shipment])),
        ("inventory-api", request("GET", &format!("/v1/inventory/{SKU}"), "", None)),
        (
            "inventory-commands",
            json!(InventoryCommand::ReserveInventory {
                context: context(),
                user_id: user_id(),
                items: vec![OrderLine { sku: sku(), quantity: 2 }],
            }),
        ),
        ("inventory-consumer", batch([queued("inventory-events", &golden::<OrderCompleted>(6))])),
        ("inventory-relay", batch([reservation, stock_change()])),
        // EventBridge Scheduler sends this where a schedule has no input of its own.
        ("inventory-sweeper", json!({})),
        ("notifications-consumer", batch([queued("notifications-email", &golden::<UserRegistered>(1))])),
        ("notifications-health", json!({"action": "health"})),
        ("notifications-relay", batch([message])),
        ("orders-api", request("GET", "/v1/orders", "limit=10", Some(TOKEN))),
        ("orders-commands", json!(OrderQuery::OrderStatuses { order_ids: vec![order_id()] })),
        ("orders-consumer", batch([queued("orders-events", &golden::<ProductCreated>(1))])),
        // The input of the schedule in infra/orders.yaml.
        ("orders-reconciler", json!({"action": "CheckSagas"})),
        ("orders-relay", batch([commit.clone()])),
        ("orders-views", batch([commit])),
        ("payments-api", request("GET", &format!("/v1/payments/{ORDER}"), "", Some(TOKEN))),
        (
            "payments-commands",
            json!(PaymentCommand::RefundPayment {
                context: context(),
                user_id: user_id(),
                reason: PAYMENT_DECLINED.to_owned(),
            }),
        ),
        ("payments-consumer", batch([queued("payments-events", &golden::<OrderCancelRequested>(4))])),
        // The input of the schedule in infra/payments.yaml.
        ("payments-reconciler", json!({"action": "CheckPayments"})),
        ("payments-relay", batch([payment])),
        // By hand: CodeDeploy names a deployment, and there is none to name.
        ("platform-canary", json!({"version": "ordersaga-local-orders-api:live"})),
        ("realtime-api", request("POST", "/v1/realtime/tickets", "", Some(TOKEN))),
        ("realtime-authorizer", connect_request()),
        ("realtime-consumer", batch([queued("realtime.fifo", &golden::<OrderPaymentPending>(3))])),
        ("realtime-ws", frame(&json!({"action": "subscribe", "order_id": ORDER, "after": 0}))),
        ("storefront-api", request("GET", "/v1/dashboard", "", Some(TOKEN))),
        ("users-api", request("GET", "/v1/users/me", "", Some(TOKEN))),
        // Of an account that was never registered.
        ("users-commands", json!({"action": "ShowAccount", "account": USER, "by": "local"})),
        ("users-relay", batch([user])),
    ];
    functions
        .into_iter()
        .map(|(function, content)| Document { path: format!("infra/events/{function}.json"), content })
        .collect()
}

/// The example of an event type's newest version, as the event with this sequence number.
fn golden<P: EventPayload>(sequence: u64) -> Envelope {
    let versions = event_versions().into_iter().filter(|event| event.event_type == P::TYPE);
    let newest = versions.max_by_key(|event| event.version).expect("every event type has an example");
    let Envelope { source, subject, .. } = &newest.example;
    let event_id = EventId::derive(source, subject, sequence);
    Envelope { event_id, sequence, ..newest.example }
}

fn context() -> CommandContext {
    let correlation_id = CorrelationId::try_from(CORRELATION).expect("a correlation id");
    CommandContext::new(order_id(), correlation_id)
}

fn order_id() -> OrderId {
    OrderId::try_from(ORDER).expect("an order id")
}

fn user_id() -> UserId {
    UserId::try_from(USER).expect("a user id")
}

fn sku() -> Sku {
    Sku::try_from(SKU).expect("a SKU")
}

/// The batch of an event source mapping (Lambda developer guide, "Using Lambda with Amazon SQS", "… with
/// DynamoDB").
fn batch<const N: usize>(records: [Value; N]) -> Value {
    json!({"Records": records.to_vec()})
}

/// A request of an HTTP API, payload format 2.0 (API Gateway developer guide, "Create AWS Lambda proxy integrations for
/// HTTP APIs").
fn request(method: &str, path: &str, query: &str, token: Option<&str>) -> Value {
    let route = "$default";
    let mut headers = json!({
        "accept": "application/json",
        "host": "api.execute-api.us-east-1.amazonaws.com",
        "user-agent": "curl/8.5.0",
        "x-correlation-id": CORRELATION,
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    });
    if let Some(token) = token {
        headers["authorization"] = json!(format!("Bearer {token}"));
    }
    let mut request = json!({
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "api",
            "domainName": "api.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "api",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "curl/8.5.0",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": route,
            "stage": "$default",
            "time": "21/Nov/2026:12:00:00 +0000",
            "timeEpoch": TIME * 1000,
        },
        "isBase64Encoded": false,
    });
    if !query.is_empty() {
        let parameters: Map<String, Value> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        request["queryStringParameters"] = Value::Object(parameters);
    }
    request
}

/// The request to a REQUEST authorizer when a WebSocket connects (API Gateway developer guide, "Control
/// access to WebSocket APIs with REQUEST authorizers").
fn connect_request() -> Value {
    json!({
        "type": "REQUEST",
        "methodArn": format!("arn:aws:execute-api:{REGION}:{ACCOUNT}:live/live/$connect"),
        "headers": {"Host": "live.execute-api.us-east-1.amazonaws.com", "Sec-WebSocket-Version": "13"},
        "multiValueHeaders": {},
        // A ticket that was never issued, so the answer is Deny.
        "queryStringParameters": {"ticket": TICKET},
        "multiValueQueryStringParameters": {"ticket": [TICKET]},
        "stageVariables": {},
        "requestContext": websocket_context("CONNECT", "$connect"),
    })
}

/// A client's frame, as a WebSocket API hands it over. Its connection is gone, so that the answer goes nowhere.
fn frame(body: &Value) -> Value {
    let mut context = websocket_context("MESSAGE", "subscribe");
    context["authorizer"] =
        json!({"principalId": USER, "user_id": USER, "session_id": SESSION, "admin": "false"});
    context["messageId"] = json!("HzBVtcW4oAMCJxA=");
    json!({"requestContext": context, "body": text(body), "isBase64Encoded": false})
}

fn websocket_context(event_type: &str, route: &str) -> Value {
    json!({
        "apiId": "live",
        "connectedAt": TIME * 1000,
        "connectionId": "HzBVsdMxoAMCJxA=",
        "domainName": "live.execute-api.us-east-1.amazonaws.com",
        "eventType": event_type,
        "extendedRequestId": "HzBVtGKrIAMFsTw=",
        "identity": {"sourceIp": "203.0.113.7", "userAgent": "curl/8.5.0"},
        "messageDirection": "IN",
        "requestId": "HzBVtGKrIAMFsTw=",
        "requestTime": "21/Nov/2026:12:00:00 +0000",
        "requestTimeEpoch": TIME * 1000,
        "routeKey": route,
        "stage": "live",
    })
}

/// An event in a queue behind the events topic, by raw delivery: SNS's attributes become the message's.
fn queued(queue: &str, event: &Envelope) -> Value {
    let attribute = |value: &str| json!({"stringValue": value, "stringListValues": [], "binaryListValues": [], "dataType": "String"});
    let mut attributes = json!({
        "ApproximateReceiveCount": "1",
        "SentTimestamp": (TIME * 1000).to_string(),
        "SenderId": "AIDAIENQZJOLO23YVJ4VO",
        "ApproximateFirstReceiveTimestamp": (TIME * 1000 + 2).to_string(),
    });
    if queue.ends_with(".fifo") {
        attributes["MessageGroupId"] = json!(event.subject);
        attributes["MessageDeduplicationId"] = json!(event.event_id);
        attributes["SequenceNumber"] = json!("18849496460467696128");
    }
    json!({
        "messageId": uuid(event),
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": text(&json!(event)),
        "attributes": attributes,
        "messageAttributes": {
            "event_type": attribute(&event.event_type),
            "source": attribute(&event.source),
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:ordersaga-local-{queue}"),
        "awsRegion": REGION,
    })
}

/// JSON within JSON, with its members in the same order whatever else is built.
fn text(value: &Value) -> String {
    sorted(value).to_string()
}

/// The event's own 128 bits in the form of a message id.
fn uuid(event: &Envelope) -> String {
    let id = event.event_id.as_str();
    let digits = id.split_once('_').map_or(id, |(_, digits)| digits);
    let cut = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)].join("-")
}

/// A change of an item with an outbox, as the table's stream hands it over. Without `old` the item is new.
fn stream_record(table: &str, key: (&str, &str), old: Option<&[Envelope]>, new: &[Envelope]) -> Value {
    let keys = json!({"pk": {"S": key.0}, "sk": {"S": key.1}});
    let image = |events: &[Envelope]| {
        let outbox: Vec<Value> = events.iter().map(|event| json!({"S": text(&json!(event))})).collect();
        let mut image = keys.clone();
        image["outbox"] = json!({"L": outbox});
        image
    };
    record(table, &keys, old.map(image), image(new))
}

fn add_attributes<const N: usize>(record: &mut Value, attributes: [(&str, Value); N]) {
    for (name, value) in attributes {
        record["dynamodb"]["NewImage"][name] = value;
    }
}

/// Two pieces of the product's stock are taken.
fn stock_change() -> Value {
    let keys = json!({"pk": {"S": format!("STOCK#{SKU}#0")}, "sk": {"S": "STOCK"}});
    let image = |available: u32| {
        let mut image = keys.clone();
        image["available"] = json!({"N": available.to_string()});
        image
    };
    record("inventory", &keys, Some(image(120)), image(118))
}

fn record(table: &str, keys: &Value, old: Option<Value>, new: Value) -> Value {
    let event_name = if old.is_some() { "MODIFY" } else { "INSERT" };
    let size = old.as_ref().map_or(0, |old| old.to_string().len()) + new.to_string().len();
    let mut change = json!({
        "ApproximateCreationDateTime": TIME,
        "Keys": keys,
        "NewImage": new,
        "SequenceNumber": "4421584500000000017450439091",
        "SizeBytes": size,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    });
    if let Some(old) = old {
        change["OldImage"] = old;
    }
    json!({
        "eventID": "c4ca4238a0b923820dcc509a6f75849b",
        "eventName": event_name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "dynamodb": change,
        "eventSourceARN":
            format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/ordersaga-local-{table}/stream/2026-11-21T12:00:00.000"),
    })
}
