//! Every call that anything makes: numbered, delayed, perhaps faulty, and written to the trace.

use std::{cell::Cell, future::pending, time::Duration};

use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use futures::future::LocalBoxFuture;
use serde_json::json;
use tokio::{sync::oneshot, time::sleep};

use crate::{
    fault::{Faults, Kind},
    process,
    services::{self, Protocol},
    trace::{Trace, digest},
    world::world,
};

/// What a call takes in each direction, in milliseconds: a few within a region.
const LATENCY: std::ops::Range<u64> = 1..8;

/// What a service answers.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    /// A success with this body.
    pub fn ok(body: impl ToString) -> Self {
        Self::new(200, body)
    }

    pub fn new(status: u16, body: impl ToString) -> Self {
        Self { status, headers: Vec::new(), body: body.to_string() }
    }
}

/// Why a caller has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLost;

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// A function, a queue, the state machine, the gateway or a customer.
    pub name: String,
    /// The number of the function's instance.
    pub instance: Option<u64>,
}

/// A call to a service.
pub struct Call {
    pub protocol: Protocol,
    /// `dynamodb.PutItem`.
    pub operation: String,
    pub request: String,
    /// Whether requests and answers differ between runs with the same seed: they contain signatures.
    pub is_secret: bool,
}

pub struct Network {
    faults: Faults,
    trace: Trace,
    /// Of the last call. Calls before the first order are not numbered.
    number: Cell<Option<u64>>,
}

impl Network {
    pub fn new(faults: Faults, trace: Trace) -> Self {
        Self { faults, trace, number: Cell::new(None) }
    }

    /// Numbers all calls from here on.
    pub fn number_calls(&self) {
        self.number.set(Some(0));
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.number.get().unwrap_or_default()
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Makes a call: `effect` is what the service does.
    pub async fn call(
        &self,
        caller: &Caller,
        call: Call,
        effect: LocalBoxFuture<'_, Reply>,
    ) -> Result<Reply, ConnectionLost> {
        let under_way = world().pending();
        let number = self.number.get().map(|last| last + 1);
        self.number.set(number);
        let name = number.map_or_else(|| "-".to_owned(), |number| format!("#{number}"));
        let shown = |text: &str| if call.is_secret { "secret".to_owned() } else { digest(text) };
        self.trace.line(format_args!(
            "{name} {} calls {} {}",
            caller.name,
            call.operation,
            shown(&call.request)
        ));
        sleep(between(LATENCY)).await;
        let fault = number.and_then(|number| self.faults.of(number));
        let reply = match fault {
            Some(kind) if !kind.has_effect() => None,
            _ => Some(effect.await),
        };
        sleep(between(LATENCY)).await;
        let result = match (fault, reply) {
            (None, Some(reply)) => Ok(reply),
            (Some(Kind::Refused), _) => Ok(call.protocol.refusal(&call.operation)),
            (Some(Kind::Throttled), _) => Ok(call.protocol.throttling(&call.operation)),
            (Some(kind), _) => Err(kind),
            (None, None) => unreachable!("a call without a fault has its effect"),
        };
        match result {
            Ok(reply) => {
                self.trace.line(format_args!("{name} answers {} {}", reply.status, shown(&reply.body)));
                Ok(reply)
            }
            Err(kind) => {
                self.trace.line(format_args!("{name} is {kind}"));
                drop(under_way);
                match (kind, caller.instance) {
                    (Kind::Late, _) => pending().await,
                    (Kind::EndsBefore | Kind::EndsAfter, Some(instance)) => {
                        world().functions.end(instance);
                        pending().await
                    }
                    _ => Err(ConnectionLost),
                }
            }
        }
    }
}

/// A random time in this range of milliseconds.
pub fn between(milliseconds: std::ops::Range<u64>) -> Duration {
    let span = milliseconds.end - milliseconds.start;
    Duration::from_millis(milliseconds.start + process::next_random() % span)
}

/// The network of one instance of a function.
#[derive(Debug)]
pub struct Connector {
    function: String,
    instance: u64,
}

impl Connector {
    pub fn shared(function: String, instance: u64) -> SharedHttpConnector {
        SharedHttpConnector::new(Self { function, instance })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (send, receive) = oneshot::channel();
        let caller = Caller { name: self.function.clone(), instance: Some(self.instance) };
        // The request is on its way: the service handles it, also when the caller gives up.
        tokio::task::spawn_local(async move {
            let _ = send.send(exchange(caller, request).await);
        });
        HttpConnectorFuture::new(async move {
            receive.await.unwrap_or_else(|_| Err(ConnectorError::io("the simulation ends".into())))
        })
    }
}

async fn exchange(caller: Caller, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = services::Request::read(&request);
    let call = request.call();
    let reply = world().network.call(&caller, call, Box::pin(services::handle(request))).await;
    let reply = reply.map_err(|ConnectionLost| ConnectorError::io("the connection was reset".into()))?;
    let status = StatusCode::try_from(reply.status).expect("a status");
    let mut response = HttpResponse::new(status, SdkBody::from(reply.body));
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

impl Protocol {
    /// The answer of a service that has an internal error.
    fn refusal(self, operation: &str) -> Reply {
        match self {
            Self::Json => Reply::new(500, json!({"__type": "InternalServerError", "message": operation})),
            Self::Query => Reply::new(500, query_error("InternalError")),
            Self::Rest => Reply {
                headers: vec![("x-amzn-errortype", "ServiceException".to_owned())],
                ..Reply::new(500, json!({"Message": operation}))
            },
            Self::Stripe => Reply::new(500, json!({"error": {"type": "api_error"}})),
            Self::Http => Reply::new(500, json!({"message": "Internal Server Error"})),
        }
    }

    /// The answer of a service that gets too many requests.
    fn throttling(self, operation: &str) -> Reply {
        match self {
            Self::Json => Reply::new(400, json!({"__type": "ThrottlingException", "message": operation})),
            Self::Query => Reply::new(400, query_error("Throttled")),
            Self::Rest => Reply {
                headers: vec![("x-amzn-errortype", "TooManyRequestsException".to_owned())],
                ..Reply::new(
                    429,
                    json!({"Message": operation, "Reason": "ConcurrentInvocationLimitExceeded"}),
                )
            },
            Self::Stripe => {
                Reply::new(429, json!({"error": {"type": "invalid_request_error", "code": "rate_limit"}}))
            }
            Self::Http => Reply::new(429, json!({"message": "Too Many Requests"})),
        }
    }
}

fn query_error(code: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Receiver</Type>\
         <Code>{code}</Code><Message>simulated</Message></Error></ErrorResponse>"
    )
}
