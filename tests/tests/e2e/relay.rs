//! The topic fails while a relay publishes: it refuses, throttles, takes a part of a batch, or its answer is lost. The
//! events of an order are published in their order, and each at least once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use contracts::{OrderId, OrderStatus};
use local_stack::Emulator;
use local_stack::call::form;
use local_stack::upstream::{self, Answer, Closed, Upstream};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::fixture::{Fixture, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![alone:
    a_topic_that_refuses_gets_every_event_in_its_order,
    a_topic_that_throttles_gets_every_event_in_its_order,
    a_topic_that_takes_a_part_gets_the_rest_in_its_order,
    a_topic_whose_answer_is_lost_gets_every_event_in_its_order,
];

/// The relay under test, whose calls to the topic go through the proxy.
const RELAY: &str = "orders-relay";
/// More calls than the relay itself makes for one batch (`lambda_kit::limits::MAX_ATTEMPTS`, 3): the stream has to deliver
/// the batch again.
const TIMES: usize = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Refuses,
    Throttles,
    /// Takes the first message of a batch, and none of a batch of one.
    TakesAPart,
    LosesAnswer,
}

/// A message of a batch.
struct Entry {
    id: String,
    /// The fields of the message: `Message`, `MessageGroupId`, `MessageAttributes.entry.1.Name`, …
    fields: Vec<(String, String)>,
}

impl Entry {
    fn event(&self) -> Value {
        let message = self.fields.iter().find(|(name, _)| name == "Message");
        message.and_then(|(_, text)| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// The topic, with a proxy before it.
#[derive(Clone)]
struct Topic(Arc<State>);

struct State {
    upstream: Upstream,
    emulator: Emulator,
    fault: Fault,
    /// Faults to come.
    left: Mutex<usize>,
    /// The events that the topic took, in their order.
    taken: Mutex<Vec<Value>>,
}

impl Topic {
    async fn start(fixture: &Fixture, fault: Fault) -> Outcome<(Self, String, AbortHandle)> {
        let endpoint = &fixture.outputs.aws_endpoint_url;
        let topic = Self(Arc::new(State {
            upstream: Upstream::new(endpoint),
            emulator: fixture.emulator.clone(),
            fault,
            left: Mutex::new(TIMES),
            taken: Mutex::default(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let handler = topic.clone();
        let served = upstream::serve(listener, move |parts, body| {
            let topic = handler.clone();
            async move { topic.handle(parts, body).await }
        });
        Ok((topic, url, tokio::spawn(served).abort_handle()))
    }

    async fn handle(&self, parts: Parts, body: Bytes) -> Result<Answer, Closed> {
        let entries = entries(&body);
        if entries.is_empty() || !self.strikes() {
            let answer = self.0.upstream.ask(&parts, body).await;
            if answer.status.is_success() {
                self.took(&entries);
            }
            return Ok(answer);
        }
        match self.0.fault {
            Fault::Refuses => Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
            Fault::Throttles => Ok(refusal(StatusCode::BAD_REQUEST, "Throttled")),
            Fault::LosesAnswer => {
                if self.0.upstream.ask(&parts, body).await.status.is_success() {
                    self.took(&entries);
                }
                Err(Closed)
            }
            Fault::TakesAPart => Ok(self.take_the_first(&body, &entries).await),
        }
    }

    fn strikes(&self) -> bool {
        let mut left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        let strikes = *left > 0;
        *left = left.saturating_sub(1);
        strikes
    }

    fn took(&self, entries: &[Entry]) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.extend(entries.iter().map(Entry::event));
    }

    /// Publishes one message by itself, as the batch is signed as a whole, and answers that the others failed.
    async fn take_the_first(&self, body: &[u8], entries: &[Entry]) -> Answer {
        let topic = form(body).find(|(name, _)| name == "TopicArn").unwrap_or_default();
        let mut results = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            let message: Vec<_> = std::iter::once(topic.clone()).chain(entry.fields.clone()).collect();
            let is_taken = number == 0
                && entries.len() > 1
                && self.0.emulator.query("sns", "Publish", "2010-03-31", &message).await.is_ok();
            if is_taken {
                self.took(&entries[..1]);
            }
            results.push((entry.id.as_str(), is_taken));
        }
        let members = |wanted: bool, rest: &str| -> String {
            let ids = results.iter().filter(|(_, is_taken)| *is_taken == wanted);
            ids.map(|(id, _)| format!("<member><Id>{id}</Id>{rest}</member>")).collect()
        };
        answer(
            StatusCode::OK,
            format!(
                "<PublishBatchResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishBatchResult>\
                 <Successful>{}</Successful><Failed>{}</Failed></PublishBatchResult></PublishBatchResponse>",
                members(true, "<MessageId>taken</MessageId>"),
                members(false, "<Code>InternalError</Code><SenderFault>false</SenderFault>"),
            ),
        )
    }

    /// The sequences of an order's events, in the order in which the topic took each for the first time.
    fn sequences(&self, order: &OrderId) -> Vec<u64> {
        let mut sequences = Vec::new();
        for event in self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let sequence = event["sequence"].as_u64().unwrap_or_default();
            if event["subject"] == order.as_str() && !sequences.contains(&sequence) {
                sequences.push(sequence);
            }
        }
        sequences
    }
}

/// The messages of a call of PublishBatch; none of another call.
fn entries(body: &[u8]) -> Vec<Entry> {
    let mut entries: BTreeMap<usize, Entry> = BTreeMap::new();
    for (name, value) in form(body) {
        let Some(rest) = name.strip_prefix("PublishBatchRequestEntries.member.") else { continue };
        let Some((number, field)) = rest.split_once('.') else { continue };
        let Ok(number) = number.parse() else { continue };
        let entry = entries.entry(number).or_insert_with(|| Entry { id: String::new(), fields: Vec::new() });
        match field {
            "Id" => entry.id = value,
            _ => entry.fields.push((field.to_owned(), value)),
        }
    }
    entries.into_values().collect()
}

fn refusal(status: StatusCode, code: &str) -> Answer {
    let error = format!("<Error><Type>Receiver</Type><Code>{code}</Code><Message>no</Message></Error>");
    answer(
        status,
        format!("<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">{error}</ErrorResponse>"),
    )
}

fn answer(status: StatusCode, body: String) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: body.into() }
}

async fn gets_every_event(fixture: Fixture, fault: Fault) -> Outcome {
    let sku = fixture.product(5).await?;
    let customers = [fixture.customer().await?, fixture.customer().await?, fixture.customer().await?];
    let (topic, url, task) = Topic::start(&fixture, fault).await?;
    fixture.set_variable(RELAY, "AWS_ENDPOINT_URL_SNS", &url).await?;
    let mut orders = Vec::new();
    for customer in &customers {
        orders.push((customer, customer.shop.place(&buy(&sku), &unique("key")).await?.order_id));
    }
    for (customer, order) in &orders {
        assert_eq!(customer.ended(order).await?.status, OrderStatus::OrderCompleted);
        let expected: Vec<u64> = (1..).take(customer.history(order).await?.len()).collect();
        let taken = async || {
            let taken = topic.sequences(order);
            if taken.len() >= expected.len() { Ok(taken) } else { Err(format!("{taken:?}"))? }
        };
        let taken = eventually(&format!("the topic has every event of {order}"), taken).await?;
        assert_eq!(taken, expected, "each event once and after those before it");
    }
    assert_eq!(*topic.0.left.lock().unwrap_or_else(PoisonError::into_inner), 0, "every fault struck");
    // The relay's own address of the topic comes back before the proxy ends.
    fixture.mend().await?;
    task.abort();
    Ok(())
}

async fn a_topic_that_refuses_gets_every_event_in_its_order(fixture: Fixture) -> Outcome {
    gets_every_event(fixture, Fault::Refuses).await
}

async fn a_topic_that_throttles_gets_every_event_in_its_order(fixture: Fixture) -> Outcome {
    gets_every_event(fixture, Fault::Throttles).await
}

async fn a_topic_that_takes_a_part_gets_the_rest_in_its_order(fixture: Fixture) -> Outcome {
    gets_every_event(fixture, Fault::TakesAPart).await
}

async fn a_topic_whose_answer_is_lost_gets_every_event_in_its_order(fixture: Fixture) -> Outcome {
    gets_every_event(fixture, Fault::LosesAnswer).await
}
