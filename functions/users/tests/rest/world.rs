//! The API with a table and a KMS of its own.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, request::Builder},
};
use contracts::Envelope;
use http_body_util::BodyExt;
use lambda_kit::{
    dynamodb::{OUTBOX, Table, key},
    http::{ClientAddress, Limiter, app},
    jwt::{Audience, Claims, Signer, Verifier},
    limits,
    testing::{self, Faults},
};
use serde_json::{Value, json};
use tower::ServiceExt;
use users::{FailureLimits, Store, Users, routes};
use wiremock::MockServer;

use crate::kms;

pub struct World {
    app: Router,
    verifier: Arc<Verifier>,
    table: Table,
    pub faults: Faults,
    pub kms: Arc<MockServer>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    /// `Null` when it is not JSON.
    pub body: Value,
}

pub fn anna() -> Value {
    json!({"email": " Anna@Example.com ", "password": "blue mug 42", "name": "Anna", "phone": "+14155550123"})
}

fn as_user(request: Builder, access_token: Option<&str>) -> Builder {
    match access_token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    }
}

impl World {
    pub async fn new() -> Self {
        let (table, faults) = testing::table(&[]).await;
        Self::with_keys(table, faults, Arc::new(kms::start().await), &[kms::KEY_ARN])
    }

    /// The same table and KMS, deployed with these keys.
    pub fn deployed_with(&self, keys: &[&str]) -> Self {
        Self::with_keys(self.table.clone(), self.faults.clone(), Arc::clone(&self.kms), keys)
    }

    fn with_keys(table: Table, faults: Faults, kms: Arc<MockServer>, keys: &[&str]) -> Self {
        let client = aws_sdk_kms::Client::new(&testing::sdk_config(&kms.uri()).0);
        let arns = keys.iter().map(|arn| (*arn).to_owned()).collect();
        let verifier = Arc::new(Verifier::new(client.clone(), arns));
        let signer = Signer::new(client, keys[0].to_owned());
        let users = Users {
            store: Store::new(table.clone()),
            signer,
            verifier: Arc::clone(&verifier),
            limits: FailureLimits { per_address: 8, ..FailureLimits::default() },
        };
        let limiter = Limiter::new(table.clone(), "auth", limits::AUTH_PER_ADDRESS);
        let app = app(routes(users, limiter), Arc::clone(&verifier));
        Self { app, verifier, table, faults, kms }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, bytes, body }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("x-correlation-id", "the-same")
            .body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    pub async fn get(&self, path: &str, access_token: Option<&str>) -> Answer {
        self.send(as_user(Request::get(path), access_token).body(Body::empty()).unwrap()).await
    }

    pub async fn patch(&self, access_token: &str, body: &Value) -> Answer {
        let request = as_user(Request::patch("/v1/users/me"), Some(access_token));
        let request = request.header("content-type", "application/json").body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    pub async fn delete(&self, access_token: &str) -> Answer {
        let request = as_user(Request::delete("/v1/users/me"), Some(access_token));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A login from somewhere.
    pub async fn login_from(&self, address: &str, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password}).to_string();
        let request = Request::post("/v1/auth/login").header("content-type", "application/json");
        let request = request.extension(ClientAddress(address.parse().ok())).body(Body::from(body));
        self.send(request.unwrap()).await
    }

    /// The events in the outbox of all items.
    pub async fn events(&self) -> Vec<Envelope> {
        let answer = self.table.client.scan().table_name(&self.table.name).send().await.unwrap();
        let outboxes = answer.items().iter().filter_map(|item| item.get(OUTBOX)?.as_l().ok());
        outboxes.flatten().map(|event| serde_json::from_str(event.as_s().unwrap()).unwrap()).collect()
    }

    /// Anna's tokens.
    pub async fn login(&self) -> Value {
        let answer = self
            .post("/v1/auth/login", &json!({"email": "anna@example.com", "password": "blue mug 42"}))
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.body
    }

    pub async fn claims(&self, tokens: &Value) -> Claims {
        self.verifier.verify(tokens["access_token"].as_str().unwrap(), Audience::Api).await.unwrap()
    }

    /// As an operator makes one: by hand, in the account item.
    pub async fn make_admin(&self, email: &str) {
        self.table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(key(format!("EMAIL#{email}"), "ACCOUNT")))
            .update_expression("SET #roles = :roles")
            .expression_attribute_names("#roles", "roles")
            .expression_attribute_values(
                ":roles",
                AttributeValue::L(vec![AttributeValue::S("admin".to_owned())]),
            )
            .send()
            .await
            .unwrap();
    }

    pub async fn forget_everyone(&self) {
        let items = self.table.client.scan().table_name(&self.table.name).send().await.unwrap();
        for item in items.items() {
            let keys = item.iter().filter(|(name, _)| ["pk", "sk"].contains(&name.as_str()));
            let key = keys.map(|(name, value)| (name.clone(), value.clone())).collect();
            let delete = self.table.client.delete_item().table_name(&self.table.name).set_key(Some(key));
            delete.send().await.unwrap();
        }
    }

    /// All that the table holds, as text.
    pub async fn stored(&self) -> Vec<String> {
        let answer = self.table.client.scan().table_name(&self.table.name).send().await.unwrap();
        answer.items().iter().map(|item| format!("{item:?}")).collect()
    }
}
