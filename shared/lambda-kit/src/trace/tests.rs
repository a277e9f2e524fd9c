use std::{
    net::UdpSocket,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_smithy_runtime_api::client::{http::HttpConnector, orchestrator::HttpRequest};
use aws_smithy_types::body::SdkBody;
use axum::{Router, body::Body, http::Request, routing::get};
use contracts::{
    Envelope,
    saga::{OrderCommand, TRANSIENT},
};
use serde_json::{Value, json};
use tower::ServiceExt;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::header};

use super::*;
use crate::{
    command::{self, CommandError},
    connector::connector,
    dynamodb,
    http::app,
    testing,
};

const TRACEPARENT: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

/// The daemon of this process, and what it has received.
static DAEMON: LazyLock<(UdpSocket, Mutex<Vec<Value>>)> = LazyLock::new(|| {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    document::start_with("shop-api", Some(&socket.local_addr().unwrap().to_string()), 100);
    (socket, Mutex::default())
});

/// This many documents of a trace, in the order of their ends.
pub fn documents(trace_id: &str, count: usize) -> Vec<Value> {
    let (socket, received) = &*DAEMON;
    let until = Instant::now() + Duration::from_secs(10);
    let mut buffer = vec![0; 65_536];
    loop {
        let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(length) = socket.recv(&mut buffer) {
            let datagram = str::from_utf8(&buffer[..length]).unwrap();
            let (header, document) = datagram.split_once('\n').unwrap();
            assert_eq!(header, r#"{"format": "json", "version": 1}"#);
            received.push(serde_json::from_str(document).unwrap());
        }
        let ours = received.iter().filter(|document| document["trace_id"] == trace_id);
        let ours: Vec<Value> = ours.cloned().collect();
        if ours.len() >= count {
            return ours;
        }
        assert!(Instant::now() < until, "{count} documents of {trace_id}: {ours:?}");
    }
}

/// A trace of a test's own.
pub fn sampled() -> Span {
    LazyLock::force(&DAEMON);
    Span::root()
}

#[test]
fn a_traceparent_names_a_span_and_says_whether_it_was_sampled() {
    let (span, is_sampled) = parse_traceparent(TRACEPARENT).unwrap();
    assert!(is_sampled);
    assert_eq!(span.traceparent(), TRACEPARENT);
    assert_eq!(span.trace_id(), "1-5759e988-bd862e3fe1be46a994272793");
    let with_flags = |flags: &str| TRACEPARENT.replace("-01", flags);
    assert!(!parse_traceparent(&with_flags("-00")).unwrap().1);
    assert!(parse_traceparent(&with_flags("-03")).unwrap().1, "other flags are ignored");
    let later = TRACEPARENT.replacen("00", "01", 1) + "-more";
    assert!(parse_traceparent(&later).is_some(), "a later version may have more fields");
}

#[test]
fn what_is_no_traceparent_names_no_span() {
    for broken in [
        "",
        "00",
        "ff-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        "0-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01-more",
        "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8",
        "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-1",
        "00-00000000000000000000000000000000-53995c3f42cd8ad8-01",
        "00-5759e988bd862e3fe1be46a994272793-0000000000000000-01",
        "00-5759e988bd862e3fe1be46a99427279-53995c3f42cd8ad8-01",
        "00-+759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
    ] {
        assert_eq!(parse_traceparent(broken), None, "{broken}");
    }
}

#[test]
fn the_header_of_x_ray_names_a_span_of_a_sampled_trace() {
    let span = Span::of_xray(XRAY).unwrap();
    assert_eq!(span.xray_header(), XRAY);
    assert_eq!(span.traceparent(), TRACEPARENT);
    assert_eq!(Span::of_xray(&format!("Self=1-x; {XRAY};Lineage=1:a:0")), Some(span));
    for other in [
        "",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
        "Root=1-5759e98-8bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "Root=5759e988bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    ] {
        assert_eq!(Span::of_xray(other), None, "{other}");
    }
}

#[tokio::test]
async fn a_span_joins_the_trace_that_was_sampled() {
    assert_eq!(Span::join(None), None);
    assert_eq!(Span::join(Some(&TRACEPARENT.replace("-01", "-00"))), None);
    let joined = Span::join(Some(TRACEPARENT)).unwrap();
    assert_eq!((joined.parent, joined.is_subsegment), (Some(0x5399_5c3f_42cd_8ad8), false));

    let lambdas = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=00000000000000aa;Sampled=1";
    in_invocation(Some(lambdas), async {
        for traceparent in [None, Some(TRACEPARENT), Some("broken")] {
            let span = Span::join(traceparent).unwrap();
            assert_eq!((span.parent, span.is_subsegment), (Some(0xaa), true), "{traceparent:?}");
        }
        let other = Span::join(Some(&Span::root().traceparent())).unwrap();
        assert!(!other.is_subsegment && other.trace != joined.trace, "the message's own trace");
    })
    .await;
}

#[tokio::test]
async fn an_operation_and_its_calls_are_sent_as_a_tree() {
    let server = MockServer::start().await;
    for (target, status) in [("GetItem", 200), ("PutItem", 400), ("Query", 503)] {
        let is_asked = header("x-amz-target", format!("DynamoDB_20120810.{target}").as_str());
        Mock::given(is_asked).respond_with(ResponseTemplate::new(status)).mount(&server).await;
    }
    let connector = connector(Duration::from_secs(5));
    let root = sampled();
    let work = async {
        for operation in ["GetItem", "PutItem", "Query"] {
            let mut request = signed("dynamodb", &server.uri());
            request.headers_mut().insert("x-amz-target", format!("DynamoDB_20120810.{operation}"));
            connector.call(request).await.unwrap();
        }
    };
    in_span("order.created", Some(root), work, |()| false).await;

    let documents = documents(&root.trace_id(), 4);
    let field = |name: &str| documents.iter().map(|document| document[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("name"), ["dynamodb", "dynamodb", "dynamodb", "shop-api"]);
    assert_eq!(field("type"), [json!("subsegment"), json!("subsegment"), json!("subsegment"), Value::Null]);
    let id = format!("{:016x}", root.id);
    assert_eq!(field("parent_id"), [json!(id), json!(id), json!(id), Value::Null]);
    assert_eq!(field("fault"), [false, false, true, false]);
    assert_eq!(field("error"), [json!(false), json!(true), json!(false), Value::Null]);
    assert_eq!(documents[0]["aws"]["operation"], "GetItem");
    assert_eq!(documents[1]["http"]["response"]["status"], 400);
    assert_eq!(documents[3]["annotations"]["operation"], "order.created");
    for document in &documents {
        assert!(document["start_time"].as_f64() <= document["end_time"].as_f64(), "{document}");
    }
}

fn signed(service: &str, url: &str) -> HttpRequest {
    let mut request = HttpRequest::new(SdkBody::empty());
    request.set_uri(url).unwrap();
    let credential =
        format!("AWS4-HMAC-SHA256 Credential=AKIA/20261130/eu-central-1/{service}/aws4_request, x");
    request.headers_mut().insert("authorization", credential);
    request
}

#[derive(Debug, thiserror::Error)]
#[error("try again")]
struct Failed;

impl CommandError for Failed {
    fn name(&self) -> &'static str {
        TRANSIENT
    }
}

#[tokio::test]
async fn a_command_of_the_saga_is_below_the_span_that_it_names() {
    let root = sampled();
    let command = json!({
        "action": "AbortOrder", "order_id": format!("ord_{:032x}", 1), "correlation_id": "cor",
        "traceparent": root.traceparent(),
    });
    let command: OrderCommand = serde_json::from_value(command).unwrap();
    assert!(command::execute(command, async |_| Err::<(), _>(Failed)).await.is_err());
    let [document] = &documents(&root.trace_id(), 1)[..] else { panic!("one command") };
    assert_eq!(document["annotations"]["operation"], "AbortOrder");
    assert_eq!(
        (&document["parent_id"], &document["fault"]),
        (&json!(format!("{:016x}", root.id)), &json!(true))
    );
}

#[tokio::test]
async fn a_call_of_aws_brings_the_trace_and_keeps_the_lineage() {
    let root = sampled();
    CURRENT
        .scope(Some(root), async {
            let mut request = signed("lambda", "http://127.0.0.1/");
            request.headers_mut().insert(XRAY_HEADER, "Root=1-a;Parent=b;Sampled=0;Lineage=1:c:0");
            drop(call::call(&mut request));
            let header = request.headers().get(XRAY_HEADER).unwrap().to_owned();
            let [document] = &documents(&root.trace_id(), 1)[..] else { panic!("one call") };
            let id = document["id"].as_str().unwrap();
            assert_eq!(header, format!("Root={};Parent={id};Sampled=1;Lineage=1:c:0", root.trace_id()));
            assert_eq!(document["fault"], true, "it was given up");
        })
        .await;
}

#[tokio::test]
async fn a_call_of_another_company_brings_nothing() {
    let root = sampled();
    CURRENT
        .scope(Some(root), async {
            let mut request = HttpRequest::new(SdkBody::empty());
            request.set_uri("https://api.stripe.com/v1/payment_intents?key=secret").unwrap();
            call::call(&mut request).unwrap().answered(200);
            assert!(request.headers().iter().next().is_none());
        })
        .await;
    let [document] = &documents(&root.trace_id(), 1)[..] else { panic!("one call") };
    assert_eq!(
        (document["name"].as_str(), document["namespace"].as_str()),
        (Some("api.stripe.com"), Some("remote"))
    );
    assert_eq!(document["http"]["request"]["url"], "https://api.stripe.com/v1/payment_intents");
}

#[test]
fn outside_a_sampled_trace_no_call_has_a_span() {
    let mut request = signed("dynamodb", "http://127.0.0.1/");
    assert!(call::call(&mut request).is_none());
    assert!(request.headers().get(XRAY_HEADER).is_none());
}

#[test]
fn the_operation_of_a_query_api_is_in_the_body() {
    let mut request = HttpRequest::new(SdkBody::from("Action=PublishBatch&Version=2010-03-31"));
    assert_eq!(call::operation(&request), "PublishBatch");
    request.set_method("POST").unwrap();
    *request.body_mut() = SdkBody::from("{}");
    assert_eq!(call::operation(&request), "POST");
}

#[tokio::test]
async fn a_request_begins_a_trace_or_continues_the_clients() {
    LazyLock::force(&DAEMON);
    let tokens = testing::Tokens::new();
    let handler = async || current().map(|span| span.trace_id()).unwrap_or_default();
    let app = app(Router::new().route("/v1/orders/{id}", get(handler)), tokens.verifier());
    let ask = async |traceparent: Option<String>| {
        let mut request = Request::get("/v1/orders/1").body(Body::empty()).unwrap();
        if let Some(traceparent) = traceparent {
            request.headers_mut().insert("traceparent", traceparent.parse().unwrap());
        }
        let response = app.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let trace = ask(None).await;
    let [document] = &documents(&trace, 1)[..] else { panic!("one request") };
    assert_eq!(document["annotations"]["operation"], "GET /v1/orders/{id}");
    assert_eq!(document["parent_id"], Value::Null);

    let clients = Span::root();
    assert_eq!(ask(Some(clients.traceparent().replace("-01", "-00"))).await, clients.trace_id());
    let [document] = &documents(&clients.trace_id(), 1)[..] else { panic!("one request") };
    assert_eq!(document["parent_id"], format!("{:016x}", clients.id));
}

#[tokio::test]
async fn an_event_that_is_stored_in_a_sampled_trace_names_the_span() {
    let events = [testing::event("ord_1", "order.created", 1)];
    let stored = || {
        let outbox = dynamodb::outbox(&events).unwrap();
        let body = outbox.as_l().unwrap()[0].as_s().unwrap().clone();
        serde_json::from_str::<Envelope>(&body).unwrap()
    };
    assert_eq!(stored(), events[0]);
    let span = Span::root();
    let traced = CURRENT.scope(Some(span), async { stored() }).await;
    assert_eq!(traced, Envelope { traceparent: Some(span.traceparent()), ..events[0].clone() });
}
