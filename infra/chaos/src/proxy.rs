//! The proxies between the functions and the emulator and between payments and the gateway. Each call is noted in the
//! [`Ledger`], which says how it goes wrong; all others are forwarded unchanged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use local_stack::call::{Call as AwsCall, access_keys, short};
use local_stack::upstream::{self, Answer, Closed, Upstream};
use local_stack::{Emulator, process};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::error::{Error, Result};
use crate::fault::Kind;
use crate::ledger::{self, Call, Ledger};

/// Longer than any caller waits for an answer (12 s).
const LATE: Duration = Duration::from_secs(60);
/// The caller's name of calls to the gateway, which are not signed.
const PAYMENTS: &str = "payments";
const GATEWAY: &str = "stripe";

/// What the proxies know about the stack once it runs.
#[derive(Debug)]
pub struct Known {
    /// Functions by their access keys.
    names: BTreeMap<String, String>,
    /// The emulators' process groups, which the functions' processes are in.
    groups: Vec<u32>,
}

impl Known {
    /// # Errors
    /// The emulator does not list its functions.
    pub async fn read(emulator: &Emulator, groups: Vec<u32>) -> Result<Self> {
        let path = "/2015-03-31/functions/";
        let answer = emulator.get("lambda", "ListFunctions", path).await?;
        let listed: Value = serde_json::from_str(&answer).unwrap_or_default();
        let functions = listed["Functions"].as_array().into_iter().flatten();
        let names: BTreeMap<String, String> = functions
            .flat_map(|function| {
                let text = |name: &str| function[name].as_str().unwrap_or_default();
                let name = short(text("FunctionName"));
                access_keys(text("FunctionArn"), text("Role")).map(|key| (key, name.to_owned()))
            })
            .collect();
        if names.is_empty() {
            return Err(Error::Chaos("the emulator lists no functions.".to_owned()));
        }
        Ok(Self { names, groups })
    }
}

/// One of the two proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Aws,
    Gateway,
}

pub struct Proxy {
    side: Side,
    upstream: Upstream,
    address: SocketAddr,
    ledger: Arc<Ledger>,
    /// Until it is set, everything is forwarded.
    known: Arc<OnceLock<Known>>,
}

/// Both proxies, which serve until the program ends.
pub struct Proxies {
    pub functions_endpoint: String,
    pub functions_gateway: String,
    pub ledger: Arc<Ledger>,
    pub known: Arc<OnceLock<Known>>,
}

impl Proxies {
    /// Listens in front of the emulator and of the gateway at these ports of this machine.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(emulator: u16, gateway: u16) -> Result<Self> {
        let (ledger, known) = (Arc::<Ledger>::default(), Arc::<OnceLock<Known>>::default());
        let mut urls = Vec::new();
        for (side, port) in [(Side::Aws, emulator), (Side::Gateway, gateway)] {
            let cannot = |error| Error::Chaos(format!("cannot listen at 127.0.0.1: {error}"));
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(cannot)?;
            let address = listener.local_addr().map_err(cannot)?;
            let upstream = Upstream::new(&format!("http://127.0.0.1:{port}"));
            let proxy =
                Arc::new(Proxy { side, upstream, address, ledger: ledger.clone(), known: known.clone() });
            urls.push(format!("http://{address}"));
            tokio::spawn(upstream::serve(listener, move |parts, body| {
                let proxy = proxy.clone();
                async move { proxy.handle(parts, body).await }
            }));
        }
        let (functions_gateway, functions_endpoint) =
            (urls.pop().unwrap_or_default(), urls.pop().unwrap_or_default());
        Ok(Self { functions_endpoint, functions_gateway, ledger, known })
    }
}

impl Proxy {
    async fn handle(&self, parts: Parts, body: Bytes) -> std::result::Result<Answer, Closed> {
        let Some(known) = self.known.get() else { return self.upstream.try_ask(&parts, body).await };
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let is_form = header("content-type").is_some_and(|kind| kind.contains("x-www-form-urlencoded"));
        let key = header("idempotency-key").unwrap_or_default();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let text = ledger::text(path, key, is_form, &body);
        let trace = header("x-amzn-trace-id");
        let (caller, service, operation) = match self.side {
            Side::Gateway => (PAYMENTS.to_owned(), GATEWAY.to_owned(), gateway_operation(&parts)),
            Side::Aws => {
                // Calls of others than functions are no part of an order.
                let Some(AwsCall { signer, service, operation }) = AwsCall::of(&parts, &body) else {
                    return self.upstream.try_ask(&parts, body).await;
                };
                let Some(caller) = known.names.get(&signer) else {
                    return self.upstream.try_ask(&parts, body).await;
                };
                (caller.clone(), service, operation)
            }
        };
        let (caller, service, operation) = (caller.as_str(), service.as_str(), operation.as_str());
        let call = Call { caller, service, operation, text: &text, trace };
        let kind = self.ledger.note(&call);
        let answer = match kind {
            Some(kind) if !kind.has_effect() => None,
            _ => Some(self.upstream.try_ask(&parts, body).await),
        };
        if let (Side::Gateway, Some(Ok(answer))) = (self.side, &answer)
            && let Some(intent) = intent_of(answer)
        {
            self.ledger.note_intent(&call, &intent);
        }
        match (kind, answer) {
            (None, Some(answer)) => answer,
            (Some(Kind::Refused), _) => Ok(refusal(service, operation)),
            (Some(Kind::Throttled), _) => Ok(throttling(service, operation)),
            (Some(Kind::Late), _) => {
                tokio::time::sleep(LATE).await;
                Err(Closed)
            }
            (Some(Kind::EndsBefore | Kind::EndsAfter), _) => {
                if let Some(caller) = parts.extensions.get::<SocketAddr>() {
                    process::end_caller(*caller, self.address, &known.groups);
                }
                Err(Closed)
            }
            _ => Err(Closed),
        }
    }
}

/// Method and path without version and ids: `POST-payment_intents-confirm`.
fn gateway_operation(parts: &Parts) -> String {
    let path = parts.uri.path().split('/').filter(|part| !part.is_empty() && *part != "v1");
    let named = path.filter(|part| !["pi_", "re_", "ch_", "pm_"].iter().any(|kind| part.starts_with(kind)));
    let named: Vec<&str> = std::iter::once(parts.method.as_str()).chain(named).collect();
    named.join("-")
}

/// The payment intent that the gateway answers with.
fn intent_of(answer: &Answer) -> Option<String> {
    let object: Value = serde_json::from_slice(&answer.body).ok()?;
    let is_intent = object["object"] == "payment_intent";
    object["id"].as_str().filter(|_| is_intent).map(str::to_owned)
}

/// How services answer when they fail; by the protocol of each.
enum Protocol {
    /// AWS JSON.
    Json,
    /// AWS query.
    Query,
    /// AWS REST JSON.
    Rest,
    Stripe,
}

impl Protocol {
    fn of(service: &str) -> Self {
        match service {
            "sns" => Self::Query,
            "lambda" | "ses" | "execute-api" | "scheduler" => Self::Rest,
            GATEWAY => Self::Stripe,
            _ => Self::Json,
        }
    }
}

fn refusal(service: &str, operation: &str) -> Answer {
    match Protocol::of(service) {
        Protocol::Json => json_answer(500, &json!({"__type": "InternalServerError", "message": operation})),
        Protocol::Query => query_answer(500, "InternalError", operation),
        Protocol::Rest => rest_answer(500, "ServiceException", operation),
        Protocol::Stripe => json_answer(500, &json!({"error": {"type": "api_error", "message": operation}})),
    }
}

fn throttling(service: &str, operation: &str) -> Answer {
    match Protocol::of(service) {
        Protocol::Json => json_answer(400, &json!({"__type": "ThrottlingException", "message": operation})),
        Protocol::Query => query_answer(400, "Throttled", operation),
        Protocol::Rest => rest_answer(429, "TooManyRequestsException", operation),
        Protocol::Stripe => {
            let error = json!({"type": "invalid_request_error", "code": "rate_limit", "message": operation});
            json_answer(429, &json!({"error": error}))
        }
    }
}

fn rest_answer(status: u16, error: &'static str, operation: &str) -> Answer {
    let mut answer = json_answer(status, &json!({"message": operation}));
    answer.headers.insert(HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(error));
    answer
}

fn json_answer(status: u16, body: &Value) -> Answer {
    answer(status, "application/json", body.to_string())
}

fn query_answer(status: u16, code: &str, operation: &str) -> Answer {
    let body = format!(
        "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Receiver</Type>\
         <Code>{code}</Code><Message>{operation}</Message></Error></ErrorResponse>"
    );
    answer(status, "text/xml", body)
}

fn answer(status: u16, content_type: &'static str, body: String) -> Answer {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    // The statuses above are valid.
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Answer { status, headers, body: body.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const ORDER: &str = "ord_00000000000000000000000000000001";

    /// A proxy in front of a service that counts its calls, with one order whose first call goes wrong.
    async fn proxied(kind: &str) -> (String, Arc<Mutex<u32>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = listener.local_addr().unwrap().port();
        let calls = Arc::new(Mutex::new(0));
        let counted = calls.clone();
        tokio::spawn(upstream::serve(listener, move |_, _| {
            *counted.lock().unwrap() += 1;
            async { Ok(json_answer(200, &json!({"object": "payment_intent", "id": "pi_1"}))) }
        }));
        let proxies = Proxies::start(service, service).await.unwrap();
        let lane = proxies.ledger.add_lane(&[]);
        let fault = format!("payments.stripe.POST-payment_intents.1:{kind}").parse().unwrap();
        proxies.ledger.begin(lane, ORDER, Some(fault));
        proxies.known.set(Known { names: BTreeMap::new(), groups: Vec::new() }).unwrap();
        (proxies.functions_gateway, calls)
    }

    async fn call(gateway: &str) -> std::result::Result<u16, reqwest::Error> {
        let request = reqwest::Client::new().post(format!("{gateway}/v1/payment_intents"));
        let request = request.header("idempotency-key", format!("{ORDER}.create.1"));
        Ok(request.timeout(Duration::from_secs(2)).send().await?.status().as_u16())
    }

    #[tokio::test]
    async fn a_fault_without_effect_does_not_reach_the_service() {
        for (kind, expected) in [("refused", Some(500)), ("throttled", Some(429)), ("reset", None)] {
            let (gateway, calls) = proxied(kind).await;
            assert_eq!(call(&gateway).await.ok(), expected, "{kind}");
            assert_eq!(*calls.lock().unwrap(), 0, "{kind}");
            assert_eq!(call(&gateway).await.ok(), Some(200), "{kind} strikes once");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_lost_or_late_leaves_its_effect() {
        for kind in ["lost", "late"] {
            let (gateway, calls) = proxied(kind).await;
            assert!(call(&gateway).await.is_err(), "{kind}");
            assert_eq!(*calls.lock().unwrap(), 1, "{kind}");
        }
    }

    #[test]
    fn an_operation_of_the_gateway_is_its_method_and_path() {
        let operation =
            |path: &str| gateway_operation(&http::Request::post(path).body(()).unwrap().into_parts().0);
        assert_eq!(operation("/v1/payment_intents"), "POST-payment_intents");
        assert_eq!(operation("/v1/payment_intents/pi_1/confirm"), "POST-payment_intents-confirm");
    }
}
