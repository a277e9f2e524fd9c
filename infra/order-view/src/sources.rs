//! What was read about an order, from each place that knows something of it.

use contracts::{Envelope, Money, OrderId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::saga::Saga;

/// Everything that was read about one order. `None`: the source could not be read, and a warning says why.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The order.
    pub order_id: OrderId,
    /// The stage's name, as names of resources contain it.
    pub stage: String,
    /// The option of `cargo ops` for this stage: ` --stage dev`, or nothing for the local stack.
    pub option: String,
    /// When the sources were read.
    pub read_at: Timestamp,
    /// The order's own events, in their order. Empty: there is no such order.
    pub events: Option<Vec<Envelope>>,
    /// The saga's execution.
    pub saga: Option<Saga>,
    /// The stock that is held for the order.
    pub reservation: Option<Option<Reservation>>,
    /// The payment.
    pub payment: Option<Option<Payment>>,
    /// The shipment.
    pub shipment: Option<Option<Shipment>>,
    /// The frames that realtime made of the events that reached it.
    pub frames: Option<Vec<Frame>>,
    /// The messages to the customer.
    pub messages: Option<Vec<Message>>,
    /// What operators and staff did to the order.
    pub audit: Option<Vec<Value>>,
    /// The log lines that name the order or its correlation id.
    pub logs: Option<Vec<LogLine>>,
    /// The records about the order that a relay could not process.
    pub parked: Option<Vec<ParkedRecord>>,
    /// The messages about the order in dead-letter queues.
    pub dead_letters: Option<Vec<DeadLetter>>,
    /// What invokes the functions that an order waits for.
    pub functions: Option<Vec<Function>>,
    /// The circuit breakers of the providers.
    pub breakers: Option<Vec<Breaker>>,
    /// What could not be read, and why.
    pub warnings: Vec<Warning>,
}

/// A source that could not be read, in part or at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What is missing from the view.
    pub source: String,
    /// Why.
    pub reason: String,
}

/// The stock that is held for an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reservation {
    /// `held`, `rejected`, `released` or `committed`.
    pub status: String,
    /// The SKUs with too little stock.
    #[serde(default)]
    pub short: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The payment of an order, without what identifies the card or lets its holder pay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Payment {
    /// `pending`, `succeeded`, `declined`, `timed_out`, `voided`, `refunding`, `refunded` or `refund_failed`.
    pub status: String,
    /// The amount and the deadline.
    #[serde(default)]
    pub charge: Option<Charge>,
    /// The gateway's id of it.
    #[serde(default)]
    pub intent: Option<Intent>,
    /// `customer` or `bank`: what a pending payment waits for.
    #[serde(default)]
    pub waiting: Option<String>,
    /// The gateway's code for why it was declined.
    #[serde(default)]
    pub decline_code: Option<String>,
    /// The refunded amount in minor units.
    #[serde(default)]
    pub refunded: i64,
    /// The amount that came back by failed refunds, in minor units.
    #[serde(default)]
    pub returned: i64,
}

/// The amount to charge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Charge {
    /// The order's total.
    pub amount: Money,
    /// Unix seconds.
    pub deadline: i64,
}

/// The gateway's side of a payment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Intent {
    /// `pi_…`
    pub id: String,
}

/// The shipment of an order, without its address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shipment {
    /// `scheduled`, `picked`, `packed`, `shipped`, `delivered`, `rejected` or `cancelled`.
    pub status: String,
    /// Why no carrier takes it.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it was booked or refused.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A frame of the WebSocket: an event that reached realtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Frame {
    /// `order`, `payment` or `shipment`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The number of an order frame.
    #[serde(default)]
    pub version: Option<u64>,
    /// The number of a frame of a payment or shipment.
    #[serde(default)]
    pub sequence: Option<u64>,
    /// The event's type.
    pub event_type: String,
    /// When the fact was stored.
    pub occurred_at: Timestamp,
}

/// A message to the customer about an event.
#[derive(Debug, Clone, Serialize)]
pub struct Message {
    /// The event that it is about.
    pub event_type: String,
    /// `email` or `sms`.
    pub channel: String,
    /// `sending`, `waiting`, `sent`, `failed` or `given_up`.
    pub state: String,
    /// The service that sent it: `ses`, `smtp` or `sns`.
    pub provider: Option<String>,
    /// Why it was not sent.
    pub reason: Option<String>,
    /// When it was sent, or given up.
    pub ended_at: Option<Timestamp>,
    /// How long the running try holds it.
    pub lease_until: Option<Timestamp>,
}

/// A line of a function's log.
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// The function, without the stage: `orders-commands`.
    pub function: String,
    /// `INFO`, `WARN` or `ERROR`; empty for a line that is not JSON.
    pub level: String,
    /// What it says.
    pub message: String,
    /// The error's text, and other fields that explain it.
    pub detail: Option<String>,
    /// The invocation that wrote it.
    pub request_id: Option<String>,
    /// The trace that it belongs to.
    pub trace_id: Option<String>,
}

/// A record that a relay cannot process.
#[derive(Debug, Clone, Serialize)]
pub struct ParkedRecord {
    /// The context whose relay parked it.
    pub context: String,
    /// The keys of its item.
    pub item: String,
    /// Since when.
    pub parked_at: Option<Timestamp>,
}

/// A message about the order in a dead-letter queue.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// The queue, without the stage: `payments-commands-dlq`.
    pub queue: String,
    /// The event type or the command.
    pub about: String,
    /// When it was sent first.
    pub sent_at: Option<Timestamp>,
    /// How often it was moved back to its queue.
    pub redriven: u64,
}

/// What invokes a function that an order waits for.
#[derive(Debug, Clone, Serialize)]
pub struct Function {
    /// Without the stage: `payments-commands`.
    pub name: String,
    /// Its event source mapping, if it has one.
    pub mapping: Option<Mapping>,
    /// Its reserved concurrency, if it has one.
    pub concurrency: Option<u64>,
}

/// The event source mapping of a stream or queue.
#[derive(Debug, Clone, Serialize)]
pub struct Mapping {
    /// Its id.
    pub uuid: String,
    /// `Enabled`, `Disabled`, …
    pub state: String,
    /// The result of the last invocation.
    pub last_result: String,
}

/// A circuit breaker.
#[derive(Debug, Clone, Serialize)]
pub struct Breaker {
    /// `payments/gateway`
    pub name: String,
    /// `normal`, `forced-open` or `off`.
    pub mode: String,
    /// `closed`, `open` or `half-open`.
    pub state: String,
}

impl Breaker {
    /// Whether it stops calls.
    pub fn stops_calls(&self) -> bool {
        self.mode == "forced-open" || self.mode == "normal" && self.state != "closed"
    }
}

impl Sources {
    /// Sources of which nothing was read yet.
    pub fn new(order_id: OrderId, stage: &str, option: &str, read_at: Timestamp) -> Self {
        Self {
            order_id,
            stage: stage.to_owned(),
            option: option.to_owned(),
            read_at,
            events: None,
            saga: None,
            reservation: None,
            payment: None,
            shipment: None,
            frames: None,
            messages: None,
            audit: None,
            logs: None,
            parked: None,
            dead_letters: None,
            functions: None,
            breakers: None,
            warnings: Vec::new(),
        }
    }

    /// The order's events; none when they could not be read.
    pub fn events(&self) -> &[Envelope] {
        self.events.as_deref().unwrap_or_default()
    }

    /// The function of that name, when it was read.
    pub(crate) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().flatten().find(|function| function.name == name)
    }

    /// The breaker of that name, when it stops calls.
    pub(crate) fn stopping_breaker(&self, name: &str) -> Option<&Breaker> {
        self.breakers.iter().flatten().find(|breaker| breaker.name == name && breaker.stops_calls())
    }

    /// The last warnings and errors that a function logged about the order.
    pub(crate) fn complaints(&self, function: &str) -> Vec<&LogLine> {
        const SHOWN: usize = 3;
        let lines: Vec<&LogLine> = self
            .logs
            .iter()
            .flatten()
            .filter(|line| line.function == function && ["WARN", "ERROR"].contains(&line.level.as_str()))
            .collect();
        lines.into_iter().rev().take(SHOWN).rev().collect()
    }
}
