//! For tests only: an in-process DynamoDB, tokens of a test key, injected faults, and a REST API to send requests to.

#[cfg(feature = "http")]
mod api;
pub mod kms;
mod mutation;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::{
    client::{
        behavior_version::BehaviorVersion,
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::{body::SdkBody, retry::RetryConfig};
use aws_types::{SdkConfig, region::Region};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::{CorrelationId, Envelope, EventId, Metadata, SessionId, UserId};
use jiff::Timestamp;
use tracing::instrument::WithSubscriber;

use crate::{
    aws,
    dynamodb::{PK, SK, Table},
    jwt::{Audience, Claims, ISSUER, Role, Subject, Verifier},
};

#[cfg(feature = "http")]
pub use api::{App, Response, request};
pub use mutation::mutated;

/// Keeps what a subscriber writes.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The result of `work`, and the lines that it logged.
pub async fn logged<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let result = work.with_subscriber(subscriber).await;
    let text = log.0.lock().unwrap_or_else(PoisonError::into_inner);
    (result, String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

/// A fresh DynamoDB table `test` (`pk`, `sk`) with these global indexes as (name, partition key, sort key), in
/// an emulator that lives as long as the test's runtime, and the faults of its client.
pub async fn table(indexes: &[(&str, &str, &str)]) -> (Table, Faults) {
    let (table, faults) = table_at(&emulator().await);
    create(&table, indexes).await;
    faults.reset();
    (table, faults)
}

/// A fresh table `test` for several processes: the URL for their `table_at`.
pub async fn shared_table() -> String {
    let url = emulator().await;
    create(&table_at(&url).0, &[]).await;
    url
}

/// The table `test` of the emulator at `url`, by a client of its own.
pub fn table_at(url: &str) -> (Table, Faults) {
    let (config, faults) = sdk_config(url);
    (Table::new(aws_sdk_dynamodb::Client::new(&config), "test"), faults)
}

async fn emulator() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let database = dynoxide::Database::memory().expect("a database in memory");
    tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()));
    url
}

async fn create(table: &Table, indexes: &[(&str, &str, &str)]) {
    // An index may have a key of the table's.
    let keys: BTreeSet<&str> =
        [PK, SK].into_iter().chain(indexes.iter().flat_map(|(_, pk, sk)| [*pk, *sk])).collect();
    let indexes = indexes.iter().map(|(name, pk, sk)| {
        GlobalSecondaryIndex::builder()
            .index_name(*name)
            .set_key_schema(Some(key_schema(pk, sk)))
            .projection(Projection::builder().projection_type(ProjectionType::All).build())
            .build()
            .expect("a whole index")
    });
    let indexes: Vec<_> = indexes.collect();
    table
        .client
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(keys.into_iter().map(attribute).collect()))
        .set_key_schema(Some(key_schema(PK, SK)))
        .set_global_secondary_indexes((!indexes.is_empty()).then_some(indexes))
        .send()
        .await
        .expect("the table is made");
}

fn attribute(name: &str) -> AttributeDefinition {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(ScalarAttributeType::S)
        .build()
        .expect("a whole definition")
}

fn key_schema(pk: &str, sk: &str) -> Vec<KeySchemaElement> {
    [(pk, KeyType::Hash), (sk, KeyType::Range)]
        .map(|(name, kind)| {
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("a whole key")
        })
        .to_vec()
}

/// SDK configuration for an endpoint on this machine, without time limits of its own, with faults to switch on.
pub fn sdk_config(endpoint_url: &str) -> (SdkConfig, Faults) {
    let faults = Faults::default();
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "test", "test", None, None, "test",
        )))
        .http_client(SharedHttpClient::new(FaultyClient {
            inner: aws::http_client(),
            faults: faults.clone(),
        }))
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(aws::MAX_ATTEMPTS)
                .with_initial_backoff(aws::INITIAL_BACKOFF),
        )
        .endpoint_url(endpoint_url)
        .build();
    (config, faults)
}

/// Counts a client's calls by operation (`PutItem`, `TransactWriteItems`, …; a retry counts again) and
/// injects faults. A lost answer means that the call takes effect and the caller sees a timeout.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    calls: Vec<String>,
    /// By operation: how many tries succeed first, and of how many after them the answers are lost.
    lost_answers: HashMap<String, (u32, u32)>,
    refused: HashMap<String, u32>,
    /// How many transactions go through first, and how many after them are cancelled.
    conflicts: (u32, u32),
    throttled: u32,
    /// By operation, which is none of a transaction.
    throttled_calls: HashMap<String, u32>,
    held: HashMap<String, Arc<tokio::sync::Semaphore>>,
}

/// Holds calls back until it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Hold(Arc<tokio::sync::Semaphore>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Faults {
    /// The answers of the next `count` tries of `operation` are lost after the effect.
    pub fn lose_answers(&self, operation: &str, count: u32) {
        self.lose_answers_after(0, operation, count);
    }

    /// As `lose_answers`, once `skip` tries of it have gone well.
    pub fn lose_answers_after(&self, skip: u32, operation: &str, count: u32) {
        self.with(|state| state.lost_answers.insert(operation.to_owned(), (skip, count)));
    }

    /// The next `count` tries of `operation` do not reach the service.
    pub fn refuse(&self, operation: &str, count: u32) {
        self.with(|state| state.refused.insert(operation.to_owned(), count));
    }

    /// Tries of `operation` wait, on their way to the service, until the answer to this is dropped.
    pub fn hold(&self, operation: &str) -> Hold {
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        self.with(|state| state.held.insert(operation.to_owned(), gate.clone()));
        Hold(gate)
    }

    /// The next `count` transactions are cancelled because another one is under way on an item of theirs, which a
    /// table in this process never does by itself.
    pub fn conflict(&self, count: u32) {
        self.conflict_after(0, count);
    }

    /// As `conflict`, after `skip` transactions.
    pub fn conflict_after(&self, skip: u32, count: u32) {
        self.with(|state| state.conflicts = (skip, count));
    }

    /// The next `count` transactions are refused because an item of theirs gets more writes than a partition takes,
    /// which a table in this process never does by itself.
    pub fn throttle(&self, count: u32) {
        self.with(|state| state.throttled = count);
    }

    /// The next `count` tries of `operation` are refused because the item gets more writes than a partition takes.
    pub fn throttle_calls(&self, operation: &str, count: u32) {
        self.with(|state| state.throttled_calls.insert(operation.to_owned(), count));
    }

    /// The operations called since the table was made, or since `reset`.
    pub fn calls(&self) -> Vec<String> {
        self.with(|state| state.calls.clone())
    }

    /// Forgets the calls, and injects no more faults.
    pub fn reset(&self) {
        self.with(|state| *state = State::default());
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn loses(&mut self, operation: &str) -> bool {
        self.lost_answers.get_mut(operation).is_some_and(use_up)
    }
}

/// Whether this one is among those after `skip`, of which there are `count`.
const fn use_up((skip, count): &mut (u32, u32)) -> bool {
    let is_one = *skip == 0 && *count > 0;
    *count -= is_one as u32;
    *skip = skip.saturating_sub(1);
    is_one
}

fn take(counts: &mut HashMap<String, u32>, operation: &str) -> bool {
    match counts.get_mut(operation) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

#[derive(Debug, Clone)]
struct FaultyClient {
    inner: SharedHttpClient,
    faults: Faults,
}

impl HttpClient for FaultyClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(FaultyConnector {
            inner: self.inner.http_connector(settings, components),
            faults: self.faults.clone(),
        })
    }
}

#[derive(Debug, Clone)]
struct FaultyConnector {
    inner: SharedHttpConnector,
    faults: Faults,
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let (cancelled, refused, lost, held) = self.faults.with(|state| {
            state.calls.push(operation.clone());
            let transaction = operation == "TransactWriteItems";
            let conflict = transaction && use_up(&mut state.conflicts);
            let throttled = transaction && !conflict && state.throttled > 0;
            state.throttled -= u32::from(throttled);
            let cancelled = match (conflict, throttled) {
                (true, _) => {
                    Some(cancelled_answer("TransactionConflict", "Transaction is ongoing for the item"))
                }
                (_, true) => {
                    Some(cancelled_answer("ThrottlingError", "Throughput exceeds the current capacity"))
                }
                _ => take(&mut state.throttled_calls, &operation).then(throttled_answer),
            };
            let held = state.held.get(&operation).cloned();
            (cancelled, take(&mut state.refused, &operation), state.loses(&operation), held)
        });
        if let Some(answer) = cancelled {
            return HttpConnectorFuture::ready(Ok(answer));
        }
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            if refused {
                return Err(ConnectorError::io("refused by the test".into()));
            }
            if let Some(gate) = held {
                // Nothing is ever let through it but by its end.
                let _ = gate.acquire().await;
            }
            let answer = inner.call(request).await;
            if lost { Err(ConnectorError::timeout("lost by the test".into())) } else { answer }
        })
    }
}

/// DynamoDB's response to a transaction over one or more items that conflicts with another one, or is
/// throttled (TransactWriteItems, API reference, error TransactionCanceledException).
fn cancelled_answer(code: &str, message: &str) -> HttpResponse {
    let body = serde_json::json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{code}]"),
        "CancellationReasons": [{"Code": code, "Message": message}],
    });
    HttpResponse::new(StatusCode::try_from(400).expect("a status"), SdkBody::from(body.to_string()))
}

/// DynamoDB's response when one item gets more writes than a partition takes (DynamoDB Developer Guide, "Error
/// handling with DynamoDB").
fn throttled_answer() -> HttpResponse {
    let body = serde_json::json!({
        "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException",
        "message": "Throughput exceeds the current capacity of your table or index.",
    });
    HttpResponse::new(StatusCode::try_from(400).expect("a status"), SdkBody::from(body.to_string()))
}

/// An event without data, of the year 1970. Its id is derived from subject and sequence.
pub fn event(subject: &str, event_type: &str, sequence: u64) -> Envelope {
    Envelope {
        event_id: EventId::derive("test", subject, sequence),
        event_type: event_type.to_owned(),
        event_version: 1,
        occurred_at: Timestamp::UNIX_EPOCH,
        source: "test".to_owned(),
        subject: subject.to_owned(),
        sequence,
        correlation_id: CorrelationId::try_from("cor").expect("a correlation id"),
        causation_id: "test".to_owned(),
        traceparent: None,
        data: serde_json::json!({}),
        metadata: Metadata::default(),
    }
}

/// Makes tokens that `verifier` trusts.
pub struct Tokens {
    key: EcdsaKeyPair,
}

impl Tokens {
    /// A fresh key.
    #[expect(clippy::new_without_default, reason = "a new key each time is no default")]
    pub fn new() -> Self {
        Self { key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key") }
    }

    /// Trusts the tokens of this key alone.
    pub fn verifier(&self) -> Arc<Verifier> {
        Arc::new(Verifier::with_known_key("test", self.key.public_key().as_ref()))
    }

    /// `Bearer …` for a customer.
    pub fn user(&self, user: &UserId) -> String {
        self.bearer(user, vec![], Audience::Api, 4_000_000_000)
    }

    /// `Bearer …` for an administrator.
    pub fn admin(&self) -> String {
        self.staff(Role::Admin)
    }

    /// `Bearer …` for a user with this role.
    pub fn staff(&self, role: Role) -> String {
        self.bearer(&UserId::generate(), vec![role], Audience::Api, 4_000_000_000)
    }

    /// `Bearer …` of a token that ended in 1970.
    pub fn expired(&self, user: &UserId) -> String {
        self.bearer(user, vec![], Audience::Api, 1)
    }

    /// `Bearer …` for a customer who gave the password in 1970.
    pub fn stale_login(&self, user: &UserId) -> String {
        let claims = Claims { auth_time: 0, ..claims(user, vec![], Audience::Api, 4_000_000_000) };
        format!("Bearer {}", self.sign(&claims))
    }

    /// The value of `Authorization` with such a token. `exp` in Unix seconds.
    pub fn bearer(&self, user: &UserId, roles: Vec<Role>, audience: Audience, exp: i64) -> String {
        format!("Bearer {}", self.token(user, roles, audience, exp))
    }

    /// A token without its scheme. `exp` in Unix seconds.
    pub fn token(&self, user: &UserId, roles: Vec<Role>, audience: Audience, exp: i64) -> String {
        self.sign(&claims(user, roles, audience, exp))
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Claims) -> String {
        let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = serde_json::json!({"alg": "ES256", "typ": "JWT", "kid": "test"});
        let signed =
            format!("{}.{}", encode(header), encode(serde_json::to_value(claims).expect("claims are JSON")));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// A user who has just logged in, with a verified e-mail address.
pub fn subject(user: &UserId, roles: Vec<Role>) -> Subject {
    Subject {
        user_id: user.clone(),
        session_id: SessionId::generate(),
        roles,
        auth_time: Timestamp::now().as_second(),
        email_verified: true,
    }
}

/// The claims of a user who has just logged in, with a verified e-mail address. `exp` in Unix seconds.
pub fn claims(user: &UserId, roles: Vec<Role>, audience: Audience, exp: i64) -> Claims {
    Claims {
        sub: user.clone(),
        iss: ISSUER.to_owned(),
        aud: audience.as_str().to_owned(),
        iat: 0,
        exp,
        roles,
        sid: SessionId::generate(),
        auth_time: Timestamp::now().as_second(),
        email_verified: true,
    }
}
