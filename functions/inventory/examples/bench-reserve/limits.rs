//! DynamoDB's limits, before a table that has none (developer guide, "Quotas", "Read and write operations", "Transactions:
//! how it works").

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

/// Write units a second that one partition key takes.
const UNITS: u32 = 1_000;
/// Read units a second that one partition key takes. Every item here is smaller than the 4 KB that one pays for, and is read
/// consistently.
const READ_UNITS: u32 = 3_000;
/// Bytes that one write unit pays for.
const UNIT_BYTES: u32 = 1_024;
/// A transaction prepares each item and then writes or reads it: both are paid for.
const TRANSACTION: u32 = 2;
/// From being prepared to being made, during which no other transaction gets at an item. Not documented; a transaction
/// as a whole takes some milliseconds.
const PREPARED: Duration = Duration::from_millis(1);
/// What a partition saves up: a limit "a second" is kept over a second.
const BURST: Duration = Duration::from_secs(1);

/// Shared by all clones.
#[derive(Debug, Clone)]
pub struct Limits {
    unit: Duration,
    read_unit: Duration,
    prepared: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// When what each partition key was asked for is paid off.
    paid_off: HashMap<Key, Instant>,
    /// Items of transactions that are under way.
    prepared: HashSet<String>,
    conflicts: u64,
    throttled: u64,
}

/// One item that a call writes or reads.
struct Use {
    /// What is written.
    item: Option<String>,
    /// Partition keys with the units that they are asked for: the table's, and the index's.
    units: Vec<(Key, u32)>,
}

/// A partition key, for its writes or its reads: each has a limit of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Write(String),
    Read(String),
}

#[derive(Debug, Clone, Copy)]
enum Refusal {
    Conflict,
    Throttled,
}

impl Limits {
    /// The limits, divided by `times`.
    pub fn slowed(times: u32) -> Self {
        Self {
            unit: Duration::from_secs(1) * times / UNITS,
            read_unit: Duration::from_secs(1) * times / READ_UNITS,
            prepared: PREPARED * times,
            state: Arc::default(),
        }
    }

    /// Refusals for a conflict, and for too many units.
    pub fn counts(&self) -> (u64, u64) {
        self.with(|state| (state.conflicts, state.throttled))
    }

    pub fn reset_counts(&self) {
        self.with(|state| (state.conflicts, state.throttled) = (0, 0));
    }

    /// Lets the call begin, with all its items, or says why not. What is refused is not paid for.
    fn begin(&self, uses: &[Use]) -> Result<(), Refusal> {
        let now = Instant::now();
        self.with(|state| {
            if written(uses).any(|item| state.prepared.contains(item)) {
                state.conflicts += 1;
                return Err(Refusal::Conflict);
            }
            let cost = |state: &State, key: &Key, units: u32| {
                let unit = if matches!(key, Key::Read(_)) { self.read_unit } else { self.unit };
                state.paid_off.get(key).copied().unwrap_or(now).max(now) + unit * units
            };
            let all = || uses.iter().flat_map(|each| &each.units);
            if all().any(|(key, units)| cost(state, key, *units) > now + BURST) {
                state.throttled += 1;
                return Err(Refusal::Throttled);
            }
            for (key, units) in all() {
                let paid_off = cost(state, key, *units);
                state.paid_off.insert(key.clone(), paid_off);
            }
            state.prepared.extend(written(uses).cloned());
            Ok(())
        })
    }

    fn end(&self, uses: &[Use]) {
        self.with(|state| {
            for item in written(uses) {
                state.prepared.remove(item);
            }
        });
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn written(uses: &[Use]) -> impl Iterator<Item = &String> {
    uses.iter().filter_map(|each| each.item.as_ref())
}

/// A client whose calls are held to the limits.
#[derive(Debug, Clone)]
pub struct Limited {
    inner: SharedHttpClient,
    limits: Limits,
}

impl Limited {
    pub fn new(inner: SharedHttpClient, limits: Limits) -> Self {
        Self { inner, limits }
    }
}

impl HttpClient for Limited {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(LimitedConnector { inner, limits: self.limits.clone() })
    }
}

#[derive(Debug, Clone)]
struct LimitedConnector {
    inner: SharedHttpConnector,
    limits: Limits,
}

impl HttpConnector for LimitedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (operation, uses) = uses_of(&request);
        if let Err(refusal) = self.limits.begin(&uses) {
            return HttpConnectorFuture::ready(Ok(refused(&operation, refusal)));
        }
        if written(&uses).next().is_none() {
            return self.inner.call(request);
        }
        let (inner, limits) = (self.inner.clone(), self.limits.clone());
        HttpConnectorFuture::new(async move {
            let prepared = tokio::time::sleep(limits.prepared);
            let (answer, ()) = futures::future::join(inner.call(request), prepared).await;
            limits.end(&uses);
            answer
        })
    }
}

/// The operation, and what it writes or reads.
fn uses_of(request: &HttpRequest) -> (String, Vec<Use>) {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let body: Value =
        request.body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let uses = match operation.as_str() {
        "TransactWriteItems" => {
            let items = body["TransactItems"].as_array().into_iter().flatten();
            let actions = items.flat_map(|item| item.as_object().into_iter().flat_map(|item| item.values()));
            actions.map(|action| write(action, TRANSACTION)).collect()
        }
        "PutItem" | "UpdateItem" => vec![write(&body, 1)],
        "TransactGetItems" => {
            let items = body["TransactItems"].as_array().into_iter().flatten();
            items.map(|item| read(&item["Get"]["Key"], TRANSACTION)).collect()
        }
        "BatchGetItem" => {
            let tables = body["RequestItems"].as_object().into_iter().flat_map(|tables| tables.values());
            let keys = tables.flat_map(|table| table["Keys"].as_array().into_iter().flatten());
            keys.map(|key| read(key, 1)).collect()
        }
        "GetItem" => vec![read(&body["Key"], 1)],
        _ => Vec::new(),
    };
    (operation, uses)
}

fn read(key: &Value, times: u32) -> Use {
    let pk = key["pk"]["S"].as_str().unwrap_or_default();
    Use { item: None, units: vec![(Key::Read(pk.to_owned()), times)] }
}

fn write(action: &Value, times: u32) -> Use {
    let item = if action["Item"].is_object() { &action["Item"] } else { &action["Key"] };
    let text = |name: &str| item[name]["S"].as_str().unwrap_or_default();
    let bytes = u32::try_from(item.to_string().len()).unwrap_or(u32::MAX);
    let mut units = vec![(Key::Write(text("pk").to_owned()), bytes.div_ceil(UNIT_BYTES) * times)];
    if !text("held").is_empty() {
        // An index is written behind the table, and not as a part of the transaction.
        units.push((Key::Write(format!("held {}", text("held"))), 1));
    }
    Use { item: Some(format!("{} {}", text("pk"), text("sk"))), units }
}

fn refused(operation: &str, refusal: Refusal) -> HttpResponse {
    let (reason, whole) = match refusal {
        Refusal::Conflict => ("TransactionConflict", "TransactionConflictException"),
        Refusal::Throttled => ("ThrottlingError", "ThrottlingException"),
    };
    let body = if operation == "TransactWriteItems" {
        json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{reason}]"),
            "CancellationReasons": [{"Code": reason, "Message": reason}],
        })
    } else {
        json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{whole}"), "message": reason})
    };
    // A number that is a status.
    let status = StatusCode::try_from(400).expect("a status");
    HttpResponse::new(status, SdkBody::from(body.to_string()))
}
