//! The running stack: its shop, its gateway, its tables, its operator.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contracts::Sku;
use futures::{StreamExt, TryStreamExt, stream};
use local_stack::{Emulator, LOCAL_STAGE, Outputs, Settings};
use reqwest::Method;
use serde_json::{Value, json};
use shop_client::{Gateway, Intent, Mail, NewAccount, Shop, mail_to};
use tokio::process::Command;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::lane::{Lane, SET_UP_WITHIN, STOCK};
use crate::ledger::Ledger;
use crate::wait::until;

/// Lanes that are set up at the same time.
const AT_A_TIME: usize = 4;
/// In cents.
const PRICE: i64 = 2_100;
/// The time in seconds after which a queue delivers a message again that its function did not handle.
// Longer than the functions' timeout (30 s), as SQS requires. The templates' three minutes are for their retries, and
// would be most of the time of a run.
const VISIBILITY: u32 = 40;

#[derive(Debug)]
pub struct Platform {
    pub outputs: Outputs,
    pub shop: Shop,
    pub gateway: Gateway,
    pub emulator: Emulator,
    pub ledger: Arc<Ledger>,
    /// Signs the gateway's events.
    pub webhook_secret: String,
    pub state_dir: PathBuf,
    /// The names of all functions.
    pub functions: Vec<String>,
    /// Lanes that were made.
    made: AtomicUsize,
}

impl Platform {
    /// Reads what the runs need, and shortens the queues' time to the next delivery.
    ///
    /// # Errors
    /// The stack does not answer.
    pub async fn new(outputs: &Outputs, ledger: Arc<Ledger>, settings: &Settings) -> Result<Self> {
        let emulator = Emulator::new(&outputs.aws_endpoint_url);
        let input = json!({"SecretId": format!("ordersaga-{LOCAL_STAGE}-stripe")});
        let secret = emulator.json("secretsmanager", "secretsmanager.GetSecretValue", &input).await?;
        let secret: Value =
            serde_json::from_str(secret["SecretString"].as_str().unwrap_or_default()).unwrap_or_default();
        let webhook_secret = secret["webhook_secrets"][0].as_str().unwrap_or_default().to_owned();
        let functions = local_stack::deploy::functions(settings)?;
        let platform = Self {
            shop: Shop::new(&outputs.api_url),
            gateway: Gateway::new(&outputs.stripe_url),
            outputs: outputs.clone(),
            emulator,
            ledger,
            webhook_secret,
            state_dir: settings.state_dir.clone(),
            functions: functions.into_iter().map(|function| function.name).collect(),
            made: AtomicUsize::new(0),
        };
        platform.deliver_again_soon().await?;
        platform.switch_the_gateways_breaker_off().await?;
        Ok(platform)
    }

    async fn deliver_again_soon(&self) -> Result<()> {
        let listed = self.emulator.json("sqs", "AmazonSQS.ListQueues", &json!({})).await?;
        for url in listed["QueueUrls"].as_array().into_iter().flatten() {
            let attributes = json!({"VisibilityTimeout": VISIBILITY.to_string()});
            let input = json!({"QueueUrl": url, "Attributes": attributes});
            self.emulator.json("sqs", "AmazonSQS.SetQueueAttributes", &input).await?;
        }
        Ok(())
    }

    /// The faults of one order would otherwise keep all others from paying for half a minute.
    async fn switch_the_gateways_breaker_off(&self) -> Result<()> {
        let input = json!({
            "TableName": format!("ordersaga-{LOCAL_STAGE}-payments"),
            "Key": {"pk": {"S": "BREAKER#gateway"}, "sk": {"S": "BREAKER"}},
            "UpdateExpression": "SET #mode = :mode ADD version :one",
            "ExpressionAttributeNames": {"#mode": "mode"},
            "ExpressionAttributeValues": {":mode": {"S": "off"}, ":one": {"N": "1"}},
        });
        self.emulator.json("dynamodb", "DynamoDB_20120810.UpdateItem", &input).await?;
        Ok(())
    }

    /// Lanes for this number of orders side by side.
    ///
    /// # Errors
    /// The shop refuses a customer, a product or a code.
    pub async fn lanes(&self, number: usize) -> Result<Vec<Lane>> {
        let admin = &self.admin().await?;
        let lanes = stream::iter(0..number).map(|_| self.lane_by(admin)).buffered(AT_A_TIME);
        lanes.try_collect().await
    }

    /// Another lane.
    ///
    /// # Errors
    /// As [`Platform::lanes`].
    pub async fn lane(&self) -> Result<Lane> {
        self.lane_by(&self.admin().await?).await
    }

    async fn admin(&self) -> shop_client::Result<Shop> {
        let admin = &self.outputs.admin;
        self.shop.login(&admin.email, &admin.password).await
    }

    async fn lane_by(&self, admin: &Shop) -> Result<Lane> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (sku, code) = (format!("CHAOS-{number:03}"), format!("CHAOS_{number:03}"));
        let product = json!({
            "sku": sku, "name": "Product of one lane", "description": "", "category": "chaos",
            "price": {"amount": PRICE, "currency": "USD"},
        });
        admin.call(Method::POST, "/v1/products").json(&product).send().await?.read::<Value>()?;
        let stock = json!({"available": STOCK, "shards": 1});
        let path = format!("/v1/inventory/{sku}");
        admin.call(Method::PUT, &path).json(&stock).send().await?.read::<Value>()?;
        let terms = json!({"code": code, "percentage": 10});
        admin.call(Method::POST, "/v1/discounts").json(&terms).send().await?.read::<Value>()?;

        let email = format!("chaos-{}@ordersaga.example", Uuid::new_v4().simple());
        let password = format!("Chaos-{}", Uuid::new_v4().simple());
        let shop = self
            .shop
            .join(&NewAccount { email: &email, password: &password, name: "Chaos Customer", phone: None })
            .await?;
        let user_id = shop.me().await?.user_id;
        // An address that is not confirmed gets ten e-mails and no more for a while.
        let letter = async || {
            let mails = mail_to(&self.outputs.aws_endpoint_url, &email).await?;
            Ok(mails.iter().find_map(Mail::code).ok_or("no e-mail with a code")?.to_owned())
        };
        let code_by_mail = until("the customer has a code", SET_UP_WITHIN, letter).await?;
        shop.confirm_email(&code_by_mail).await?;
        let sku = Sku::try_from(sku.as_str()).map_err(|error| Error::Chaos(error.to_string()))?;
        let order = json!({
            "items": [{"sku": sku, "quantity": 1}], "payment_method": "pm_card_visa",
            "shipping_address": {
                "name": "A", "line1": "1", "city": "B", "postal_code": "1", "country": "DE",
            },
        });
        let quote = async || {
            shop.call(Method::POST, "/v1/quotes").json(&order).send().await?.read::<Value>()?;
            Ok(())
        };
        until(&format!("orders have a price of {sku}"), SET_UP_WITHIN, quote).await?;
        let names = [user_id.to_string(), sku.to_string(), code.clone(), email.clone()];
        let number = self.ledger.add_lane(&names);
        Ok(Lane::new(number, shop, user_id, (email, password), sku, code))
    }

    /// The payment intents of the lane's order, as the gateway has them.
    ///
    /// # Errors
    /// The gateway does not answer.
    pub async fn intents(&self, lane: &Lane) -> shop_client::Result<Vec<Intent>> {
        let mut intents = Vec::new();
        for id in self.ledger.intents(lane.number) {
            intents.push(self.gateway.intent(&id).await?);
        }
        Ok(intents)
    }

    /// One item of a context's table; null when there is none.
    ///
    /// # Errors
    /// The emulator does not answer.
    pub async fn item(&self, context: &str, pk: &str, sk: &str) -> local_stack::Result<Value> {
        let input = json!({
            "TableName": format!("ordersaga-{LOCAL_STAGE}-{context}"),
            "Key": {"pk": {"S": pk}, "sk": {"S": sk}},
            "ConsistentRead": true,
        });
        Ok(self.emulator.json("dynamodb", "DynamoDB_20120810.GetItem", &input).await?["Item"].take())
    }

    /// The items of a partition of a context's table, in their order. A partition that the judge reads is less than a page.
    ///
    /// # Errors
    /// The emulator does not answer.
    pub async fn partition(&self, context: &str, pk: &str) -> local_stack::Result<Vec<Value>> {
        let input = json!({
            "TableName": format!("ordersaga-{LOCAL_STAGE}-{context}"),
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": pk}},
            "ConsistentRead": true,
        });
        let mut answer = self.emulator.json("dynamodb", "DynamoDB_20120810.Query", &input).await?;
        Ok(match answer["Items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        })
    }

    /// Runs a command of `cargo ops` on this stack.
    ///
    /// # Errors
    /// It fails: what it said.
    pub async fn ops(&self, arguments: &[&str]) -> std::result::Result<(), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("--state-dir").arg(&self.state_dir).args(arguments).kill_on_drop(true);
        let ended = command.output().await.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if ended.status.success() { Ok(()) } else { Err(text(&ended.stdout) + &text(&ended.stderr)) }
    }
}
