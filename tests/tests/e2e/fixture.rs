//! Common to all tests: the shop, its admin, the gateway, AWS; and functions that create each test's own
//! data.

use std::path::Path;
use std::time::Duration;

use contracts::{
    CorrelationId, Envelope, EventPayload, FUNCTION_ALIAS, IdempotencyKey, NewEvent, OrderId, OrderLine,
    SessionId, ShippingAddress, Sku, UserId,
};
use lambda_kit::jwt::{Role, Signer, Subject};
use local_stack::{DeployedFunction, Emulator, Outputs};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{
    Gateway, Intent, Mail, NewAccount, NewOrder, NextAction, NotYet, Order, Shop, Text, card, mail_to,
    texts_to,
};
use uuid::Uuid;

use crate::faults::Changes;
use crate::harness::Outcome;

pub type Result<T> = std::result::Result<T, shop_client::Error>;

/// A saga takes about a second. With four concurrent tests, cold starts of all functions and a machine that
/// is three times slower, it takes a minute and more. Only a failing test waits this long.
pub const WITHIN: Duration = Duration::from_secs(180);

/// The price of all test products, in cents.
pub const PRICE: i64 = 1250;

#[derive(Debug, Clone)]
pub struct Fixture {
    /// Identifies the stack.
    pub folder: &'static str,
    pub outputs: Outputs,
    /// A client without a token.
    pub shop: Shop,
    pub admin: Shop,
    pub gateway: Gateway,
    pub emulator: Emulator,
    pub changes: Changes,
}

/// A user of a test's own.
#[derive(Debug, Clone)]
pub struct Customer {
    pub shop: Shop,
    pub user_id: UserId,
    pub email: String,
    pub password: String,
    /// Only of those who get SMS.
    pub phone: Option<String>,
}

/// An order that is not placed yet: the customer and the key make its id.
#[derive(Debug, Clone)]
pub struct FutureOrder {
    pub order_id: OrderId,
    pub key: String,
}

impl Fixture {
    pub async fn new(outputs: &Outputs, folder: &'static str) -> Result<Self> {
        let shop = Shop::new(&outputs.api_url);
        Ok(Self {
            folder,
            admin: shop.login(&outputs.admin.email, &outputs.admin.password).await?,
            gateway: Gateway::new(&outputs.stripe_url),
            emulator: Emulator::new(&outputs.aws_endpoint_url),
            outputs: outputs.clone(),
            changes: Changes::default(),
            shop,
        })
    }

    /// With an administrator's token that lasts for a test: tokens live for 15 minutes, and all tests
    /// together take longer.
    pub async fn signed_in(mut self) -> Result<Self> {
        let admin = &self.outputs.admin;
        self.admin = self.shop.login(&admin.email, &admin.password).await?;
        Ok(self)
    }

    /// A customer who has registered and logged in.
    pub async fn customer(&self) -> Result<Customer> {
        self.joined(None).await
    }

    async fn joined(&self, phone: Option<String>) -> Result<Customer> {
        let email = format!("{}@ordersaga.example", unique("test"));
        let password = unique("Pass");
        let (name, number) = ("Test Customer", phone.as_deref());
        let account = NewAccount { email: &email, password: &password, name, phone: number };
        let shop = self.shop.join(&account).await?;
        let user_id = shop.me().await?.user_id;
        Ok(Customer { shop, user_id, email, password, phone })
    }

    /// A customer with a verified address and phone, who is notified by e-mail and by SMS.
    pub async fn customer_with_phone(&self) -> Result<Customer> {
        // Ten digits that are unique.
        let phone = format!("+1{:010}", Uuid::new_v4().as_u128() % 10_000_000_000);
        let customer = self.joined(Some(phone)).await?;
        let code = self.code_by_email(&customer.email, "Welcome").await?;
        customer.confirm("email", &code).await?;
        customer.request_code("sms").await?;
        customer.confirm("sms", &self.code_by_sms(&customer).await?).await?;
        // Of the events about the customer, notifications may handle an older one last.
        let pk = format!("CONTACT#{}", customer.user_id);
        eventually("notifications know that the number is verified", async || {
            let contact = self.item("notifications", &pk, "CONTACT").await;
            let contact = contact.map_err(|error| error.message().unwrap_or_default().to_owned())?;
            if contact["phone_verified"]["BOOL"] == true { Ok(()) } else { Err(contact.to_string())? }
        })
        .await?;
        Ok(customer)
    }

    /// An item of a context's table as it is now; `Null` when there is none.
    pub async fn item(&self, context: &str, pk: &str, sk: &str) -> Outcome<Value> {
        let input = json!({
            "TableName": format!("ordersaga-{}-{context}", self.outputs.stage),
            "Key": {"pk": {"S": pk}, "sk": {"S": sk}},
            "ConsistentRead": true,
        });
        Ok(self.emulator.json("dynamodb", "DynamoDB_20120810.GetItem", &input).await?["Item"].take())
    }

    /// The code in the newest e-mail with this subject.
    pub async fn code_by_email(&self, address: &str, subject: &str) -> Result<String> {
        eventually(&format!("an e-mail with a code: {subject}"), async || {
            let mails = mail_to(&self.outputs.aws_endpoint_url, address).await?;
            let newest = mails.iter().rev().find(|mail| mail.subject == subject).ok_or("no such e-mail")?;
            Ok(newest.code().ok_or("the e-mail has no code")?.to_owned())
        })
        .await
    }

    /// The code in the newest SMS.
    pub async fn code_by_sms(&self, customer: &Customer) -> Result<String> {
        eventually("an SMS with a code", async || {
            let phone = customer.phone.as_deref().ok_or("the customer has no number")?;
            let newest = texts_to(&self.outputs.aws_endpoint_url, phone).await?.pop().ok_or("no SMS")?;
            Ok(newest.code().ok_or("the SMS has no code")?.to_owned())
        })
        .await
    }

    /// A product with this much stock, whose price orders knows.
    pub async fn product(&self, available: u32) -> Result<Sku> {
        let sku = Sku::try_from(unique("SKU")).expect("letters, digits and a hyphen");
        let product = json!({
            "sku": sku, "name": "Test product", "description": "", "category": "test",
            "price": {"amount": PRICE, "currency": "USD"},
        });
        self.admin.call(Method::POST, "/v1/products").json(&product).send().await?.read::<Value>()?;
        let path = format!("/v1/inventory/{sku}");
        let stock = json!({"available": available});
        self.admin.call(Method::PUT, &path).json(&stock).send().await?.read::<Value>()?;
        let somebody = self.customer().await?;
        eventually(&format!("orders have a price of {sku}"), async || somebody.has_price(&sku, true).await)
            .await?;
        Ok(sku)
    }

    /// The available stock of a product.
    pub async fn available(&self, sku: &Sku) -> Result<u64> {
        Ok(self.shop.stock(sku).await?.available)
    }

    /// Waits until the catalogue shows a product so.
    pub async fn shows(&self, sku: &Sku, availability: &str) -> Result<()> {
        let path = format!("/v1/products/{sku}");
        eventually(&format!("{sku} is shown as {availability}"), async || {
            let product: Value = self.shop.call(Method::GET, &path).send().await?.read()?;
            if product["availability"] == availability { Ok(()) } else { Err(product.to_string())? }
        })
        .await
    }

    /// The payments of an order that took money.
    pub async fn taken(&self, order: &OrderId) -> Result<Vec<Intent>> {
        let intents = self.gateway.intents_of(order).await?;
        Ok(intents.into_iter().filter(|intent| intent.status == "succeeded").collect())
    }

    /// The e-mails to a customer.
    pub async fn mails(&self, customer: &Customer) -> Result<Vec<Mail>> {
        mail_to(&self.outputs.aws_endpoint_url, &customer.email).await
    }

    /// The SMS to a customer.
    pub async fn texts(&self, customer: &Customer) -> Result<Vec<String>> {
        let Some(phone) = &customer.phone else { return Ok(Vec::new()) };
        let texts: Vec<Text> = texts_to(&self.outputs.aws_endpoint_url, phone).await?;
        Ok(texts.into_iter().map(|text| text.message).collect())
    }

    /// Reports how far a shipment is, as staff do.
    pub async fn report(&self, order: &OrderId, report: &Value) -> Outcome {
        let call = self.admin.call(Method::POST, &format!("/v1/shipments/{order}/events")).json(report);
        call.send_once().await?.read::<Value>()?;
        Ok(())
    }

    /// Publishes an event to all consumers, as a context's relay does.
    pub async fn publish(&self, event: &Envelope) -> Outcome {
        let topic = self.parameter("events-topic-arn").await?;
        let form = [
            ("TopicArn", topic.as_str()),
            ("Message", &serde_json::to_string(event)?),
            ("MessageGroupId", &event.subject),
            ("MessageDeduplicationId", event.event_id.as_str()),
            ("MessageAttributes.entry.1.Name", "event_type"),
            ("MessageAttributes.entry.1.Value.DataType", "String"),
            ("MessageAttributes.entry.1.Value.StringValue", &event.event_type),
        ];
        let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.emulator.query("sns", "Publish", "2010-03-31", &form).await?;
        Ok(())
    }

    /// The lines of a function's log that contain all of these words.
    pub async fn log_lines(&self, function: &str, words: &[&str]) -> local_stack::Result<Vec<String>> {
        let group = format!("/aws/lambda/ordersaga-{}-{function}", self.outputs.stage);
        let target = "Logs_20140328.FilterLogEvents";
        // The emulator answers the oldest 10,000 matches and no more, and takes each word of a phrase by itself.
        let phrases: Vec<String> = words.iter().map(|phrase| format!("{phrase:?}")).collect();
        let input = json!({"logGroupName": group, "filterPattern": phrases.join(" ")});
        let answer = self.emulator.read("logs", target, &input).await?;
        let events = answer["events"].as_array().into_iter().flatten();
        let messages = events.filter_map(|event| event["message"].as_str());
        let lines = messages.flat_map(str::lines).filter(|line| words.iter().all(|word| line.contains(word)));
        Ok(lines.map(str::to_owned).collect())
    }

    /// Runs `cargo ops` on this stack and returns its output.
    pub async fn ops(&self, arguments: &[&str]) -> Outcome<String> {
        self.ops_of(Path::new(self.folder), arguments).await
    }

    /// As [`Fixture::ops`], about the stack of this folder.
    pub async fn ops_of(&self, folder: &Path, arguments: &[&str]) -> Outcome<String> {
        // Built when the stack was started; target/debug/deps holds this test.
        let program = std::env::current_exe()?.with_file_name("../ops");
        let run = tokio::process::Command::new(program)
            .arg("--state-dir")
            .arg(folder)
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await?;
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        if run.status.success() {
            return Ok(said);
        }
        Err(format!("{arguments:?}: {} {said}{}", run.status, String::from_utf8_lossy(&run.stderr)).into())
    }

    /// What `cargo ops verify` counts in the stack of this folder.
    pub async fn counts_of(&self, folder: &Path) -> std::result::Result<Value, NotYet> {
        let report = self.ops_of(folder, &["verify", "--settle", "0", "--json"]).await;
        let report: Value = serde_json::from_str(&report.map_err(|error| format!("{error:?}"))?)?;
        Ok(report["counts"].clone())
    }

    /// Waits until the orders of all tests have ended, and returns what `cargo ops verify` counts then.
    pub async fn counts_at_the_end(&self) -> Result<Value> {
        eventually("every order has ended", async || {
            let counts = self.counts_of(Path::new(self.folder)).await?;
            match counts["orders"]["open"].as_u64() {
                None | Some(0) => Ok(counts),
                Some(open) => Err(format!("{open} are open"))?,
            }
        })
        .await
    }

    /// A value that a template has left for the others.
    pub async fn parameter(&self, name: &str) -> local_stack::Result<String> {
        self.emulator.parameter(&self.outputs.stage, name).await
    }

    /// One function's configuration.
    pub fn function(&self, name: &str) -> DeployedFunction {
        DeployedFunction::new(&self.emulator, &self.outputs.stage, name)
    }

    /// Invokes a function directly by its alias and returns its answer; a failure is an answer with `errorType`.
    pub async fn invoke(&self, function: &str, payload: &Value) -> local_stack::Result<Value> {
        let name = format!("ordersaga-{}-{function}:{FUNCTION_ALIAS}", self.outputs.stage);
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let body = payload.to_string().into_bytes();
        let answer = self.emulator.send("lambda", "Invoke", Method::POST, &path, &[], body).await?;
        Ok(serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
    }
}

impl Customer {
    /// Asks for a code by this channel.
    pub async fn request_code(&self, channel: &str) -> Result<()> {
        self.post("/v1/users/me/verifications", &json!({"channel": channel})).await
    }

    /// Confirms the address or number by its code.
    pub async fn confirm(&self, channel: &str, code: &str) -> Result<()> {
        let body = json!({"channel": channel, "code": code});
        self.post("/v1/users/me/verifications/confirm", &body).await
    }

    /// A request whose success has no body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<()> {
        self.shop.call(Method::POST, path).json(body).send_once().await?.succeeded()
    }

    /// Whether orders has a price for a product. Uses an order that is refused in any case, because it also
    /// has an unknown SKU.
    pub async fn has_price(&self, sku: &Sku, wanted: bool) -> std::result::Result<(), NotYet> {
        let nothing = Sku::try_from("NO-SUCH-THING").expect("letters and hyphens");
        let order = NewOrder { items: vec![one(sku), one(&nothing)], ..buy(sku) };
        let call = self.shop.call(Method::POST, "/v1/orders").header("idempotency-key", &unique("probe"));
        let answer = call.json(&order).send().await?;
        let problem = answer.value();
        let unknown = problem["errors"].as_array().ok_or_else(|| format!("{} {problem}", answer.status))?;
        let is_unknown = unknown.iter().any(|error| error["field"] == "items[0].sku");
        if is_unknown == wanted { Err(problem.to_string())? } else { Ok(()) }
    }

    pub fn future_order(&self) -> FutureOrder {
        let key = unique("key");
        let name = IdempotencyKey::try_from(key.as_str()).expect("letters, digits and a hyphen");
        FutureOrder { order_id: OrderId::derive(&self.user_id, &name), key }
    }

    /// Places an order of one piece whose bank requires the customer's confirmation, and waits for that. It must end with
    /// its test: it would be open for a quarter of an hour, and other tests wait until no order is.
    pub async fn order_that_waits(&self, fixture: &Fixture, sku: &Sku) -> Result<(OrderId, NextAction)> {
        let payment_method = fixture.gateway.store_card(card::ASKS_FIRST).await?;
        let order = NewOrder { payment_method, ..buy(sku) };
        let order_id = self.shop.place(&order, &unique("key")).await?.order_id;
        let asked = eventually("the bank asks the customer", async || {
            let payment = self.shop.payment(&order_id).await?;
            Ok(payment.next_action.ok_or(payment.status)?)
        })
        .await?;
        Ok((order_id, asked))
    }

    pub async fn cancel(&self, order: &OrderId) -> Result<StatusCode> {
        let path = format!("/v1/orders/{order}/cancel");
        Ok(self.shop.call(Method::POST, &path).json(&json!({})).send().await?.status)
    }

    /// The order once it has ended.
    pub async fn ended(&self, order: &OrderId) -> Result<Order> {
        eventually(&format!("{order} ends"), async || {
            let order = self.shop.order(order).await?;
            if order.status.is_final() { Ok(order) } else { Err(order.status)? }
        })
        .await
    }

    /// The types of the order's events. Checks that their versions are 1, 2, 3, …
    pub async fn history(&self, order: &OrderId) -> Result<Vec<String>> {
        let events = self.shop.events(order).await?;
        for (expected, event) in (1..).zip(&events) {
            assert_eq!(event.version, expected, "a version is missing or there twice");
        }
        Ok(events.into_iter().map(|event| event.event_type).collect())
    }

    /// Why the order was cancelled.
    pub async fn reason(&self, order: &OrderId) -> Result<String> {
        let events = self.shop.events(order).await?;
        let cancelled = events.iter().find(|event| event.event_type == "order.cancelled");
        Ok(cancelled.map(|event| event.data["reason"].to_string()).unwrap_or_default().replace('"', ""))
    }
}

/// A signer with the stack's own key, which can also sign expired tickets.
pub async fn signer(fixture: &Fixture) -> local_stack::Result<Signer> {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(aws_sdk_kms::config::BehaviorVersion::latest())
        .endpoint_url(&fixture.outputs.aws_endpoint_url)
        .region(aws_sdk_kms::config::Region::new(fixture.outputs.region.clone()))
        .credentials_provider(aws_sdk_kms::config::Credentials::new("test", "test", None, None, "test"))
        .http_client(lambda_kit::aws::http_client())
        .build();
    Ok(Signer::new(aws_sdk_kms::Client::from_conf(config), fixture.parameter("jwt-key-arn").await?))
}

/// A user who has just logged in, with a verified e-mail address.
pub fn subject(user: &UserId, roles: Vec<Role>) -> Subject {
    Subject {
        user_id: user.clone(),
        session_id: SessionId::generate(),
        roles,
        auth_time: jiff::Timestamp::now().as_second(),
        email_verified: true,
    }
}

/// Asks until it is so, or the deadline is over.
pub async fn eventually<T>(
    what: &str,
    probe: impl AsyncFnMut() -> std::result::Result<T, NotYet>,
) -> Result<T> {
    shop_client::eventually(what, WITHIN, probe).await
}

/// An event as its context would publish it now.
pub fn event<P: EventPayload>(
    source: &str,
    subject: &str,
    user: Option<&UserId>,
    sequence: u64,
    payload: &P,
) -> Outcome<Envelope> {
    let new = NewEvent {
        source,
        subject,
        sequence,
        occurred_at: jiff::Timestamp::now(),
        correlation_id: &CorrelationId::generate(),
        causation_id: "test",
        user_id: user,
    };
    Ok(Envelope::new(new, payload)?)
}

pub fn buy(sku: &Sku) -> NewOrder {
    NewOrder { items: vec![one(sku)], payment_method: card::GOOD.to_owned(), shipping_address: address("DE") }
}

pub fn one(sku: &Sku) -> OrderLine {
    OrderLine { sku: sku.clone(), quantity: 1 }
}

pub fn address(country: &str) -> ShippingAddress {
    ShippingAddress {
        name: "Test Customer".to_owned(),
        line1: "1 Test Street".to_owned(),
        line2: None,
        city: "Testing".to_owned(),
        postal_code: "12345".to_owned(),
        country: country.to_owned(),
    }
}

/// A name that nothing else has.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::new_v4().simple())
}
