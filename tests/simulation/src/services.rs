//! The services that functions call: which one a request is for, and what it does.

pub mod gateway;
pub mod keys;
pub mod machines;
pub mod mailbox;
mod partial;
pub mod queues;
pub mod sockets;
pub mod tables;
pub mod topics;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::{Value, json};

use crate::{
    network::{Call, Reply},
    world::world,
};

/// How a service says that a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// AWS JSON 1.0 and 1.1.
    Json,
    /// AWS Query, of SNS.
    Query,
    /// REST JSON, of Lambda, SES and `@connections`.
    Rest,
    /// The payment gateway.
    Stripe,
    /// A REST API of the platform.
    Http,
}

/// A request of a function to a service.
#[derive(Debug, Clone)]
pub struct Request {
    service: String,
    method: String,
    path: String,
    query: String,
    /// `PutItem`; empty where the path says it.
    operation: String,
    idempotency_key: Option<String>,
    body: String,
}

impl Request {
    pub fn read(request: &HttpRequest) -> Self {
        let uri = request.uri();
        let (host, path) = uri.trim_start_matches("https://").split_once('/').unwrap_or((uri, ""));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let body = request.body().bytes().expect("a request is in memory");
        let body = String::from_utf8(body.to_vec()).expect("a request is text");
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let target = target.rsplit('.').next().unwrap_or_default();
        let action = body.strip_prefix("Action=").and_then(|rest| rest.split('&').next()).unwrap_or_default();
        Self {
            service: match host.split('.').next().unwrap_or_default() {
                _ if host == gateway::HOST => "stripe",
                _ if host.contains(".execute-api.") => "execute-api",
                name => name,
            }
            .to_owned(),
            method: request.method().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            operation: if target.is_empty() { action } else { target }.to_owned(),
            idempotency_key: request.headers().get("idempotency-key").map(str::to_owned),
            body,
        }
    }

    /// How the call is numbered and traced.
    pub fn call(&self) -> Call {
        let operation = match self.service.as_str() {
            "stripe" => format!("{} {}", self.method, self.path),
            "lambda" => format!("Invoke {}", self.invoked()),
            "email" => "SendEmail".to_owned(),
            "execute-api" => self.connection_operation().to_owned(),
            _ => self.operation.clone(),
        };
        let protocol = match self.service.as_str() {
            "stripe" => Protocol::Stripe,
            "lambda" | "email" | "execute-api" => Protocol::Rest,
            "sns" => Protocol::Query,
            _ => Protocol::Json,
        };
        Call {
            protocol,
            operation: format!("{}.{operation}", self.service),
            request: self.body.clone(),
            // Another signature each time.
            is_secret: self.service == "kms" || self.body.contains("Bearer "),
        }
    }

    /// What is asked of `@connections`.
    fn connection_operation(&self) -> &'static str {
        if self.method == "DELETE" { "DeleteConnection" } else { "PostToConnection" }
    }

    /// The function of `2015-03-31/functions/<name>/invocations`.
    fn invoked(&self) -> &str {
        let name = self.path.split('/').nth(2).unwrap_or_default();
        // The SDK encodes the colon before an alias.
        name.strip_suffix("%3Alive").unwrap_or(name)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{}: {error}", self.body))
    }
}

/// What the service does.
pub async fn handle(request: Request) -> Reply {
    let world = world();
    match request.service.as_str() {
        "dynamodb" => world.tables.handle(&request.operation, &request.body),
        "sns" => world.topics.handle(&request.operation, &request.body),
        "sqs" => world.queues.handle(&request.operation, &request.json()),
        "states" => world.machines.handle(&request.operation, &request.json()),
        "kms" => world.keys.handle(&request.operation, &request.json()),
        // No switch was ever set.
        "ssm" => error("ParameterNotFound", "no such parameter"),
        "execute-api" => world.sockets.handle(request.connection_operation(), &request.path, &request.body),
        "email" => world.mailbox.send_email(&request.path, &request.json()),
        "secretsmanager" => Reply::ok(json!({"SecretString": gateway::secret().to_string()})),
        "lambda" => match world.functions.named(request.invoked()) {
            Some(name) => world.functions.invoke(name, request.body.clone()).await,
            None => Reply {
                headers: vec![("x-amzn-errortype", "ResourceNotFoundException".to_owned())],
                ..Reply::new(404, json!({"Message": format!("Function not found: {}", request.invoked())}))
            },
        },
        "stripe" => {
            let key = request.idempotency_key.as_deref();
            world.gateway.handle(&request.method, &request.path, &request.query, &request.body, key)
        }
        other => panic!("the simulation has no service {other}: {request:?}"),
    }
}

/// What the service does when it does a part of a batch.
pub use partial::handle as handle_part;

/// An error in JSON.
fn error(name: &str, message: impl ToString) -> Reply {
    Reply::new(400, json!({"__type": name, "message": message.to_string()}))
}

/// The fields of a form (URL standard, "application/x-www-form-urlencoded parsing").
fn form(body: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}
