use axum::Router;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::routing::any;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;

/// A fake emulator: one table with one item, and a record of the requests.
#[derive(Clone, Default)]
struct Fake {
    item: Arc<Mutex<Option<Value>>>,
    hosts: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn answer(Shared(fake): Shared<Self>, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let text = |name: &str| {
            parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let body = body.collect().await.unwrap().to_bytes();
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        if text("authorization").contains("ASIA") {
            fake.hosts.lock().unwrap().push(text("host"));
        }
        let mut item = fake.item.lock().unwrap();
        let refused = json!({"__type": "com.amazonaws#ConditionalCheckFailedException"});
        let (status, said) = match text("x-amz-target").rsplit('.').next().unwrap() {
            "DescribeTable" => (200, json!({"Table": {"KeySchema": [{"AttributeName": "pk"}]}})),
            "GetItem" if item.is_none() => (200, json!({})),
            "GetItem" => (200, json!({"Item": item.clone()})),
            "PutItem" if request["ConditionExpression"].is_string() && item.is_some() => (400, refused),
            "PutItem" => {
                *item = Some(request["Item"].clone());
                (200, json!({}))
            }
            _ => (200, json!({})),
        };
        Response::builder().status(status).body(Body::from(said.to_string())).unwrap()
    }
}

struct Fixture {
    proxy: Arc<Proxy>,
    fake: Fake,
    url: String,
    http: reqwest::Client,
}

impl Fixture {
    async fn new() -> Self {
        let fake = Fake::default();
        let router = Router::new().fallback(any(Fake::answer)).with_state(fake.clone());
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = upstream.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(upstream, router).await });
        let proxy = Arc::new(Proxy::new(&format!("http://{address}")));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(proxy.clone().serve(listener));
        Self { proxy, fake, url, http: local_stack::emulator::client() }
    }

    async fn call(&self, service: &str, target: &str, body: impl Into<reqwest::Body>) -> u16 {
        let signed =
            format!("AWS4-HMAC-SHA256 Credential=ASIAF/20260101/us-east-1/{service}/aws4_request, x");
        let request = self.http.post(format!("{}/", self.url)).header("authorization", signed);
        let request = if target.is_empty() { request } else { request.header("x-amz-target", target) };
        request.body(body).send().await.unwrap().status().as_u16()
    }

    async fn dynamodb(&self, operation: &str, request: Value) -> u16 {
        self.call("dynamodb", &format!("DynamoDB_20120810.{operation}"), request.to_string()).await
    }

    fn put(bytes: usize) -> Value {
        let item = json!({"pk": {"S": "k"}, "d": {"S": "x".repeat(bytes - 4)}});
        json!({"TableName": "t", "Item": item, "ConditionExpression": "attribute_not_exists(pk)"})
    }
}

fn count(tally: &Tally, operation: &str) -> Count {
    let of_function = |call: &Call| call.operation == operation && call.signer == "ASIAF";
    tally.calls.iter().find(|(call, _)| of_function(call)).map(|(_, count)| count.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_write_is_weighed_by_what_was_there_and_what_is_there() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.dynamodb("PutItem", Fixture::put(1500)).await, 200);
    let tally = fixture.proxy.take();
    assert_eq!(
        count(&tally, "PutItem"),
        Count {
            calls: 1,
            units: Units { writes: 2, half_reads: 0 },
            written: vec![1500],
            ..Count::default()
        }
    );
    // The looks at the item are the proxy's own, and not counted.
    assert_eq!(tally.calls.len(), 1);
    assert!(tally.unweighed.is_empty(), "{:?}", tally.unweighed);

    // Refused, and charged by the larger of the stored and the new item.
    assert_eq!(fixture.dynamodb("PutItem", Fixture::put(100)).await, 400);
    assert_eq!(count(&fixture.proxy.take(), "PutItem").units.writes, 2);
    assert_eq!(fixture.dynamodb("PutItem", Fixture::put(2500)).await, 400);
    assert_eq!(count(&fixture.proxy.take(), "PutItem").units.writes, 3);
}

#[tokio::test]
async fn a_read_is_weighed_by_the_whole_item_and_counted_when_there_is_none() {
    let fixture = Fixture::new().await;
    let read = json!({"TableName": "t", "Key": {"pk": {"S": "k"}}, "ProjectionExpression": "pk"});
    fixture.dynamodb("GetItem", read.clone()).await;
    *fixture.fake.item.lock().unwrap() = Some(json!({"pk": {"S": "k"}, "d": {"S": "x".repeat(5000)}}));
    fixture.dynamodb("GetItem", read).await;
    let units = Units { writes: 0, half_reads: 1 + 2 };
    assert_eq!(count(&fixture.proxy.take(), "GetItem"), Count { calls: 2, units, ..Count::default() });
}

#[tokio::test]
async fn the_time_in_which_the_proxy_looks_at_items_is_its_own() {
    let fixture = Fixture::new().await;
    fixture.call("kms", "TrentService.GetPublicKey", "{}").await;
    let to_pass_it_on = fixture.proxy.take().delayed.remove("ASIAF").unwrap_or_default();
    fixture.dynamodb("PutItem", Fixture::put(100)).await;
    let to_weigh_it = fixture.proxy.take().delayed.remove("ASIAF").unwrap_or_default();
    assert!(to_weigh_it > to_pass_it_on, "{to_weigh_it:?}, {to_pass_it_on:?}");
}

#[tokio::test]
async fn a_function_that_another_one_invokes_is_known_by_its_name() {
    let fixture = Fixture::new().await;
    let path = "/2015-03-31/functions/ordersaga-local-users-api%3Alive/invocations";
    let signed = "AWS4-HMAC-SHA256 Credential=ASIAF/20260101/us-east-1/lambda/aws4_request, x";
    let request = fixture.http.post(format!("{}{path}", fixture.url)).header("authorization", signed);
    request.send().await.unwrap();
    assert_eq!(fixture.proxy.take().invoked, BTreeMap::from([("users-api".to_owned(), 1)]));
}

#[tokio::test]
async fn the_host_that_was_signed_is_kept_and_an_unsigned_request_is_not_counted() {
    let fixture = Fixture::new().await;
    fixture.call("kms", "TrentService.GetPublicKey", "{}").await;
    fixture.http.get(format!("{}/_ministack/health", fixture.url)).send().await.unwrap();
    let host = fixture.url.strip_prefix("http://").unwrap();
    assert_eq!(*fixture.fake.hosts.lock().unwrap(), [host]);
    let tally = fixture.proxy.take();
    assert_eq!((tally.calls.len(), count(&tally, "GetPublicKey").calls), (1, 1));
    assert!(fixture.proxy.take().calls.is_empty());
}

#[tokio::test]
async fn messages_are_counted_with_what_filters_look_at_and_queues_by_their_kind() {
    let fixture = Fixture::new().await;
    let entry = |number: u8, kind: &str| {
        let entry = format!("PublishBatchRequestEntries.member.{number}");
        format!(
            "&{entry}.Id={number}&{entry}.Message=%7B%7D&{entry}.MessageAttributes.entry.1.Name=event_type\
             &{entry}.MessageAttributes.entry.1.Value.DataType=String\
             &{entry}.MessageAttributes.entry.1.Value.StringValue={kind}"
        )
    };
    let body = format!("Action=PublishBatch{}{}", entry(1, "order.created"), entry(2, "order.completed"));
    fixture.call("sns", "", body).await;
    let queue = |url: &str| json!({"QueueUrl": url, "MessageBody": "x".repeat(70_000)}).to_string();
    fixture.call("sqs", "AmazonSQS.SendMessage", queue("http://q/a/line.fifo")).await;
    fixture.call("sqs", "AmazonSQS.SendMessage", queue("http://q/a/plain")).await;

    let tally = fixture.proxy.take();
    assert_eq!(count(&tally, "PublishBatch").calls, 1);
    let kinds: Vec<_> =
        tally.published.iter().map(|message| message.attributes["event_type"].as_str()).collect();
    assert_eq!(kinds, ["order.created", "order.completed"]);
    // The message, and its attribute's name, type and value.
    assert_eq!(tally.published[0].bytes, 2 + 10 + 6 + 13);
    let sent = count(&tally, "SendMessage");
    assert_eq!((sent.calls, sent.sqs_fifo, sent.sqs_standard), (2, 2, 2));
}
