//! Every call that anything makes: numbered, delayed, perhaps faulty, and written to the trace.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    time::Duration,
};

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
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{
    fault::{By, Called, Faults, Kind},
    process,
    services::{self, Protocol},
    trace::{Trace, digest},
    world::world,
};

/// What a call takes in each direction, in milliseconds: a few within a region.
const LATENCY: std::ops::Range<u64> = 1..8;
/// When a request that is held up reaches its service, in milliseconds. A signature of AWS is valid for five minutes.
pub const DELAY: std::ops::Range<u64> = 1_000..290_000;
/// What lies between two deliveries of a request, in milliseconds.
const REPEAT: std::ops::Range<u64> = 0..200;

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

/// How much of a request its service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    All,
    /// Of a batch, only some items.
    Part,
}

/// What a service does with a request that reaches it.
pub type Effect = LocalBoxFuture<'static, Reply>;

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
    /// In which ways each numbered call goes wrong.
    kinds: RefCell<Vec<Vec<Kind>>>,
    hits: RefCell<Vec<Hit>>,
}

/// A call that went wrong.
#[derive(Debug, Clone)]
pub struct Hit {
    pub caller: String,
    pub request: String,
    pub kind: Kind,
    pub at: Instant,
}

impl Network {
    pub fn new(faults: Faults, trace: Trace) -> Self {
        Self { faults, trace, number: Cell::new(None), kinds: RefCell::default(), hits: RefCell::default() }
    }

    /// Numbers all calls from here on.
    pub fn number_calls(&self) {
        self.number.set(Some(0));
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.number.get().unwrap_or_default()
    }

    /// In which ways each call goes wrong, in their order.
    pub fn kinds(&self) -> Vec<Vec<Kind>> {
        self.kinds.borrow().clone()
    }

    /// The calls that went wrong, in their order.
    pub fn hits(&self) -> Vec<Hit> {
        self.hits.borrow().clone()
    }

    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Makes a call: `effect` is what the service does, each time that the request reaches it.
    pub async fn call(
        &self,
        caller: &Caller,
        call: Call,
        effect: impl Fn(Extent) -> Effect,
    ) -> Result<Reply, ConnectionLost> {
        let under_way = world().pending();
        let number = self.number.get().map(|last| last + 1);
        self.number.set(number);
        let name = number.map_or_else(|| "-".to_owned(), |number| format!("#{number}"));
        let shown = |text: &str| if call.is_secret { "secret".to_owned() } else { digest(text) };
        if self.trace.is_on() {
            let request = shown(&call.request);
            self.trace.line(format_args!("{name} {} calls {} {request}", caller.name, call.operation));
        }
        sleep(between(LATENCY)).await;
        let fault = number.and_then(|number| self.fault(number, caller, &call));
        if let Some(kind) = fault {
            let (caller, request) = (caller.name.clone(), call.request.clone());
            self.hits.borrow_mut().push(Hit { caller, request, kind, at: Instant::now() });
        }
        let reply = match fault {
            None | Some(Kind::Lost | Kind::Late | Kind::EndsAfter) => Some(effect(Extent::All).await),
            Some(Kind::Partial) => Some(effect(Extent::Part).await),
            Some(Kind::Twice) => {
                under_way_alone(Duration::ZERO, effect(Extent::All));
                sleep(between(REPEAT)).await;
                Some(effect(Extent::All).await)
            }
            Some(Kind::Delayed) => {
                under_way_alone(between(DELAY), effect(Extent::All));
                None
            }
            Some(Kind::Refused) => Some(call.protocol.refusal(&call.operation)),
            Some(Kind::Throttled) => Some(call.protocol.throttling(&call.operation)),
            Some(Kind::Reset | Kind::Down | Kind::EndsBefore) => None,
        };
        sleep(between(LATENCY)).await;
        if let Some(kind) = fault {
            self.trace.line(format_args!("{name} is {kind}"));
        }
        match (fault, reply, caller.instance) {
            (None | Some(Kind::Partial | Kind::Twice | Kind::Refused | Kind::Throttled), Some(reply), _) => {
                if self.trace.is_on() {
                    let answer = shown(&reply.body);
                    self.trace.line(format_args!("{name} answers {} {answer}", reply.status));
                }
                Ok(reply)
            }
            (Some(Kind::Late), ..) => {
                drop(under_way);
                pending().await
            }
            (Some(Kind::EndsBefore | Kind::EndsAfter), _, Some(instance)) => {
                drop(under_way);
                world().functions.end(instance);
                pending().await
            }
            _ => Err(ConnectionLost),
        }
    }

    /// How this call goes wrong, if it does.
    fn fault(&self, number: u64, caller: &Caller, call: &Call) -> Option<Kind> {
        let by = match caller.instance {
            Some(_) => By::Function,
            None if caller.name.starts_with("saga ") => By::StateMachine,
            None => By::Outside,
        };
        let called = Called { operation: &call.operation, by };
        self.kinds.borrow_mut().push(called.kinds());
        self.faults.of(number, called)
    }
}

/// Lets a request have its effect after a time, when no caller waits for it.
fn under_way_alone(after: Duration, effect: Effect) {
    tokio::task::spawn_local(async move {
        let _pending = world().pending();
        sleep(after).await;
        effect.await;
    });
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
        // The request is on its way: the service handles it, also when the caller gives up. The caller may be a task that a
        // function has spawned, and such a task cannot spawn local ones.
        world().tasks.spawn_local(async move {
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
    let effect = |extent| -> Effect {
        match extent {
            Extent::All => Box::pin(services::handle(request.clone())),
            Extent::Part => Box::pin(services::handle_part(request.clone())),
        }
    };
    let reply = world().network.call(&caller, call, effect).await;
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
    pub fn throttling(self, operation: &str) -> Reply {
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
