//! `openapi.json`: the REST operations of all contexts.

use std::collections::BTreeMap;

use lambda_kit::{
    http::{Deprecation, FieldError},
    limits::{LimitClass, LimitedBy},
    openapi::{Content, Operation, Parameter, Place, Reply, Who},
};
use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::{Contract, SchemaSettings},
    transform::RecursiveTransform,
};
use serde_json::{Map, Value, json};

use crate::Document;

/// A context with a REST API. It is a tag of the document.
struct Context {
    name: &'static str,
    description: &'static str,
    operations: fn() -> Vec<Operation>,
}

const CONTEXTS: [Context; 8] = [
    Context {
        name: "users",
        description: "Accounts: registration, sessions and their tokens, the profile.",
        operations: users::operations,
    },
    Context {
        name: "catalog",
        description: "Products: what is sold, at which price, and what is bought together.",
        operations: catalog::operations,
    },
    Context {
        name: "inventory",
        description: "Stock: what can be sold of each SKU.",
        operations: inventory::operations,
    },
    Context {
        name: "orders",
        description: "Orders and all that happens to them, quotes, discount codes, the sales report.",
        operations: orders::operations,
    },
    Context {
        name: "payments",
        description: "Payments: how the money of an order stands, and the gateway's webhook.",
        operations: payments::operations,
    },
    Context {
        name: "fulfillment",
        description: "Shipments: where the goods of an order are.",
        operations: fulfillment::operations,
    },
    Context {
        name: "realtime",
        description: "Tickets for the WebSocket, which sends the progress of orders as frames (asyncapi.json).",
        operations: realtime::operations,
    },
    Context {
        name: "storefront",
        description: "The shop's page, answers that are composed of several contexts, and the platform's health.",
        operations: storefront::operations,
    },
];

/// All operations of the API.
pub fn operations() -> Vec<Operation> {
    CONTEXTS.iter().flat_map(|context| (context.operations)()).collect()
}

/// RFC 9457, with what ours have beside it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it stands for the body that lambda-kit renders")]
struct Problem {
    r#type: String,
    title: String,
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    instance: String,
    correlation_id: String,
    /// Only with 422, and there not always: the fields that cannot be accepted.
    #[schemars(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<FieldError>>,
}

/// The description of the API.
pub fn openapi() -> Document {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for context in &CONTEXTS {
        for operation in (context.operations)() {
            let mut described = describe(&operation, &mut schemas);
            described["tags"] = json!([context.name]);
            paths.entry(operation.path).or_default().insert(operation.method.to_owned(), described);
        }
    }
    for (path, item) in &mut paths {
        let parameters: Vec<Value> = path.split('/').filter_map(path_parameter).collect();
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), json!(parameters));
        }
    }
    let problem = schemas.written.subschema_for::<Problem>().to_value();
    let content = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ordersaga",
            "version": "1",
            "summary": "The order platform of an online shop.",
            "description": "Additions stay in `/v1`; a break means `/v2` beside it. Errors are RFC 9457 problems. `x-rate-limit` is the limit of one caller: `burst` requests at once, and all of them again after `refill_seconds` without a request; `stage` is the limit of all callers together. Live order status comes over the WebSocket: see asyncapi.json.",
            "license": {"name": "MIT", "identifier": "MIT"},
            "contact": {"name": "The shop that runs this platform"}
        },
        "servers": [{
            "url": "{api}",
            "description": "`cargo ops outputs` prints it as `api_url`.",
            "variables": {"api": {"default": "https://example.execute-api.us-east-1.amazonaws.com"}}
        }],
        "security": [],
        "tags": CONTEXTS.map(|Context { name, description, .. }| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "schemas": schemas.all(),
            "headers": headers(),
            "responses": {
                "Problem": {
                    "description": "Why it was not done.",
                    "headers": {"X-Correlation-Id": {"$ref": "#/components/headers/X-Correlation-Id"}},
                    "content": {"application/problem+json": {"schema": problem, "example": example_problem()}}
                },
                "Throttled": {
                    "description": "The API as a whole has more requests than it takes. API Gateway answers this, in \
                                    its own format.",
                    "content": {"application/json": throttled()}
                }
            },
            "securitySchemes": {"bearer": {
                "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                "description": "An access token of POST /v1/auth/login, for 15 minutes."
            }}
        }
    });
    Document { path: "shared/contracts/openapi.json".to_owned(), content }
}

/// The schemas of requests and of responses. They differ: a field that may be absent in a request is present,
/// or null, in a response.
struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = |contract| {
            let mut settings = SchemaSettings::draft2020_12();
            settings.definitions_path = "/components/schemas".into();
            settings.contract = contract;
            settings.with_transform(RecursiveTransform(remove_null_default)).into_generator()
        };
        Self { read: settings(Contract::Deserialize), written: settings(Contract::Serialize) }
    }

    /// Panics when a type of both has two meanings: then its name must become two.
    fn all(self) -> BTreeMap<String, Value> {
        let (mut read, mut written) = (self.read, self.written);
        let mut all: BTreeMap<String, Value> = read.take_definitions(true).into_iter().collect();
        for (name, schema) in written.take_definitions(true) {
            let other = all.insert(name.clone(), schema.clone());
            assert!(
                other.is_none_or(|other| other == schema),
                "{name} is read and written in different forms"
            );
        }
        all
    }
}

/// A field of a request that may be absent has the default `null` in Rust. That says nothing about the JSON, where
/// `null` need not be allowed, and generators of clients make a field with a default a required one.
fn remove_null_default(schema: &mut Schema) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.description,
        "responses": Map::from_iter(
            operation.replies.iter().map(|reply| {
                (reply.status.to_string(), response(operation, reply, &mut schemas.written))
            }),
        ),
    });
    described["responses"]["5XX"] = json!({"$ref": "#/components/responses/Problem"});
    let too_many = &mut described["responses"]["429"];
    if too_many.is_null() {
        *too_many = json!({"$ref": "#/components/responses/Throttled"});
    } else {
        too_many["content"]["application/json"] = throttled();
    }
    if !operation.parameters.is_empty() {
        described["parameters"] = operation.parameters.iter().map(parameter).collect();
    }
    if let Some(body) = &operation.body {
        let mut content = content(body, &mut schemas.read);
        if operation.method == "patch" {
            content["application/merge-patch+json"] = content["application/json"].clone();
        }
        described["requestBody"] = json!({"required": true, "content": content});
    }
    if operation.who.needs_a_token() {
        described["security"] = json!([{"bearer": []}]);
    }
    if let Some(Deprecation { sunset, successor, .. }) = operation.deprecation {
        described["deprecated"] = json!(true);
        let end = format!("Deprecated: it may be gone from {sunset}. Use `{successor}`.");
        described["description"] = json!(format!("{} {end}", operation.description));
    }
    described["x-who"] = json!(who(operation.who));
    described["x-rate-limit"] = operation.limit.map_or_else(|| json!({"class": STAGE_LIMIT}), rate_limit);
    described
}

/// The limit that API Gateway has for all callers together (infra/platform.yaml).
const STAGE_LIMIT: &str = "stage";

/// A class of limits, as `x-rate-limit` describes it.
fn rate_limit(class: &LimitClass) -> Value {
    let by = match class.by {
        LimitedBy::User => "user",
        LimitedBy::Network => "network",
    };
    json!({
        "class": class.name, "by": by, "burst": class.rate.burst, "refill_seconds": class.rate.refill().as_secs()
    })
}

/// Who may call an operation, as `x-who` names it.
pub fn who(who: Who) -> &'static str {
    match who {
        Who::Public => "public",
        Who::User => "user",
        Who::Owner => "owner",
        Who::OwnerOrAdmin => "owner or admin",
        Who::OwnerOrSupport => "owner, support or admin",
        Who::OwnerOrStaff => "owner, support, fulfillment or admin",
        Who::Admin => "admin",
        Who::Fulfillment => "fulfillment or admin",
        Who::Support => "support or admin",
        Who::Signed => "signed",
    }
}

fn path_parameter(segment: &str) -> Option<Value> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    // A form that is not ours is answered with 404, as everything that is not there.
    let example = match name {
        "sku" => "MUG-BLUE",
        "code" => "SPRING",
        _ => "ord_0123456789abcdef0123456789abcdef",
    };
    Some(
        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}, "example": example}),
    )
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": match parameter.place {
            Place::Query => "query",
            Place::Header => "header",
        },
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    })
}

/// A response of a limited operation reports the caller's remaining requests, and one of a deprecated operation its end.
fn response(operation: &Operation, reply: &Reply, schemas: &mut SchemaGenerator) -> Value {
    let is_problem = reply.status >= 400 && reply.content.is_none();
    let is_limited = operation.limit.is_some() && reply.status < 300;
    let limits: &[&str] =
        if is_limited { &["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"] } else { &[] };
    let end: &[&str] = if operation.deprecation.is_some() { &["Deprecation", "Sunset", "Link"] } else { &[] };
    let names = ["X-Correlation-Id", "X-Request-Id"].iter().chain(limits).chain(end).chain(&reply.headers);
    let headers: Map<String, Value> = names
        .map(|name| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")})))
        .collect();
    let mut response = json!({"description": reply.description, "headers": headers});
    if let Some(body) = &reply.content {
        response["content"] = content(body, schemas);
    } else if is_problem {
        let schema = schemas.subschema_for::<Problem>().to_value();
        response["content"] = json!({"application/problem+json": {"schema": schema}});
    }
    response
}

fn content(content: &Content, schemas: &mut SchemaGenerator) -> Value {
    let schema = (content.schema)(schemas).to_value();
    let mut described = json!({"schema": schema});
    if !content.example.is_null() {
        described["example"] = content.example.clone();
    }
    json!({ content.media_type: described })
}

fn headers() -> Value {
    let text = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    let number =
        |description: &str| json!({"description": description, "schema": {"type": "integer", "minimum": 0}});
    json!({
        "X-Correlation-Id": text("Ties together all that the request caused; the client's own, if it sent a good one."),
        "X-Request-Id": text("The gateway's id of this request."),
        "ETag": text("The version, for `If-None-Match` and `If-Match`."),
        "Location": text("The path of what was made."),
        "Cache-Control": text("How long this may be kept, and by whom."),
        "Idempotent-Replayed": text("`true` when this is the answer to an earlier request with the same key."),
        "Retry-After": number("Seconds to wait."),
        "Deprecation": text("Since when the operation is deprecated (RFC 9745): `@` and Unix seconds."),
        "Sunset": text("From when the operation may be gone (RFC 8594)."),
        "Link": text("What replaces the operation, as `rel=\"successor-version\"` (RFC 5829)."),
        "RateLimit-Limit": number("Requests that may come at once."),
        "RateLimit-Remaining": number("Requests that may still come at once."),
        "RateLimit-Reset": number("Seconds until all of them may come again."),
    })
}

/// What API Gateway answers when the requests of all clients exceed the stage's rate (infra/platform.yaml).
fn throttled() -> Value {
    json!({
        "schema": {
            "type": "object",
            "properties": {"message": {"type": "string"}},
            "required": ["message"]
        },
        "example": {"message": "Too Many Requests"}
    })
}

fn example_problem() -> Value {
    json!({
        "type": "about:blank", "title": "Unprocessable Entity", "status": 422,
        "detail": "The request cannot be accepted: see `errors`.", "instance": "/v1/orders",
        "correlation_id": "cor_0123456789abcdef0123456789abcdef",
        "errors": [{"field": "items[0].sku", "message": "is not sold"}]
    })
}
