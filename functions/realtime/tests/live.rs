//! What connections get to see: the socket, the line and the consumer together, on a real table. API Gateway and SQS
//! are played by a web server, since all that matters is what is sent to them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use aws_lambda_events::sqs::SqsMessage;
use contracts::{EventId, IdempotencyKey, OrderId, UserId};
use lambda_kit::{
    dynamodb::{Table, key},
    sqs::MessageError,
    testing::{self, Faults},
};
use realtime::{Consumer, Line, Pusher, Socket, Store};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path, path_regex},
};

const NOW: i64 = 1_800_000_000;
const HOUR: i64 = 3600;

struct Hub {
    gateway: MockServer,
    socket: Socket,
    consumer: Consumer,
    table: Table,
    faults: Faults,
}

impl Hub {
    /// Connections whose id starts with `gone` are gone.
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
        let line = Line::new(aws_sdk_sqs::Client::new(&sdk), format!("{}/queue", gateway.uri()));
        Self {
            socket: Socket::new(store.clone(), line, pusher.clone()),
            consumer: Consumer::new(store, pusher),
            gateway,
            table,
            faults,
        }
    }

    async fn connect(&self, connection: &str, user: &UserId, roles: &str) {
        let identity = json!({"user_id": user, "roles": roles});
        self.invoke("CONNECT", connection, NOW, &json!({"authorizer": identity}), None).await;
    }

    async fn try_connect(&self, connection: &str, user: &UserId) -> u16 {
        let authorizer = json!({"user_id": user, "roles": ""});
        let context = json!({
            "eventType": "CONNECT", "connectionId": connection, "requestId": "r", "authorizer": authorizer,
        });
        let payload = json!({"requestContext": context}).to_string();
        self.socket.handle(&payload, NOW).await.unwrap().status_code
    }

    /// Requests of this method for a connection fail, always or the next few times.
    async fn fail(&self, verb: &str, connection: &str, times: Option<u64>) {
        let mock = Mock::given(method(verb)).and(path(format!("/live/@connections/{connection}")));
        let mock = mock.respond_with(ResponseTemplate::new(500)).with_priority(1);
        match times {
            Some(times) => mock.up_to_n_times(times).mount(&self.gateway).await,
            None => mock.mount(&self.gateway).await,
        }
    }

    /// So many posts to a connection are throttled, as by API Gateway's limit of an account, while the number is not 0.
    async fn throttle(&self, connection: &str) -> Arc<AtomicU64> {
        let left = Arc::new(AtomicU64::new(0));
        let post = Mock::given(method("POST")).and(path(format!("/live/@connections/{connection}")));
        let throttled = Arc::clone(&left);
        let answer = move |_: &Request| {
            let is_throttled = throttled.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            let code = if is_throttled { 429 } else { 200 };
            ResponseTemplate::new(code).insert_header("x-amzn-errortype", "LimitExceededException")
        };
        post.respond_with(answer).with_priority(1).mount(&self.gateway).await;
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

    /// A client's frame, and what it puts into the line.
    async fn send(&self, connection: &str, frame: &Value) {
        let before = self.line().await.len();
        self.invoke("MESSAGE", connection, NOW, &json!({}), Some(frame.to_string())).await;
        for command in self.line().await.split_off(before) {
            self.consumer.handle(&message(&command), NOW).await.unwrap();
        }
    }

    async fn subscribe(&self, connection: &str, order: &OrderId, after: Option<u64>) {
        self.send(connection, &json!({"action": "subscribe", "order_id": order, "after": after})).await;
    }

    async fn invoke(&self, event: &str, connection: &str, now: i64, more: &Value, body: Option<String>) {
        let mut context = json!({"eventType": event, "connectionId": connection, "requestId": "r"});
        context.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let payload = json!({"requestContext": context, "body": body, "isBase64Encoded": false});
        let answer = self.socket.handle(&payload.to_string(), now).await.unwrap();
        assert_eq!(answer.status_code, 200);
    }

    async fn event(&self, event: &Value) -> Result<(), MessageError> {
        self.event_at(event, NOW).await
    }

    async fn event_at(&self, event: &Value, now: i64) -> Result<(), MessageError> {
        self.consumer.handle(&message(&event.to_string()), now).await
    }

    /// What was posted to a connection, in short: `o3` an order frame of version 3, `p1` a payment's, `-2` a gap.
    async fn seen(&self, connection: &str) -> String {
        let path = format!("/live/@connections/{connection}");
        let requests = self.gateway.received_requests().await.unwrap();
        let posts = requests.iter().filter(|r| r.method == "POST" && r.url.path() == path);
        posts.map(|post| short(&serde_json::from_slice(&post.body).unwrap())).collect::<Vec<_>>().join(" ")
    }

    /// The bodies of all messages that were put into the queue.
    async fn line(&self) -> Vec<String> {
        let requests = self.gateway.received_requests().await.unwrap();
        let sent = requests.iter().filter(|request| request.url.path() == "/");
        sent.map(|request| {
            let send: Value = serde_json::from_slice(&request.body).unwrap();
            let body = send["MessageBody"].as_str().unwrap();
            let command: Value = serde_json::from_str(body).unwrap();
            assert_eq!(send["MessageGroupId"], command["order_id"], "a command waits in its order's line");
            body.to_owned()
        })
        .collect()
    }

    /// The sort keys of all items but the buffers.
    async fn items(&self) -> Vec<String> {
        let items =
            self.table.client.scan().table_name(&self.table.name).send().await.unwrap().items.unwrap();
        let mut keys: Vec<String> = items.iter().map(|item| item["sk"].as_s().unwrap().clone()).collect();
        keys.retain(|key| key != "BUFFER");
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

#[tokio::test]
async fn an_order_is_seen_by_its_owner_and_by_administrators_only() {
    let (hub, anna, ben) = (Hub::open().await, UserId::generate(), UserId::generate());
    let order = order_of(&anna, "1");
    for (connection, user, roles) in [("a", &anna, ""), ("b", &ben, ""), ("root", &ben, "admin")] {
        hub.connect(connection, user, roles).await;
        hub.subscribe(connection, &order, None).await;
    }
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    hub.event(&paid(&order, &anna, 1)).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed o1 p1");
    assert_eq!(hub.seen("b").await, "subscribed", "he asked before anybody knew whose order it is");
    assert_eq!(hub.seen("root").await, "subscribed o1 p1");

    hub.subscribe("b", &order, Some(0)).await;
    assert_eq!(hub.seen("b").await, "subscribed not_found");
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_and_then_what_is_new() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    for event in [ordered(&order, &anna, 1), ordered(&order, &anna, 2), paid(&order, &anna, 1)] {
        hub.event(&event).await.unwrap();
    }
    hub.connect("a", &anna, "").await;
    hub.subscribe("a", &order, Some(1)).await;
    hub.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed o2 p1 o3");

    hub.connect("live", &anna, "").await;
    hub.subscribe("live", &order, None).await;
    hub.event(&ordered(&order, &anna, 5)).await.unwrap();
    assert_eq!(hub.seen("live").await, "subscribed -1 o5");
}

#[tokio::test]
async fn one_subscription_can_be_for_all_of_a_users_orders_and_sends_nothing_twice() {
    let (hub, anna, ben) = (Hub::open().await, UserId::generate(), UserId::generate());
    let (first, second, other) = (order_of(&anna, "1"), order_of(&anna, "2"), order_of(&ben, "1"));
    hub.connect("a", &anna, "").await;
    hub.send("a", &json!({"action": "subscribe"})).await;
    hub.subscribe("a", &first, None).await;
    hub.event(&ordered(&first, &anna, 1)).await.unwrap();
    hub.event(&ordered(&second, &anna, 1)).await.unwrap();
    hub.event(&ordered(&other, &ben, 1)).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed subscribed o1 o1");

    hub.send("a", &json!({"action": "unsubscribe"})).await;
    hub.event(&ordered(&second, &anna, 2)).await.unwrap();
    hub.event(&ordered(&first, &anna, 2)).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed subscribed o1 o1 unsubscribed o2");
}

#[tokio::test]
async fn unsubscribing_ends_it_and_gives_the_slot_back() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("a", &anna, "").await;
    for i in 0..20 {
        hub.subscribe("a", &order_of(&anna, &i.to_string()), None).await;
    }
    let one_more = order_of(&anna, "more");
    hub.subscribe("a", &one_more, None).await;
    assert!(hub.seen("a").await.ends_with("subscribed too_many_subscriptions"));
    hub.subscribe("a", &order_of(&anna, "0"), None).await;
    assert!(hub.seen("a").await.ends_with("too_many_subscriptions subscribed"), "it has this one already");

    let first = order_of(&anna, "0");
    hub.send("a", &json!({"action": "unsubscribe", "order_id": first})).await;
    hub.subscribe("a", &one_more, None).await;
    hub.event(&ordered(&first, &anna, 1)).await.unwrap();
    assert!(hub.seen("a").await.ends_with("unsubscribed subscribed"));
}

#[tokio::test]
async fn a_connection_that_leaves_leaves_nothing_behind() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("a", &anna, "").await;
    hub.send("a", &json!({"action": "subscribe"})).await;
    for i in 0..20 {
        hub.subscribe("a", &order_of(&anna, &i.to_string()), None).await;
    }
    assert_eq!(hub.items().await.len(), 22);
    hub.disconnect("a").await;
    assert_eq!(hub.items().await, Vec::<String>::new());
    hub.disconnect("a").await;
}

#[tokio::test]
async fn a_connection_that_is_gone_is_cleaned_up_at_once_and_is_no_failure() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let (first, second) = (order_of(&anna, "1"), order_of(&anna, "2"));
    hub.connect("here", &anna, "").await;
    hub.subscribe("here", &first, None).await;
    let store = Store::new(hub.table.clone());
    hub.connect("gone", &anna, "").await;
    hub.send("here", &json!({"action": "subscribe"})).await;
    // Its subscriptions took effect while it was there still.
    for order in [&first, &second] {
        let subscriber = store.connection("gone", NOW).await.unwrap().unwrap();
        store.take_slot("gone", order, NOW).await.unwrap();
        store.subscribe(order, &subscriber).await.unwrap();
    }
    hub.event(&ordered(&first, &anna, 1)).await.unwrap();
    assert!(hub.seen("here").await.ends_with("o1"));
    assert_eq!(hub.items().await, ["CONN#here", "CONNECTION", "SUB#here"]);
}

#[tokio::test]
async fn a_connection_that_cannot_be_posted_to_is_closed_and_holds_nobody_up() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    for connection in ["a", "b"] {
        hub.connect(connection, &anna, "").await;
        hub.subscribe(connection, &order, None).await;
    }
    hub.fail("POST", "a", None).await;
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    hub.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!(hub.seen("b").await, "subscribed o1 o2");
    assert_eq!(hub.closed().await, ["a"]);

    // Its client comes back, and has no hole.
    hub.connect("a2", &anna, "").await;
    hub.subscribe("a2", &order, Some(0)).await;
    assert_eq!(hub.seen("a2").await, "subscribed o1 o2");
}

#[tokio::test]
async fn an_event_comes_again_only_for_those_that_could_neither_be_posted_to_nor_closed() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    for connection in ["a", "b"] {
        hub.connect(connection, &anna, "").await;
        hub.subscribe(connection, &order, None).await;
    }
    let tries = Some(2);
    hub.fail("POST", "a", tries).await;
    hub.fail("DELETE", "a", tries).await;
    hub.event(&ordered(&order, &anna, 3)).await.unwrap_err();
    assert_eq!(hub.seen("b").await, "subscribed -1 o3");
    let before = hub.seen("a").await;

    hub.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(hub.seen("a").await, format!("{before} -1 o3"), "the gap is announced to it, too");
    assert_eq!(hub.seen("b").await, "subscribed -1 o3", "once is enough");
    hub.event(&ordered(&order, &anna, 3)).await.unwrap();
    assert_eq!(hub.seen("a").await, format!("{before} -1 o3"), "and it is settled");
}

#[tokio::test]
async fn a_throttled_post_is_repeated_and_closes_no_connection() {
    let hub = Hub::open().await;
    let anna = UserId::generate();
    let order = order_of(&anna, "one");
    for connection in ["c1", "c2"] {
        hub.connect(connection, &anna, "").await;
        hub.subscribe(connection, &order, None).await;
    }
    let left = hub.throttle("c1").await;
    left.store(3, SeqCst);
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    assert_eq!(hub.seen("c1").await, "subscribed o1 o1 o1 o1", "three were throttled");

    // For longer than one invocation waits.
    left.store(u64::MAX, SeqCst);
    hub.event(&ordered(&order, &anna, 2)).await.unwrap_err();
    left.store(0, SeqCst);
    assert!(hub.closed().await.is_empty());
    let before = hub.seen("c1").await;
    hub.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!(hub.seen("c1").await, format!("{before} o2"));
    assert_eq!(hub.seen("c2").await, "subscribed o1 o2");
}

#[tokio::test]
async fn history_that_is_published_again_is_not_pushed() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("a", &anna, "").await;
    hub.send("a", &json!({"action": "subscribe"})).await;
    let event = ordered(&order_of(&anna, "1"), &anna, 1);
    hub.event_at(&event, NOW + 31 * 24 * HOUR).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed");
    hub.event_at(&event, NOW + 29 * 24 * HOUR).await.unwrap();
    assert_eq!(hub.closed().await, ["a"], "its connection is past its time by then");
}

/// Its `$disconnect` overtook its wish to follow all orders.
#[tokio::test]
async fn a_connection_that_has_left_does_not_follow_all_orders() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("a", &anna, "").await;
    let store = Store::new(hub.table.clone());
    let subscriber = store.connection("a", NOW).await.unwrap().unwrap();
    hub.disconnect("a").await;
    assert!(!store.follow_all(&subscriber).await.unwrap());
    assert!(!store.unfollow_all(&subscriber).await.unwrap());
    assert_eq!(hub.items().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_left_of_a_connection_under_its_user_goes_with_the_first_post() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("gone", &anna, "").await;
    let store = Store::new(hub.table.clone());
    store.follow_all(&store.connection("gone", NOW).await.unwrap().unwrap()).await.unwrap();
    let delete = hub.table.client.delete_item().table_name(&hub.table.name);
    delete.set_key(Some(key("CONNECTION#gone", "CONNECTION"))).send().await.unwrap();
    hub.event(&ordered(&order_of(&anna, "1"), &anna, 1)).await.unwrap();
    assert_eq!(hub.items().await, Vec::<String>::new());
}

#[tokio::test]
async fn whoever_missed_an_event_for_good_is_closed_before_the_next_one() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    for connection in ["a", "b"] {
        hub.connect(connection, &anna, "").await;
        hub.subscribe(connection, &order, None).await;
    }
    let tries = Some(2);
    hub.fail("POST", "a", tries).await;
    hub.fail("DELETE", "a", tries).await;
    hub.event(&ordered(&order, &anna, 1)).await.unwrap_err();
    let before = hub.seen("a").await;
    // The first event went to the dead-letter queue.
    hub.event(&ordered(&order, &anna, 2)).await.unwrap();
    assert_eq!((hub.seen("a").await, hub.seen("b").await), (before, "subscribed o1 o2".to_owned()));
    assert!(hub.closed().await.contains(&"a".to_owned()));
}

#[tokio::test]
async fn an_order_with_five_hundred_connections_reaches_each_once_and_a_dead_one_delays_none() {
    const CONNECTIONS: usize = 500;
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    let store = Store::new(hub.table.clone());
    for i in 0..CONNECTIONS {
        let connection_id = if i % 50 == 0 { format!("gone{i}") } else { format!("c{i}") };
        let subscriber = json!({
            "connection_id": connection_id, "user_id": anna, "admin": false, "expires_at": NOW + HOUR,
        });
        store.subscribe(&order, &serde_json::from_value(subscriber).unwrap()).await.unwrap();
    }
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    let requests = hub.gateway.received_requests().await.unwrap();
    let mut posts: Vec<&str> = requests.iter().map(|request| request.url.path()).collect();
    posts.sort_unstable();
    posts.dedup();
    assert_eq!((posts.len(), requests.len()), (CONNECTIONS, CONNECTIONS));
    assert_eq!(hub.items().await.len(), CONNECTIONS - CONNECTIONS / 50, "those that are gone are cleaned up");
}

#[tokio::test]
async fn a_user_with_ten_connections_sees_an_order_on_each_and_the_dead_ones_hold_up_none() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    let connections: Vec<String> = (0..10).map(|i| format!("c{i}")).collect();
    for (i, connection) in connections.iter().enumerate() {
        hub.connect(connection, &anna, "").await;
        // As browsers do: one page of an order, and one of all of them.
        let order_id = (i % 2 == 0).then_some(&order);
        hub.send(connection, &json!({"action": "subscribe", "order_id": order_id})).await;
    }
    for dead in ["c3", "c4"] {
        hub.fail("POST", dead, None).await;
    }
    for version in 1..=3 {
        hub.event(&ordered(&order, &anna, version)).await.unwrap();
    }
    for connection in connections.iter().filter(|connection| !["c3", "c4"].contains(&connection.as_str())) {
        assert_eq!(hub.seen(connection).await, "subscribed o1 o2 o3", "{connection}");
    }
    assert_eq!(hub.closed().await, ["c3", "c4"]);
}

#[tokio::test]
async fn a_user_who_is_deleted_is_disconnected_and_does_not_come_back() {
    let (hub, anna, ben) = (Hub::open().await, UserId::generate(), UserId::generate());
    let order = order_of(&anna, "1");
    for connection in ["a1", "a2"] {
        hub.connect(connection, &anna, "").await;
        hub.subscribe(connection, &order, None).await;
    }
    hub.connect("b", &ben, "").await;
    hub.event(&json!({
        "event_id": EventId::derive("users", anna.as_str(), 2), "event_type": "user.deleted", "event_version": 1,
        "occurred_at": "2026-11-20T12:00:00Z", "source": "users", "subject": anna, "sequence": 2,
        "correlation_id": "c", "causation_id": "c", "data": {"user_id": anna},
        "metadata": {"user_id": anna, "tenant_id": null}
    }))
    .await
    .unwrap();
    assert_eq!(hub.closed().await, ["a1", "a2"]);
    assert_eq!(hub.items().await, ["BARRED", "CONN#b", "CONNECTION"]);

    // With a ticket from before.
    assert_eq!(hub.try_connect("a3", &anna).await, 403);
    assert_eq!(hub.try_connect("b2", &ben).await, 200);
}

#[tokio::test]
async fn an_event_that_comes_twice_is_pushed_once() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.connect("a", &anna, "").await;
    hub.subscribe("a", &order, None).await;
    for version in [1, 1, 2, 1, 2] {
        hub.event(&ordered(&order, &anna, version)).await.unwrap();
    }
    assert_eq!(hub.seen("a").await, "subscribed o1 o2");
}

#[tokio::test]
async fn a_lost_answer_of_the_table_is_no_failure() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    hub.faults.lose_answers("PutItem", 1);
    hub.event(&ordered(&order, &anna, 2)).await.unwrap();
    hub.event(&ordered(&order, &anna, 3)).await.unwrap();
}

#[tokio::test]
async fn an_event_costs_two_reads_and_one_write() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.connect("a", &anna, "").await;
    hub.subscribe("a", &order, None).await;
    hub.faults.reset();
    hub.event(&ordered(&order, &anna, 1)).await.unwrap();
    assert_eq!(hub.faults.calls(), ["Query", "Query", "PutItem"]);
}

#[tokio::test]
async fn a_connection_past_its_time_is_closed_and_gets_nothing() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    let order = order_of(&anna, "1");
    hub.connect("a", &anna, "").await;
    hub.subscribe("a", &order, None).await;
    hub.event_at(&ordered(&order, &anna, 1), NOW + 2 * HOUR).await.unwrap();
    assert_eq!(hub.seen("a").await, "subscribed");
    assert_eq!(hub.items().await, Vec::<String>::new());
    let requests = hub.gateway.received_requests().await.unwrap();
    assert!(requests.iter().any(|r| r.method == "DELETE" && r.url.path() == "/live/@connections/a"));
}

#[tokio::test]
async fn a_connection_that_is_not_known_is_told_to_connect_again() {
    let hub = Hub::open().await;
    let order = order_of(&UserId::generate(), "1");
    hub.subscribe("stranger", &order, None).await;
    hub.send("stranger", &json!({"action": "subscribe"})).await;
    assert_eq!(hub.seen("stranger").await, "bad_request bad_request");
    assert_eq!(hub.items().await, Vec::<String>::new());
}

#[tokio::test]
async fn frames_that_make_no_sense_are_answered_and_the_connection_stays() {
    let (hub, anna) = (Hub::open().await, UserId::generate());
    hub.connect("a", &anna, "").await;
    hub.invoke("MESSAGE", "a", NOW, &json!({}), Some("hello".to_owned())).await;
    hub.send("a", &json!({"action": "buy"})).await;
    hub.send("a", &json!({"action": "ping"})).await;
    assert_eq!(hub.seen("a").await, "bad_request unknown_action pong");
}

#[tokio::test]
async fn without_an_identity_nobody_is_connected() {
    let hub = Hub::open().await;
    let context = json!({"eventType": "CONNECT", "connectionId": "a", "requestId": "r"});
    hub.socket.handle(&json!({"requestContext": context}).to_string(), NOW).await.unwrap_err();
    assert_eq!(hub.items().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_message_that_is_neither_an_event_nor_a_command_comes_again() {
    let hub = Hub::open().await;
    hub.consumer.handle(&message("{}"), NOW).await.unwrap_err();
    let mut product = ordered(&order_of(&UserId::generate(), "1"), &UserId::generate(), 1);
    product["subject"] = json!("MUG");
    hub.event(&product).await.unwrap_err();
}
