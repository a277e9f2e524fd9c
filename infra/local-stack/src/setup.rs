//! Sets up a fresh local stack: the Stripe secret and webhook, an admin, products, stock.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::{admin_grant, granted};
use crate::emulator::{self, Emulator};
use crate::environments;
use crate::error::{AboutFile, Error, Result};
use crate::progress::{Progress, Step};
use crate::settings::{LOCAL_STAGE, REGION, Settings};
use crate::state::{Admin, Outputs, Running, Secrets, StateDir};

/// localstripe takes any key of this form.
const STRIPE_KEY: &str = "sk_test_ordersaga";

/// The events that payments handles. localstripe sends only the first two; Stripe's endpoint is registered
/// for all.
pub const WEBHOOK_EVENTS: [&str; 12] = [
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "charge.refunded",
    "charge.refund.updated",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
];

/// A function's first answer comes after its process has started and SDK clients are set up.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(60);
const CALL_WITHIN: Duration = Duration::from_secs(15);
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The seed file.
#[derive(Debug, Deserialize)]
struct Seed {
    products: Vec<Product>,
}

/// A product and what of it is there.
#[derive(Debug, Deserialize)]
struct Product {
    sku: String,
    name: String,
    description: String,
    category: String,
    price: Value,
    available: u32,
}

/// Sets up what is missing, and records the outputs and the functions' environments.
///
/// # Errors
/// The emulators or the API refuse.
pub async fn complete(
    settings: &Settings,
    state: &StateDir,
    running: &Running,
    progress: &Progress,
) -> Result<Outputs> {
    let emulator = Emulator::new(&running.endpoint());
    let secrets = state.secrets()?;
    let outputs = outputs(&emulator, running, &secrets.admin).await?;
    stripe(&emulator, running, &secrets, &outputs.api_url).await?;

    let mut deployed = state.deployed(&running.instance);
    if !deployed.seeded {
        let step = progress.step("adding products, stock and an admin");
        let count = Shop::new(&outputs, state).seed(settings, &emulator, &step).await?;
        deployed.seeded = true;
        state.record_deployed(&deployed)?;
        step.done(&format!("added {count} products with stock, and an admin"));
    }
    environments::write(settings, state, running).await?;
    state.record_outputs(&outputs)?;
    Ok(outputs)
}

async fn outputs(emulator: &Emulator, running: &Running, admin: &Admin) -> Result<Outputs> {
    let api_url = address(emulator, "api-url").await?;
    Ok(Outputs {
        storefront_url: format!("{api_url}/"),
        api_url,
        websocket_url: address(emulator, "websocket-url").await?,
        aws_endpoint_url: running.endpoint(),
        stripe_url: running.stripe_url(),
        region: REGION.to_owned(),
        stage: LOCAL_STAGE.to_owned(),
        admin: admin.clone(),
    })
}

async fn address(emulator: &Emulator, name: &str) -> Result<String> {
    Ok(emulator.parameter(LOCAL_STAGE, name).await?.trim_end_matches('/').to_owned())
}

/// The key and the webhook's secret to Secrets Manager, the webhook to localstripe. Both can be repeated, and must be:
/// localstripe forgets webhooks when it ends.
async fn stripe(emulator: &Emulator, running: &Running, secrets: &Secrets, api_url: &str) -> Result<()> {
    let value = json!({"api_key": STRIPE_KEY, "webhook_secrets": [secrets.webhook]}).to_string();
    let input = json!({
        "SecretId": format!("ordersaga-{LOCAL_STAGE}-stripe"),
        "SecretString": value,
        "ClientRequestToken": uuid::Uuid::new_v4().to_string(),
    });
    emulator.json("secretsmanager", "secretsmanager.PutSecretValue", &input).await?;

    let operation = "registering the webhook at localstripe";
    let webhook = json!({
        "url": format!("{api_url}/v1/payments/webhook"),
        "secret": secrets.webhook,
        "events": WEBHOOK_EVENTS,
    });
    let answer = emulator::client()
        .post(format!("{}/_config/webhooks/ordersaga", running.stripe_url()))
        .timeout(CALL_WITHIN)
        .json(&webhook)
        .send()
        .await
        .map_err(|source| Error::NoAnswer { operation: operation.to_owned(), source })?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(Error::Refused { operation: operation.to_owned(), reason: answer.status().to_string() })
}

/// The shop's REST API, as a shop's own staff uses it.
struct Shop<'a> {
    api: &'a str,
    admin: &'a Admin,
    http: reqwest::Client,
    logs: PathBuf,
}

impl<'a> Shop<'a> {
    fn new(outputs: &'a Outputs, state: &StateDir) -> Self {
        Self { api: &outputs.api_url, admin: &outputs.admin, http: emulator::client(), logs: state.logs() }
    }

    /// Answers how many products there are.
    async fn seed(&self, settings: &Settings, emulator: &Emulator, step: &Step) -> Result<usize> {
        let file = settings.infra().join("local/seed.json");
        let seed: Seed = serde_json::from_slice(&std::fs::read(&file).about("cannot read", &file)?)
            .map_err(std::io::Error::other)
            .about("cannot read", &file)?;

        step.at("the admin");
        let token = self.admin_token(emulator).await?;
        for (index, product) in seed.products.iter().enumerate() {
            step.part(index, seed.products.len());
            step.at(product.name.clone());
            self.stock(product, &token).await?;
        }
        Ok(seed.products.len())
    }

    async fn admin_token(&self, emulator: &Emulator) -> Result<String> {
        let Admin { email, password } = self.admin;
        let account = json!({"email": email, "password": password, "name": "Shop Admin"});
        self.call(Method::POST, "/v1/auth/register", None, &account, StatusCode::CONFLICT).await?;
        let function = format!("ordersaga-{LOCAL_STAGE}-users-commands");
        let answer = emulator.invoke(&function, &admin_grant(email, LOCAL_STAGE)).await?;
        granted(&answer)
            .map_err(|reason| Error::Refused { operation: format!("Invoke {function}"), reason })?;
        let login = json!({"email": email, "password": password});
        let tokens = self.call(Method::POST, "/v1/auth/login", None, &login, StatusCode::OK).await?;
        tokens["access_token"].as_str().map(str::to_owned).ok_or_else(|| Error::Seed {
            request: "POST /v1/auth/login".to_owned(),
            reason: "the answer holds no access_token".to_owned(),
            logs: self.logs.clone(),
        })
    }

    async fn stock(&self, product: &Product, token: &str) -> Result<()> {
        let Product { sku, name, description, category, price, available } = product;
        let body = json!({"sku": sku, "name": name, "description": description, "category": category, "price": price});
        self.call(Method::POST, "/v1/products", Some(token), &body, StatusCode::CONFLICT).await?;
        let path = format!("/v1/inventory/{sku}");
        self.call(Method::PUT, &path, Some(token), &json!({"available": available}), StatusCode::OK).await?;
        Ok(())
    }

    /// One call, tried again while the function is starting. `fine` is the status that is as good as success.
    async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &Value,
        fine: StatusCode,
    ) -> Result<Value> {
        let operation = format!("{method} {path}");
        let deadline = Instant::now() + FIRST_ANSWER_WITHIN;
        loop {
            let mut request = self
                .http
                .request(method.clone(), format!("{}{path}", self.api))
                .timeout(CALL_WITHIN)
                .json(body);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let no_answer = |source| Error::NoAnswer { operation: operation.clone(), source };
            let answer = request.send().await.map_err(no_answer)?;
            let status = answer.status();
            let text = answer.text().await.map_err(no_answer)?;
            if status.is_success() || status == fine {
                return Ok(serde_json::from_str(&text).unwrap_or_default());
            }
            if !status.is_server_error() || Instant::now() > deadline {
                let reason = format!("{status} {}", text.trim());
                return Err(Error::Seed { request: operation, reason, logs: self.logs.clone() });
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_seed_holds_distinct_products_and_one_that_is_sold_out() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../local/seed.json");
        let seed: Seed = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let skus: BTreeSet<&str> = seed.products.iter().map(|product| product.sku.as_str()).collect();
        assert_eq!(skus.len(), seed.products.len());
        assert!(seed.products.iter().any(|product| product.available == 0));
    }
}
