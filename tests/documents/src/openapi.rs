//! `openapi.json`: the REST operations of all contexts.

use std::collections::BTreeMap;

use lambda_kit::{
    http::FieldError,
    openapi::{Content, Operation, Parameter, Place, Reply, Who},
};
use schemars::{
    JsonSchema, SchemaGenerator,
    generate::{Contract, SchemaSettings},
};
use serde_json::{Map, Value, json};

use crate::Document;

/// All operations of the API.
pub fn operations() -> Vec<Operation> {
    [
        users::operations(),
        catalog::operations(),
        inventory::operations(),
        orders::operations(),
        payments::operations(),
        fulfillment::operations(),
        realtime::operations(),
        storefront::operations(),
    ]
    .concat()
}

/// The contexts' names, as the document's tags.
const TAGS: [(&str, &str); 13] = [
    ("/v1/auth", "users"),
    ("/v1/users", "users"),
    ("/.well-known", "users"),
    ("/v1/products", "catalog"),
    ("/v1/inventory", "inventory"),
    ("/v1/orders", "orders"),
    ("/v1/quotes", "orders"),
    ("/v1/discounts", "orders"),
    ("/v1/reports", "orders"),
    ("/v1/payments", "payments"),
    ("/v1/shipments", "fulfillment"),
    ("/v1/realtime", "realtime"),
    ("/", "storefront"),
];

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
    for operation in operations() {
        let described = describe(&operation, &mut schemas);
        paths.entry(operation.path).or_default().insert(operation.method.to_owned(), described);
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
            "description": "Additions stay in `/v1`; a break means `/v2` beside it. Errors are RFC 9457 problems. Live order status comes over the WebSocket: see asyncapi.json.",
            "license": {"name": "MIT", "identifier": "MIT"}
        },
        "servers": [{
            "url": "{api}",
            "description": "`cargo ops outputs` prints it as `api_url`.",
            "variables": {"api": {"default": "https://example.execute-api.us-east-1.amazonaws.com"}}
        }],
        "security": [],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": schemas.all(),
            "headers": headers(),
            "responses": {"Problem": {
                "description": "Why it was not done.",
                "headers": {"X-Correlation-Id": {"$ref": "#/components/headers/X-Correlation-Id"}},
                "content": {"application/problem+json": {"schema": problem, "example": example_problem()}}
            }},
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
            settings.into_generator()
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

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut described = json!({
        "operationId": operation_id(operation),
        "summary": operation.summary,
        "tags": [tag(operation.path)],
        "responses": Map::from_iter(
            operation.replies.iter().map(|reply| (reply.status.to_string(), response(reply, &mut schemas.written))),
        ),
    });
    described["responses"]["5XX"] = json!({"$ref": "#/components/responses/Problem"});
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
    match operation.who {
        Who::Public | Who::Signed => {}
        Who::User | Who::Owner | Who::OwnerOrAdmin | Who::Admin => {
            described["security"] = json!([{"bearer": []}]);
        }
    }
    described["x-who"] = json!(who(operation.who));
    described
}

/// Who may call an operation, as `x-who` names it.
pub fn who(who: Who) -> &'static str {
    match who {
        Who::Public => "public",
        Who::User => "user",
        Who::Owner => "owner",
        Who::OwnerOrAdmin => "owner or admin",
        Who::Admin => "admin",
        Who::Signed => "signed",
    }
}

/// `get_v1_orders_id`: what a generated client calls it.
fn operation_id(operation: &Operation) -> String {
    let words = operation.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(operation.method).chain(words).collect::<Vec<_>>().join("_")
}

fn tag(path: &str) -> &'static str {
    TAGS.iter().find(|(start, _)| path.starts_with(start)).map_or("storefront", |(_, tag)| tag)
}

fn tags() -> Vec<Value> {
    let mut names: Vec<&str> = TAGS.iter().map(|(_, tag)| *tag).collect();
    names.dedup();
    names.into_iter().map(|name| json!({"name": name})).collect()
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

fn response(reply: &Reply, schemas: &mut SchemaGenerator) -> Value {
    let is_problem = reply.status >= 400 && reply.content.is_none();
    let names = ["X-Correlation-Id", "X-Request-Id"].iter().chain(&reply.headers);
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
        "RateLimit-Limit": number("Requests that may come at once."),
        "RateLimit-Remaining": number("Requests that may still come at once."),
        "RateLimit-Reset": number("Seconds until all of them may come again."),
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
