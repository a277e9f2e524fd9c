//! API Gateway's WebSocket API: connections, the functions of its routes, and `@connections`.
//!
//! Sources: Amazon API Gateway Developer Guide, "Managing connected users and client apps: $connect and $disconnect routes"
//! (the connection is made when `$connect` has answered with success; `$disconnect` is best effort), "Output from an API
//! Gateway Lambda authorizer" (its context reaches every later invocation), "Use @connections commands in your backend
//! service" (410 for a connection that is not there), "Quotas for configuring and running a WebSocket API in API Gateway"
//! (a connection lasts two hours at most, and ten minutes without a frame).

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    mappings::invoke,
    network::Reply,
    templates::{ACCOUNT, REGION},
    world::world,
};

/// The longest that a connection lasts.
const LIFETIME: Duration = Duration::from_hours(2);
/// The longest that it lasts without a frame.
const IDLE: Duration = Duration::from_mins(10);
/// Who invokes the functions.
const NAME: &str = "websocket";

/// A connection as its client has it. It is closed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    id: String,
    frames: mpsc::UnboundedReceiver<Value>,
}

struct Connection {
    frames: mpsc::UnboundedSender<Value>,
    authorizer: Value,
    opened_at: Instant,
    last_frame: Instant,
}

#[derive(Default)]
pub struct Sockets {
    connections: RefCell<BTreeMap<String, Connection>>,
    opened: Cell<u64>,
    requests: Cell<u64>,
}

impl Sockets {
    /// Opens a connection with a ticket.
    ///
    /// # Errors
    /// The status with which the handshake is answered.
    pub async fn connect(&'static self, ticket: &str) -> Result<Socket, u16> {
        self.opened.set(self.opened.get() + 1);
        let id = format!("connection-{}", self.opened.get());
        let arn = format!("arn:aws:execute-api:{REGION}:{ACCOUNT}:WebSocketApi/live/$connect");
        let mut request = self.event("CONNECT", "$connect", &id, &Value::Null);
        request["type"] = json!("REQUEST");
        request["methodArn"] = json!(arn);
        request["queryStringParameters"] = json!({ "ticket": ticket });
        let policy = invoke(NAME, "realtime-authorizer", request.to_string()).await.ok_or(500_u16)?;
        if policy["policyDocument"]["Statement"][0]["Effect"] != "Allow" {
            return Err(403);
        }
        let mut authorizer = policy["context"].clone();
        authorizer["principalId"] = policy["principalId"].clone();
        let event = self.event("CONNECT", "$connect", &id, &authorizer);
        let answer = invoke(NAME, "realtime-ws", event.to_string()).await.ok_or(500_u16)?;
        match answer["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok()) {
            Some(200) => Ok(self.open(id, authorizer)),
            Some(status) => Err(status),
            None => Err(500),
        }
    }

    fn open(&'static self, id: String, authorizer: Value) -> Socket {
        let (send, frames) = mpsc::unbounded_channel();
        let now = Instant::now();
        let connection = Connection { frames: send, authorizer, opened_at: now, last_frame: now };
        self.connections.borrow_mut().insert(id.clone(), connection);
        let of_it = id.clone();
        tokio::task::spawn_local(async move {
            while let Some(end) = self.end_of(&of_it) {
                sleep_until(end).await;
                if self.end_of(&of_it).is_some_and(|end| end <= Instant::now()) {
                    self.close(&of_it);
                }
            }
        });
        Socket { id, frames }
    }

    /// When a connection ends by itself, unless a frame comes before.
    fn end_of(&self, id: &str) -> Option<Instant> {
        let connections = self.connections.borrow();
        let connection = connections.get(id)?;
        Some((connection.opened_at + LIFETIME).min(connection.last_frame + IDLE))
    }

    /// A request to `@connections`.
    pub fn handle(&'static self, operation: &str, path: &str, body: &str) -> Reply {
        let id = path.rsplit('/').next().unwrap_or_default();
        let is_open = match operation {
            "PostToConnection" => self.post(id, body),
            "DeleteConnection" => self.close(id),
            other => panic!("the simulation's @connections has no {other}"),
        };
        if is_open {
            return Reply::ok("");
        }
        let headers = vec![("x-amzn-errortype", "GoneException".to_owned())];
        Reply { headers, ..Reply::new(410, "{}") }
    }

    /// Sends a frame to a client, and returns whether its connection is open.
    fn post(&self, id: &str, frame: &str) -> bool {
        let mut connections = self.connections.borrow_mut();
        let Some(connection) = connections.get_mut(id) else { return false };
        connection.last_frame = Instant::now();
        let frame = serde_json::from_str(frame).expect("a frame is JSON");
        connection.frames.send(frame).is_ok()
    }

    /// Ends a connection, and returns whether it was open. The function is told.
    fn close(&'static self, id: &str) -> bool {
        let Some(connection) = self.connections.borrow_mut().remove(id) else { return false };
        let event = self.event("DISCONNECT", "$disconnect", id, &connection.authorizer);
        tokio::task::spawn_local(async move {
            let _pending = world().pending();
            invoke(NAME, "realtime-ws", event.to_string()).await;
        });
        true
    }

    /// Hands a client's frame to the function. The client is told when that failed.
    async fn receive(&'static self, id: &str, frame: &Value) {
        let request = {
            let mut connections = self.connections.borrow_mut();
            let Some(connection) = connections.get_mut(id) else { return };
            connection.last_frame = Instant::now();
            let action = frame["action"].as_str().unwrap_or("$default");
            let mut event = self.event("MESSAGE", action, id, &connection.authorizer);
            event["body"] = json!(frame.to_string());
            event
        };
        if invoke(NAME, "realtime-ws", request.to_string()).await.is_none() {
            self.post(id, &json!({"message": "Internal server error", "connectionId": id}).to_string());
        }
    }

    /// An event of a route (API Gateway Developer Guide, "Set up a Lambda proxy integration"; WebSocket APIs).
    fn event(&self, event_type: &str, route: &str, id: &str, authorizer: &Value) -> Value {
        self.requests.set(self.requests.get() + 1);
        let request_id = format!("frame-{}", self.requests.get());
        let mut context = json!({
            "routeKey": route, "eventType": event_type, "connectionId": id, "requestId": request_id,
            "apiId": "WebSocketApi", "stage": "live", "identity": {"sourceIp": "203.0.113.7"},
        });
        if !authorizer.is_null() {
            context["authorizer"] = authorizer.clone();
        }
        json!({"headers": {}, "requestContext": context, "isBase64Encoded": false})
    }
}

impl Socket {
    /// Sends a frame. It is on its way, also when the connection ends.
    pub async fn send(&self, frame: &Value) {
        let (id, frame) = (self.id.clone(), frame.clone());
        let sent = tokio::task::spawn_local(async move { world().sockets.receive(&id, &frame).await });
        // A panic is a failure of the run already.
        let _ = sent.await;
    }

    /// The next frame; none when the connection is closed.
    pub async fn next(&mut self) -> Option<Value> {
        self.frames.recv().await
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        world().sockets.close(&self.id);
    }
}
