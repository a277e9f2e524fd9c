//! The few AWS calls that setting up a stack takes, signed and sent to the emulator.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use contracts::FUNCTION_ALIAS;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::settings::REGION;

/// The emulator's root account.
const KEY_ID: &str = "test";
const SECRET: &str = "test";
/// The emulator answers in milliseconds; a stack is created in the background.
const PATIENCE: Duration = Duration::from_secs(60);
/// The emulator answers a read with `InternalError` when another thread writes to what it reads at that moment.
const READ_TRIES: u32 = 5;
const READ_PAUSE: Duration = Duration::from_millis(500);

/// The number of messages, by queue, of those that are not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queued {
    pub waiting: BTreeMap<String, usize>,
    /// In dead-letter queues.
    pub dead_letters: BTreeMap<String, usize>,
}

/// One emulator.
#[derive(Debug, Clone)]
pub struct Emulator {
    endpoint: String,
    http: reqwest::Client,
    patience: Duration,
    identity: Credentials,
}

impl Emulator {
    pub fn new(endpoint: &str) -> Self {
        let identity = Credentials::new(KEY_ID, SECRET, None, None, "emulator");
        Self { endpoint: endpoint.to_owned(), http: client(), patience: PATIENCE, identity }
    }

    /// Calls as another than the root account: with the credentials of an assumed role, for instance.
    pub fn with_identity(self, identity: Credentials) -> Self {
        Self { identity, ..self }
    }

    /// Sets the timeout for an answer.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A service that speaks JSON, by the operation's target: `DynamoDB_20120810.UpdateItem`.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn json(&self, service: &str, target: &str, input: &Value) -> Result<Value> {
        let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")];
        let body = input.to_string().into_bytes();
        let answer = self.send(service, target, reqwest::Method::POST, "/", &headers, body).await?;
        if answer.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&answer)
            .map_err(|error| Error::Refused { operation: target.to_owned(), reason: error.to_string() })
    }

    /// As [`Emulator::json`], for what only reads: it is asked again while the emulator fails.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn read(&self, service: &str, target: &str, input: &Value) -> Result<Value> {
        persistently(async || self.json(service, target, input).await).await
    }

    /// Gets what a service with a REST API has at a path, as [`Emulator::read`].
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn get(&self, service: &str, operation: &str, path: &str) -> Result<String> {
        let get = async || self.send(service, operation, reqwest::Method::GET, path, &[], Vec::new()).await;
        persistently(get).await
    }

    /// A service that takes a form and answers XML, as CloudFormation does.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn query(
        &self,
        service: &str,
        action: &str,
        version: &str,
        form: &[(String, String)],
    ) -> Result<String> {
        let fixed = [("Action", action), ("Version", version)];
        let all = fixed.into_iter().chain(form.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let body: Vec<String> =
            all.map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(service, action, reqwest::Method::POST, "/", &headers, body.join("&").into_bytes()).await
    }

    /// A value that a stage's templates leave for each other: `api-url`.
    ///
    /// # Errors
    /// There is no such parameter, or the emulator does not answer.
    pub async fn parameter(&self, stage: &str, name: &str) -> Result<String> {
        let name = format!("/ordersaga/{stage}/{name}");
        let answer = self.json("ssm", "AmazonSSM.GetParameter", &json!({"Name": name})).await?;
        let value = answer["Parameter"]["Value"].as_str().map(str::to_owned);
        value.ok_or_else(|| Error::Refused {
            operation: format!("GetParameter {name}"),
            reason: "it has no value".to_owned(),
        })
    }

    /// Invokes a function by its alias and returns its answer, which may be its error.
    ///
    /// # Errors
    /// It cannot be invoked.
    pub async fn invoke(&self, function: &str, payload: &Value) -> Result<String> {
        let path = format!("/2015-03-31/functions/{function}:{FUNCTION_ALIAS}/invocations");
        self.send("lambda", "Invoke", reqwest::Method::POST, &path, &[], payload.to_string().into_bytes())
            .await
    }

    /// The messages of all queues, with those in flight and delayed. MiniStack's own address.
    ///
    /// # Errors
    /// The emulator does not answer.
    pub async fn queued(&self) -> Result<Queued> {
        #[derive(Deserialize)]
        struct Messages {
            /// By account, region and queue.
            messages: BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<Value>>>>,
        }
        let no_answer = |source| Error::NoAnswer { operation: "reading the queues".to_owned(), source };
        let answer = self.http.get(format!("{}/_ministack/sqs/messages", self.endpoint)).send().await;
        let held: Messages = answer.map_err(no_answer)?.json().await.map_err(no_answer)?;
        let queues = held.messages.into_values().flat_map(BTreeMap::into_values).flatten();
        let name = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
        let numbers = queues.map(|(url, messages)| (name(&url), messages.len()));
        let (dead_letters, waiting) =
            numbers.filter(|(_, number)| *number > 0).partition(|(queue, _)| queue.contains("-dlq"));
        Ok(Queued { waiting, dead_letters })
    }

    /// Reserves concurrency for a function, by its whole name, or takes that back.
    ///
    /// # Errors
    /// The emulator refuses, or does not answer.
    pub async fn reserve_concurrency(&self, function: &str, most: Option<u32>) -> Result<()> {
        // Setting it and deleting it have versions of the API of their own.
        let path = format!("/2017-10-31/functions/{function}/concurrency");
        let (method, body) = match most {
            Some(most) => {
                (reqwest::Method::PUT, json!({"ReservedConcurrentExecutions": most}).to_string().into_bytes())
            }
            None => (reqwest::Method::DELETE, Vec::new()),
        };
        self.send("lambda", "PutFunctionConcurrency", method, &path, &[], body).await.map(drop)
    }

    /// Makes a bucket; one that exists is fine.
    pub async fn make_bucket(&self, bucket: &str) -> Result<()> {
        let path = format!("/{bucket}");
        match self.send("s3", "CreateBucket", reqwest::Method::PUT, &path, &[], Vec::new()).await {
            Err(Error::Refused { reason, .. }) if reason.contains("BucketAlreadyOwnedByYou") => Ok(()),
            other => other.map(drop),
        }
    }

    /// # Errors
    /// The store refuses, or does not answer.
    pub async fn put_object(&self, bucket: &str, key: &str, content: Vec<u8>) -> Result<()> {
        let path = format!("/{bucket}/{key}");
        self.send("s3", "PutObject", reqwest::Method::PUT, &path, &[], content).await.map(drop)
    }

    /// Answers the body of a successful answer. `path` needs no escaping: it holds names that we made.
    pub async fn send(
        &self,
        service: &str,
        operation: &str,
        method: reqwest::Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<String> {
        let url = format!("{}{path}", self.endpoint);
        let refused = |reason: String| Error::Refused { operation: operation.to_owned(), reason };
        let signature = signature(&self.identity, service, method.as_str(), &url, headers, &body)
            .map_err(|error| refused(error.to_string()))?;
        let mut request = self.http.request(method, &url).timeout(self.patience);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in signature {
            request = request.header(name, value);
        }
        let no_answer = |source| Error::NoAnswer { operation: operation.to_owned(), source };
        let answer = request.body(body).send().await.map_err(no_answer)?;
        let status = answer.status();
        let text = answer.text().await.map_err(no_answer)?;
        if status.is_success() { Ok(text) } else { Err(refused(reason(status.as_u16(), &text))) }
    }
}

/// Asks the emulator until it answers or refuses, or the tries are used up.
async fn persistently<T>(ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    let mut tries = 1..READ_TRIES;
    loop {
        match ask().await {
            Err(error) if error.is_transient() && tries.next().is_some() => {
                tokio::time::sleep(READ_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// An HTTP client for this machine: proxies that the environment names are for other hosts.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap_or_default()
}

fn signature(
    identity: &Credentials,
    service: &str,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::result::Result<Vec<(String, String)>, Box<dyn std::error::Error + Send + Sync>> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::Headers;
    // S3 wants the hash as a header; hashing what stays on this machine would take longer than sending it.
    let payload = if service == "s3" {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = aws_sigv4::http_request::PercentEncodingMode::Single;
        SignableBody::UnsignedPayload
    } else {
        SignableBody::Bytes(body)
    };
    let identity = identity.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(service)
        .time(SystemTime::now())
        .settings(settings)
        .build()?;
    let request = SignableRequest::new(method, url, headers.iter().copied(), payload)?;
    let (instructions, _) = sign(request, &parameters.into())?.into_parts();
    let (signed, _) = instructions.into_parts();
    Ok(signed.into_iter().map(|header| (header.name().to_owned(), header.value().to_owned())).collect())
}

/// The service's error message, in either of AWS's formats.
fn reason(status: u16, text: &str) -> String {
    if let Ok(json) = serde_json::from_str::<Value>(text) {
        let kind = json["__type"].as_str().unwrap_or_default();
        let message = json["message"].as_str().or_else(|| json["Message"].as_str()).unwrap_or(text);
        return format!("{status} {kind} {message}");
    }
    if let Ok(document) = roxmltree::Document::parse(text) {
        let find = |name: &str| {
            document.descendants().find(|node| node.has_tag_name(name)).and_then(|node| node.text())
        };
        // Tag names carry CloudFormation's namespace or none: compared by their local name.
        let any = |name: &str| {
            find(name).or_else(|| {
                document
                    .descendants()
                    .find(|node| node.tag_name().name() == name)
                    .and_then(|node| node.text())
            })
        };
        return format!("{status} {} {}", any("Code").unwrap_or_default(), any("Message").unwrap_or(text));
    }
    format!("{status} {text}")
}

/// Percent-encodes a form's name or value.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn a_form_value_is_escaped() {
        assert_eq!(escape("a b&c=ü~"), "a%20b%26c%3D%C3%BC~");
    }

    #[test]
    fn a_refusal_is_read_from_json_and_from_xml() {
        assert_eq!(reason(400, r#"{"__type":"X","message":"no"}"#), "400 X no");
        let xml = r#"<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error><Code>ValidationError</Code><Message>bad</Message></Error></ErrorResponse>"#;
        assert_eq!(reason(400, xml), "400 ValidationError bad");
        assert_eq!(reason(500, "oops"), "500 oops");
    }

    /// An emulator that answers so to the first calls, and then with an empty object, and the number of calls that it got.
    async fn emulator(refused: u32, status: StatusCode, kind: &'static str) -> (Emulator, Arc<AtomicU32>) {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let answer = move || async move {
            if counted.fetch_add(1, Ordering::Relaxed) < refused {
                (status, format!(r#"{{"__type":"{kind}"}}"#))
            } else {
                (StatusCode::OK, "{}".to_owned())
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        (Emulator::new(&url), calls)
    }

    #[tokio::test]
    async fn an_emulator_that_fails_is_asked_again_and_one_that_refuses_is_not() {
        let (failing, calls) = emulator(2, StatusCode::INTERNAL_SERVER_ERROR, "InternalError").await;
        assert_eq!(failing.read("logs", "StartQuery", &json!({})).await.unwrap(), json!({}));
        assert_eq!(calls.load(Ordering::Relaxed), 3);

        let (refusing, calls) = emulator(1, StatusCode::BAD_REQUEST, "AccessDeniedException").await;
        refusing.read("logs", "StartQuery", &json!({})).await.unwrap_err();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
