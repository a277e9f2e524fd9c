//! What the functions send to the X-Ray daemon. Runs alone, because it changes the environment of most functions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use shop_client::Frame;
use tokio::{net::UdpSocket, task::AbortHandle};

use crate::fixture::{Fixture, WITHIN, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![alone: an_order_is_one_tree_from_its_request_to_its_frame_and_its_e_mail];

const REQUEST: &str = "POST /v1/orders";

/// What an order is done by: function, operation, and the calls in it that must be there.
const OPERATIONS: [(&str, &str, &[&str]); 15] = [
    ("orders-api", REQUEST, &["dynamodb PutItem"]),
    ("orders-relay", "publish", &[]),
    ("orders-relay", "StartSaga", &["states StartExecution"]),
    ("orders-views", "ProjectOrder", &["dynamodb TransactWriteItems"]),
    ("inventory-commands", "ReserveInventory", &["dynamodb TransactWriteItems"]),
    ("inventory-relay", "publish", &[]),
    ("orders-commands", "RecordReservation", &["dynamodb PutItem"]),
    ("payments-commands", "TakePayment", &["127.0.0.1 POST", "states SendTaskSuccess"]),
    ("payments-relay", "publish", &[]),
    ("fulfillment-commands", "ScheduleShipment", &["dynamodb PutItem"]),
    ("fulfillment-relay", "publish", &[]),
    ("orders-commands", "CompleteOrder", &["dynamodb PutItem"]),
    ("inventory-consumer", "order.completed", &[]),
    ("realtime-consumer", "order.completed", &["execute-api POST"]),
    ("notifications-consumer", "order.completed", &["ses POST"]),
];

/// The daemon's side of the UDP port.
struct Daemon {
    address: String,
    documents: Arc<Mutex<Vec<Value>>>,
    task: AbortHandle,
}

impl Daemon {
    async fn listen() -> Outcome<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?.to_string();
        let documents: Arc<Mutex<Vec<Value>>> = Arc::default();
        let received = Arc::clone(&documents);
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok(length) = socket.recv(&mut buffer).await {
                let (_, document) = str::from_utf8(&buffer[..length])
                    .ok()
                    .and_then(|text| text.split_once('\n'))
                    .expect("a header and a document");
                let document = serde_json::from_str(document).expect("the document is JSON");
                received.lock().unwrap_or_else(PoisonError::into_inner).push(document);
            }
        });
        Ok(Self { address, documents, task: task.abort_handle() })
    }

    /// The spans of the trace that placed the order.
    fn trace(&self) -> Option<Trace> {
        let documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let root = documents.iter().find(|document| document["annotations"]["operation"] == REQUEST)?;
        let spans = documents.iter().filter(|document| document["trace_id"] == root["trace_id"]);
        let spans = spans.map(|span| (text(span, "id"), span.clone())).collect();
        Some(Trace { root: text(root, "id"), spans })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn text(document: &Value, field: &str) -> String {
    document[field].as_str().unwrap_or_default().to_owned()
}

/// `dynamodb PutItem`, or of the gateway `127.0.0.1 POST`.
fn call(document: &Value) -> String {
    let operation = document["aws"]["operation"].as_str().or(document["http"]["request"]["method"].as_str());
    format!("{} {}", text(document, "name"), operation.unwrap_or_default())
}

struct Trace {
    root: String,
    spans: BTreeMap<String, Value>,
}

impl Trace {
    /// What is not connected with the request.
    fn unconnected(&self) -> Vec<&Value> {
        let is_connected = |span: &Value| {
            let parent = |span: &&Value| self.spans.get(&text(span, "parent_id"));
            let mut up = std::iter::successors(Some(span), parent).take(self.spans.len() + 1);
            up.any(|span| text(span, "id") == self.root)
        };
        self.spans.values().filter(|span| !is_connected(span)).collect()
    }

    /// What is missing of [`OPERATIONS`].
    fn missing(&self, stage: &str) -> Vec<String> {
        let mut missing = Vec::new();
        for (function, operation, calls) in OPERATIONS {
            let name = format!("ordersaga-{stage}-{function}");
            let is_it = |span: &&Value| {
                span["name"] == name.as_str() && span["annotations"]["operation"] == operation
            };
            let done: Vec<String> = self.spans.values().filter(is_it).map(|span| text(span, "id")).collect();
            let called = |wanted: &str| {
                self.spans
                    .values()
                    .any(|span| done.contains(&text(span, "parent_id")) && call(span) == wanted)
            };
            if done.is_empty() {
                missing.push(format!("{function}: {operation}"));
            }
            let uncalled = calls.iter().filter(|call| !called(call));
            missing.extend(uncalled.map(|call| format!("{function}: {operation}: {call}")));
        }
        missing
    }
}

async fn an_order_is_one_tree_from_its_request_to_its_frame_and_its_e_mail(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let daemon = Daemon::listen().await?;
    let functions: std::collections::BTreeSet<&str> = OPERATIONS.iter().map(|(name, ..)| *name).collect();
    for function in functions {
        fixture.set_variable(function, "AWS_XRAY_DAEMON_ADDRESS", &daemon.address).await?;
    }
    let mut live = customer.shop.live().await?;
    live.send(&serde_json::json!({"action": "subscribe"})).await?;
    assert_eq!(live.next(WITHIN).await?, Frame::Subscribed { order_id: None });

    let unsampled = customer.shop.place(&buy(&sku), &unique("key")).await?;
    customer.ended(&unsampled.order_id).await?;
    assert!(daemon.trace().is_none(), "no trace begins by itself");

    fixture.set_variable("orders-api", "TRACE_SAMPLING_PERCENT", "100").await?;
    customer.shop.place(&buy(&sku), &unique("key")).await?;
    eventually("the order's trace is a tree with every hop", async || {
        let trace = daemon.trace().ok_or("no trace")?;
        let (missing, unconnected) = (trace.missing(&fixture.outputs.stage), trace.unconnected());
        if missing.is_empty() && unconnected.is_empty() {
            return Ok(());
        }
        let found: Vec<_> = trace.spans.values().map(|span| (call(span), &span["annotations"])).collect();
        Err(format!("missing {missing:#?}, unconnected {unconnected:#?}, found {found:?}"))?
    })
    .await?;
    Ok(())
}
