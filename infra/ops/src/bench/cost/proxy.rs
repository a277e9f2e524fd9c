//! Stands between the functions and the emulator, passes every call on as it came, and counts it.
//!
//! Signatures cover the host, so that header stays as the function wrote it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::call::{self, Call};
use super::scale::{Outcome, Scale, Weight};
use super::units::Units;
use crate::emulator::{self, Emulator};

/// More than any call of a function: SQS and SNS take 256 KB.
const BODY_LIMIT: usize = 8 << 20;
/// SQS bills every started 64 KB of a request: <https://aws.amazon.com/sqs/pricing/>.
const SQS_CHUNK: usize = 64 * 1024;

/// What was counted since the last [`Proxy::take`].
#[derive(Debug, Default)]
pub struct Tally {
    pub calls: BTreeMap<Call, Count>,
    /// What went to SNS topics.
    pub published: Vec<Published>,
    /// Why some units are not known. A tally with any is of no use.
    pub unweighed: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    pub calls: u64,
    pub units: Units,
    /// The sizes of the items written.
    pub written: Vec<u64>,
    /// SQS requests to standard queues, as they are billed.
    pub sqs_standard: u64,
    pub sqs_fifo: u64,
}

/// One message to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub attributes: BTreeMap<String, String>,
    pub bytes: u64,
}

pub struct Proxy {
    upstream: String,
    http: reqwest::Client,
    scale: Scale,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tally: Tally,
    under_way: usize,
    last: Instant,
}

/// What the emulator said, whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Outcome for Answer {
    fn is_success(&self) -> bool {
        self.status.is_success()
    }

    fn body(&self) -> &[u8] {
        &self.body
    }
}

impl Proxy {
    pub fn new(upstream: &str) -> Self {
        let state = State { tally: Tally::default(), under_way: 0, last: Instant::now() };
        Self {
            upstream: upstream.to_owned(),
            http: emulator::client(),
            scale: Scale::new(Emulator::new(upstream)),
            state: Mutex::new(state),
        }
    }

    /// Answers every connection; ends only when its task is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> Infallible {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(connection(self.clone(), stream));
                }
                // Out of file descriptors, or the peer has gone: the next one may do better.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// What was counted, and begins anew.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut self.state().tally)
    }

    /// For how long nobody has called.
    pub fn quiet_for(&self) -> Duration {
        let state = self.state();
        if state.under_way > 0 { Duration::ZERO } else { state.last.elapsed() }
    }

    async fn handle(&self, request: Request<hyper::body::Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Ok(body) = http_body_util::Limited::new(body, BODY_LIMIT).collect().await else {
            return refusal(StatusCode::BAD_REQUEST);
        };
        let body = body.to_bytes();
        let call = Call::of(&parts, &body);
        self.state().under_way += 1;
        let sent = self.ask(&parts, body.clone());
        let (answer, weight) = match &call {
            Some(call) if call.service == "dynamodb" => self.scale.weigh(&call.operation, &body, sent).await,
            _ => (sent.await, Ok(Weight::default())),
        };
        let mut state = self.state();
        state.under_way -= 1;
        state.last = Instant::now();
        if let Some(call) = call {
            match weight {
                Ok(weight) => state.tally.add(call, weight, &body),
                Err(error) => state.tally.unweighed.push(format!("{}: {error}", call.operation)),
            }
        }
        drop(state);
        answer.into_response()
    }

    async fn ask(&self, parts: &Parts, body: Bytes) -> Answer {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = self
            .http
            .request(parts.method.clone(), format!("{}{path}", self.upstream))
            .headers(passed_on(&parts.headers))
            .body(body);
        let answer = async {
            let answer = request.send().await?;
            let (status, headers) = (answer.status(), passed_on(answer.headers()));
            Ok::<_, reqwest::Error>(Answer { status, headers, body: answer.bytes().await? })
        };
        answer.await.unwrap_or_else(|_| Answer {
            status: StatusCode::BAD_GATEWAY,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        })
    }

    /// A panic elsewhere leaves the counts whole: they are never half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn add(&mut self, call: Call, weight: Weight, body: &[u8]) {
        if call.service == "sns" {
            self.published.extend(published(&call.operation, body));
        }
        let Weight { units, written } = weight;
        let mut count = Count { calls: 1, units, written, ..Count::default() };
        if call.service == "sqs" {
            let requests = body.len().div_ceil(SQS_CHUNK).max(1) as u64;
            let request: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            if request["QueueUrl"].as_str().is_some_and(|url| url.ends_with(".fifo")) {
                count.sqs_fifo = requests;
            } else {
                count.sqs_standard = requests;
            }
        }
        *self.calls.entry(call).or_default() += count;
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.units += other.units;
        self.written.extend(other.written);
        self.sqs_standard += other.sqs_standard;
        self.sqs_fifo += other.sqs_fifo;
    }
}

/// The messages of a call to SNS: `PublishBatchRequestEntries.member.1.Message=…&….MessageAttributes.entry.1.Name=…`.
fn published(operation: &str, body: &[u8]) -> Vec<Published> {
    let mut messages: BTreeMap<String, (u64, BTreeMap<String, Attribute>)> = BTreeMap::new();
    for (name, value) in call::form(body) {
        let (message, field) = match operation {
            "Publish" => (String::new(), name.as_str()),
            "PublishBatch" => {
                let Some(rest) = name.strip_prefix("PublishBatchRequestEntries.member.") else { continue };
                let Some((number, field)) = rest.split_once('.') else { continue };
                (number.to_owned(), field)
            }
            _ => return Vec::new(),
        };
        let (bytes, attributes) = messages.entry(message).or_default();
        if field == "Message" {
            *bytes += value.len() as u64;
        } else if let Some((number, part)) =
            field.strip_prefix("MessageAttributes.entry.").and_then(|rest| rest.split_once('.'))
        {
            // Names, types and values of attributes are payload.
            *bytes += value.len() as u64;
            let attribute = attributes.entry(number.to_owned()).or_default();
            match part {
                "Name" => attribute.name = value,
                "Value.StringValue" => attribute.value = value,
                _ => {}
            }
        }
    }
    let named = |attribute: Attribute| (attribute.name, attribute.value);
    messages
        .into_values()
        .map(|(bytes, attributes)| Published {
            attributes: attributes.into_values().map(named).collect(),
            bytes,
        })
        .collect()
}

#[derive(Default)]
struct Attribute {
    name: String,
    value: String,
}

async fn connection(proxy: Arc<Proxy>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let proxy = proxy.clone();
        async move {
            // In a task of its own: what a function no longer waits for has happened all the same.
            let handled = tokio::spawn(async move { proxy.handle(request).await });
            Ok::<_, Infallible>(handled.await.unwrap_or_else(|_| refusal(StatusCode::BAD_GATEWAY)))
        }
    });
    // An error here is a closed connection, ours or the function's.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Headers without those that belong to one connection.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT] {
        headers.remove(name);
    }
    headers
}

impl Answer {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

fn refusal(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
