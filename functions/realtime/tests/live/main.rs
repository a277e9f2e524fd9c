//! The frames that connections get: the WebSocket's function, the queue and the consumer together, with a
//! real table. A web server stands in for API Gateway and SQS, since only the requests to them matter.

mod admission;
mod delivery;
mod failures;
mod subscriptions;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};
use std::time::Duration;

use aws_lambda_events::sqs::SqsMessage;
use contracts::{EventId, IdempotencyKey, OrderId, SessionId, UserId};
use lambda_kit::{
    dynamodb::{Item, Table, key},
    limits::PUSH_ATTEMPTS,
    testing::{self, Faults},
};
use realtime::{Consumer, OrderQueue, Pusher, Socket, Store};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockBuilder, MockServer, Request, ResponseTemplate,
    matchers::{method, path, path_regex},
};

const NOW: i64 = 1_800_000_000;
const HOUR: i64 = 3600;

/// The number of messages of a batch that failed.
#[derive(Debug, PartialEq, Eq)]
struct Failed(usize);

struct Fixture {
    gateway: MockServer,
    socket: Socket,
    consumer: Consumer,
    table: Table,
    faults: Faults,
}

impl Fixture {
    /// Posts to connections whose id starts with `gone` are answered with 410.
    async fn open() -> Self {
        let gateway = MockServer::start().await;
        let (table, faults) = testing::table(&[]).await;
        let (sdk, _) = testing::sdk_config(&gateway.uri());
        let gone = ResponseTemplate::new(410).insert_header("x-amzn-errortype", "GoneException");
        let taken = json!({"MessageId": "1", "MD5OfMessageBody": "", "SequenceNumber": "1"});
        let answers = [
            (path_regex("^/live/@connections/gone.*"), gone),
            (path_regex("^/live/@connections/.*"), ResponseTemplate::new(200)),
            (path_regex("^/$"), ResponseTemplate::new(200).set_body_json(taken)),
        ];
        for (path, answer) in answers {
            // Last, so that a test can put a fault before it.
            Mock::given(path).respond_with(answer).with_priority(9).mount(&gateway).await;
        }
        let store = Store::new(table.clone());
        let pusher = Pusher::new(&sdk, format!("{}/live", gateway.uri()));
        let queue = OrderQueue::new(aws_sdk_sqs::Client::new(&sdk), format!("{}/queue", gateway.uri()));
        Self {
            socket: Socket::new(store.clone(), queue, pusher.clone()),
            consumer: Consumer::new(store, pusher),
            gateway,
            table,
            faults,
        }
    }

    async fn connect(&self, connection: &str, user: &UserId) {
        assert_eq!(self.try_connect(connection, user).await, 200);
    }

    async fn try_connect(&self, connection: &str, user: &UserId) -> u16 {
        self.try_connect_in(connection, user, &SessionId::generate()).await
    }

    /// The answer to a connection with a ticket of this session.
    async fn try_connect_in(&self, connection: &str, user: &UserId, session: &SessionId) -> u16 {
        self.try_connect_as(connection, &identity(user, session, false), NOW).await
    }

    async fn try_connect_as(&self, connection: &str, identity: &Value, now: i64) -> u16 {
        let context = json!({
            "eventType": "CONNECT", "connectionId": connection, "requestId": "r", "authorizer": identity,
        });
        let payload = json!({"requestContext": context}).to_string();
        self.socket.handle(&payload, now).await.unwrap().status_code
    }

    /// Requests of this method for a connection fail, always or the next few times.
    async fn fail(&self, verb: &str, connection: &str, times: Option<u64>) {
        let mock = requests(verb, connection).respond_with(ResponseTemplate::new(500)).with_priority(1);
        match times {
            Some(times) => mock.up_to_n_times(times).mount(&self.gateway).await,
            None => mock.mount(&self.gateway).await,
        }
    }

    /// After this number of posts to a connection, those of one further frame fail.
    async fn fail_post_after(&self, connection: &str, posts: u64) {
        let taken = requests("POST", connection).respond_with(ResponseTemplate::new(200)).with_priority(1);
        taken.up_to_n_times(posts).mount(&self.gateway).await;
        let failed = requests("POST", connection).respond_with(ResponseTemplate::new(500)).with_priority(2);
        failed.up_to_n_times(PUSH_ATTEMPTS.into()).mount(&self.gateway).await;
    }

    /// The next post to a connection gets no answer.
    async fn hang_post(&self, connection: &str) {
        let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(60));
        requests("POST", connection)
            .respond_with(late)
            .with_priority(1)
            .up_to_n_times(1)
            .mount(&self.gateway)
            .await;
    }

    /// The next `times` posts to a connection fail, and as often it cannot be closed.
    async fn fail_post_and_close(&self, connection: &str, times: u64) {
        for verb in ["POST", "DELETE"] {
            self.fail(verb, connection, Some(times)).await;
        }
    }

    /// Returns a counter: that many posts to the connection are throttled, as by API Gateway's limit of an account.
    async fn throttle(&self, connection: &str) -> Arc<AtomicU64> {
        let left = Arc::new(AtomicU64::new(0));
        let throttled = Arc::clone(&left);
        let answer = move |_: &Request| {
            let is_throttled = throttled.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            let code = if is_throttled { 429 } else { 200 };
            ResponseTemplate::new(code).insert_header("x-amzn-errortype", "LimitExceededException")
        };
        requests("POST", connection).respond_with(answer).with_priority(1).mount(&self.gateway).await;
        left
    }

    /// The connections that were closed, in order of their names.
    async fn closed(&self) -> Vec<String> {
        let requests = self.gateway.received_requests().await.unwrap();
        let closed = requests.iter().filter(|request| request.method == "DELETE");
        let mut names: Vec<String> =
            closed.filter_map(|request| request.url.path().rsplit('/').next().map(str::to_owned)).collect();
        names.sort();
        names.dedup();
        names
    }

    async fn disconnect(&self, connection: &str) {
        self.invoke("DISCONNECT", connection, NOW, &json!({}), None).await;
    }

    /// Sends a client's frame, and delivers the commands that it queues.
    async fn send(&self, connection: &str, frame: &Value) {
        let before = self.queued_commands().await.len();
        self.invoke("MESSAGE", connection, NOW, &json!({}), Some(frame.to_string())).await;
        for command in self.queued_commands().await.split_off(before) {
            self.deliver(&[command], NOW).await.unwrap();
        }
    }

    async fn subscribe(&self, connection: &str, order: &OrderId, after: Option<u64>) {
        self.send(connection, &json!({"action": "subscribe", "order_id": order, "after": after})).await;
    }

    /// Sends a subscription, and leaves its command in the queue.
    async fn invoke_subscribe(&self, connection: &str, order: &OrderId, after: Option<u64>) {
        let frame = json!({"action": "subscribe", "order_id": order, "after": after}).to_string();
        self.invoke("MESSAGE", connection, NOW, &json!({}), Some(frame)).await;
    }

    /// Connects the user with each of these connections, and subscribes them to the order.
    async fn follow(&self, connections: &[&str], user: &UserId, order: &OrderId) {
        for connection in connections {
            self.connect(connection, user).await;
            self.subscribe(connection, order, None).await;
        }
    }

    async fn invoke(&self, event: &str, connection: &str, now: i64, more: &Value, body: Option<String>) {
        let mut context = json!({"eventType": event, "connectionId": connection, "requestId": "r"});
        context.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let payload = json!({"requestContext": context, "body": body, "isBase64Encoded": false});
        let answer = self.socket.handle(&payload.to_string(), now).await.unwrap();
        assert_eq!(answer.status_code, 200);
    }

    async fn event(&self, event: &Value) -> Result<(), Failed> {
        self.event_at(event, NOW).await
    }

    async fn event_at(&self, event: &Value, now: i64) -> Result<(), Failed> {
        self.deliver(&[event.to_string()], now).await
    }

    /// Hands these messages of one order to the consumer, in one batch.
    async fn deliver(&self, bodies: &[String], now: i64) -> Result<(), Failed> {
        let messages = bodies.iter().map(|body| message(body)).collect();
        let failed = self.consumer.handle_all(messages, now).await.batch_item_failures;
        if failed.is_empty() { Ok(()) } else { Err(Failed(failed.len())) }
    }

    /// The frames posted to a connection, in short: `o3` is an order frame of version 3, `p1` a payment
    /// frame, `-2` a gap.
    async fn seen(&self, connection: &str) -> String {
        let path = format!("/live/@connections/{connection}");
        let requests = self.gateway.received_requests().await.unwrap();
        let posts = requests.iter().filter(|r| r.method == "POST" && r.url.path() == path);
        posts.map(|post| short(&serde_json::from_slice(&post.body).unwrap())).collect::<Vec<_>>().join(" ")
    }

    /// The bodies of all messages that were put into the queue.
    async fn queued_commands(&self) -> Vec<String> {
        let requests = self.gateway.received_requests().await.unwrap();
        let sent = requests.iter().filter(|request| request.url.path() == "/");
        sent.map(|request| {
            let send: Value = serde_json::from_slice(&request.body).unwrap();
            let body = send["MessageBody"].as_str().unwrap();
            let command: Value = serde_json::from_str(body).unwrap();
            assert_eq!(
                send["MessageGroupId"], command["order_id"],
                "a command is in its order's message group"
            );
            body.to_owned()
        })
        .collect()
    }

    /// The item of an order's frames.
    async fn buffer(&self, order: &OrderId) -> Item {
        let key = key(format!("ORDER#{order}"), "BUFFER");
        self.table.get_item("a buffer", key).await.unwrap().unwrap()
    }

    /// The sort keys of all items but the buffers and the users' places.
    async fn items(&self) -> Vec<String> {
        let items =
            self.table.client.scan().table_name(&self.table.name).send().await.unwrap().items.unwrap();
        let mut keys: Vec<String> = items.iter().map(|item| item["sk"].as_s().unwrap().clone()).collect();
        keys.retain(|key| key != "BUFFER" && key != "PLACES");
        keys.sort();
        keys
    }
}

fn short(frame: &Value) -> String {
    match frame["type"].as_str().unwrap() {
        "order" => format!("o{}", frame["version"]),
        "payment" => format!("p{}", frame["sequence"]),
        "shipment" => format!("s{}", frame["sequence"]),
        "gap" => format!("-{}", frame["dropped"]),
        "error" => frame["code"].as_str().unwrap().to_owned(),
        other => other.to_owned(),
    }
}

/// What the authorizer says of a connection.
fn identity(user: &UserId, session: &SessionId, admin: bool) -> Value {
    json!({"user_id": user, "session_id": session, "admin": admin.to_string()})
}

/// The requests of this method for a connection.
fn requests(verb: &str, connection: &str) -> MockBuilder {
    Mock::given(method(verb)).and(path(format!("/live/@connections/{connection}")))
}

fn message(body: &str) -> SqsMessage {
    serde_json::from_value(json!({"messageId": "m", "body": body, "attributes": {}})).unwrap()
}

fn order_of(user: &UserId, key: &str) -> OrderId {
    OrderId::derive(user, &IdempotencyKey::try_from(key).unwrap())
}

fn envelope(event_type: &str, source: &str, order: &OrderId, user: &UserId, sequence: u64) -> Value {
    json!({
        "event_id": EventId::derive(source, order.as_str(), sequence), "event_type": event_type, "event_version": 1,
        "occurred_at": "2027-01-15T07:59:00Z", "source": source, "subject": order, "sequence": sequence,
        "correlation_id": "c", "causation_id": "c", "data": {}, "metadata": {"user_id": user, "tenant_id": null}
    })
}

fn ordered(order: &OrderId, user: &UserId, version: u64) -> Value {
    envelope(
        if version == 1 { "order.created" } else { "order.payment_pending" },
        "orders",
        order,
        user,
        version,
    )
}

fn paid(order: &OrderId, user: &UserId, sequence: u64) -> Value {
    envelope("payment.succeeded", "payments", order, user, sequence)
}
