//! The API with a table and a KMS of its own.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use axum::http::StatusCode;
use contracts::{AccountContent, AccountMessage, Envelope, Recipient, SmsCountries, UserId, events::Channel};
use lambda_kit::{
    dynamodb::{Item, OUTBOX, Table, key},
    http::{ClientAddress, limit::Limits},
    jwt::{Audience, Claims, Signer, Subject, Verifier},
    limits::registrations,
    testing::{self, App, Faults, Response, kms, request},
};
use serde_json::{Value, json};
use users::{Messages, Store, Users, routes};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

pub struct TestApi {
    pub app: App,
    verifier: Arc<Verifier>,
    signer: Signer,
    table: Table,
    pub faults: Faults,
    pub kms: Arc<MockServer>,
    sqs: Arc<MockServer>,
    /// Faults of the calls to the queue.
    pub queue_faults: Faults,
}

pub fn anna() -> Value {
    json!({"email": " Anna@Example.com ", "password": "blue mug 42", "name": "Anna", "phone": "+14155550123"})
}

fn bearer(access_token: &str) -> String {
    format!("Bearer {access_token}")
}

impl TestApi {
    pub async fn new() -> Self {
        let (table, faults) = testing::table(&[]).await;
        let sqs = MockServer::start().await;
        let taken = ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m"}));
        Mock::given(any()).respond_with(taken).mount(&sqs).await;
        Self::with_keys(table, faults, Arc::new(kms::start().await), Arc::new(sqs), &[kms::KEY_ARN])
    }

    /// The same table and KMS, deployed with these keys.
    pub fn deployed_with(&self, keys: &[&str]) -> Self {
        let (kms, sqs) = (Arc::clone(&self.kms), Arc::clone(&self.sqs));
        Self::with_keys(self.table.clone(), self.faults.clone(), kms, sqs, keys)
    }

    fn with_keys(
        table: Table,
        faults: Faults,
        kms: Arc<MockServer>,
        sqs: Arc<MockServer>,
        keys: &[&str],
    ) -> Self {
        let client = aws_sdk_kms::Client::new(&testing::sdk_config(&kms.uri()).0);
        let arns = keys.iter().map(|arn| (*arn).to_owned()).collect();
        let verifier = Arc::new(Verifier::new(client.clone(), arns));
        let signer = Signer::new(client, keys[0].to_owned());
        let store = Store::new(table.clone());
        let (sdk, queue_faults) = testing::sdk_config(&sqs.uri());
        let users = Users {
            store,
            signer: signer.clone(),
            verifier: Arc::clone(&verifier),
            messages: Messages::new(&sdk, format!("{}/1/codes", sqs.uri())),
            sms_countries: "+1".parse::<SmsCountries>().unwrap(),
            registrations: registrations(5),
        };
        let routes = Limits::new(table.clone()).enforce(routes(users));
        let app = App::new(routes, Arc::clone(&verifier));
        Self { app, verifier, signer, table, faults, kms, sqs, queue_faults }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        let headers = [("content-type", "application/json"), ("x-correlation-id", "the-same")];
        self.app.call("POST", path, &headers, body.to_string()).await
    }

    pub async fn get(&self, path: &str, access_token: Option<&str>) -> Response {
        self.app.get(path, &access_token.map(bearer).unwrap_or_default()).await
    }

    pub async fn patch(&self, access_token: &str, body: &Value) -> Response {
        let headers = [("authorization", &*bearer(access_token)), ("content-type", "application/json")];
        self.app.call("PATCH", "/v1/users/me", &headers, body.to_string()).await
    }

    pub async fn delete(&self, access_token: &str) -> Response {
        self.delete_at("/v1/users/me", access_token).await
    }

    pub async fn delete_at(&self, path: &str, access_token: &str) -> Response {
        self.app.call("DELETE", path, &[("authorization", &*bearer(access_token))], "").await
    }

    /// A request of a user.
    pub async fn post_as(&self, access_token: &str, path: &str, body: &Value) -> Response {
        let headers = [("authorization", &*bearer(access_token)), ("content-type", "application/json")];
        self.app.call("POST", path, &headers, body.to_string()).await
    }

    /// A registration from this IP address.
    pub async fn register_from(&self, address: &str, email: &str) -> Response {
        let mut body = anna();
        body["email"] = json!(email);
        let headers = [("content-type", "application/json")];
        let mut request = request("POST", "/v1/auth/register", &headers, body.to_string());
        request.extensions_mut().insert(ClientAddress(address.parse().ok()));
        self.app.send(request).await
    }

    /// Anna is registered and has logged in: her access token.
    pub async fn with_anna() -> (Self, String) {
        let api = Self::new().await;
        api.register("anna@example.com").await;
        let tokens = api.login().await;
        (api, tokens["access_token"].as_str().unwrap().to_owned())
    }

    /// The messages that were queued, oldest first.
    pub async fn messages(&self) -> Vec<AccountMessage> {
        let sent = self.sqs.received_requests().await.unwrap();
        let bodies = sent.iter().map(|request| serde_json::from_slice::<Value>(&request.body).unwrap());
        bodies.map(|body| serde_json::from_str(body["MessageBody"].as_str().unwrap()).unwrap()).collect()
    }

    /// The newest code or token that was sent to an address or number.
    pub async fn secret_sent_to(&self, address: &str) -> String {
        let messages = self.messages().await;
        let to =
            |message: &&AccountMessage| message.recipient.as_ref().map(Recipient::address) == Some(address);
        let mut secrets = messages.iter().rev().filter(to).filter_map(|message| match &message.content {
            AccountContent::Welcome { code }
            | AccountContent::VerifyEmail { code }
            | AccountContent::ChangeEmail { code }
            | AccountContent::VerifyPhone { code } => Some(code.clone()),
            AccountContent::ResetPassword { token } => Some(token.clone()),
            _ => None,
        });
        secrets.next().unwrap_or_else(|| panic!("nothing was sent to {address}"))
    }

    pub async fn confirm(&self, access_token: &str, channel: Channel, code: &str) -> Response {
        let body = json!({"channel": channel, "code": code});
        self.post_as(access_token, "/v1/users/me/verifications/confirm", &body).await
    }

    /// A login from this IP address.
    pub async fn login_from(&self, address: &str, email: &str, password: &str) -> Response {
        let body = json!({"email": email, "password": password}).to_string();
        let headers = [("content-type", "application/json")];
        let mut request = request("POST", "/v1/auth/login", &headers, body);
        request.extensions_mut().insert(ClientAddress(address.parse().ok()));
        self.app.send(request).await
    }

    /// The events in the outbox of all items.
    pub async fn events(&self) -> Vec<Envelope> {
        let answer = self.table.client.scan().table_name(&self.table.name).send().await.unwrap();
        let outboxes = answer.items().iter().filter_map(|item| item.get(OUTBOX)?.as_l().ok());
        outboxes.flatten().map(|event| serde_json::from_str(event.as_s().unwrap()).unwrap()).collect()
    }

    /// Changes Anna's password from the one that she registered with.
    pub async fn change_password(&self, tokens: &Value, current: &str, new: &str) -> Response {
        let body = json!({"current_password": current, "new_password": new}).to_string();
        let authorization = bearer(tokens["access_token"].as_str().unwrap());
        let headers = [("authorization", &*authorization), ("content-type", "application/json")];
        let mut request = request("POST", "/v1/users/me/password", &headers, body);
        request.extensions_mut().insert(ClientAddress("192.0.2.1".parse().ok()));
        self.app.send(request).await
    }

    /// Registers another customer, with Anna's data and this address.
    pub async fn register(&self, email: &str) {
        let mut body = anna();
        body["email"] = json!(email);
        assert_eq!(self.post("/v1/auth/register", &body).await.status, StatusCode::CREATED);
    }

    /// Anna's tokens.
    pub async fn login(&self) -> Value {
        self.login_as("anna@example.com").await
    }

    pub async fn login_as(&self, email: &str) -> Value {
        let answer = self.post("/v1/auth/login", &json!({"email": email, "password": "blue mug 42"})).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.body
    }

    /// `Bearer …`, as a refresh gives one to the user of `tokens` who logged in 15 minutes ago.
    pub async fn stale_access_token(&self, tokens: &Value) -> String {
        let Claims { sub, sid, roles, auth_time, email_verified, .. } = self.claims(tokens).await;
        let auth_time = auth_time - 15 * 60;
        let subject = Subject { user_id: sub, session_id: sid, roles, auth_time, email_verified };
        let now = jiff::Timestamp::now().as_second();
        bearer(&self.signer.sign(&subject, Audience::Api, now).await.unwrap())
    }

    pub async fn claims(&self, tokens: &Value) -> Claims {
        self.verifier.verify(tokens["access_token"].as_str().unwrap(), Audience::Api).await.unwrap()
    }

    /// Gives an account a role, as an operator does.
    pub async fn make_admin(&self, email: &str) {
        let admin = AttributeValue::L(vec![AttributeValue::S("admin".to_owned())]);
        self.set(key(format!("EMAIL#{email}"), "ACCOUNT"), "roles", admin).await;
    }

    /// Suspends an account, as an operator does.
    pub async fn suspend(&self, user: &UserId) {
        let now = AttributeValue::S("2026-11-21T12:00:00Z".to_owned());
        self.set(key(format!("USER#{user}"), "PROFILE"), "suspended_at", now).await;
    }

    async fn set(&self, key: Item, attribute: &str, value: AttributeValue) {
        self.table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(key))
            .update_expression("SET #attribute = :value")
            .expression_attribute_names("#attribute", attribute)
            .expression_attribute_values(":value", value)
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
