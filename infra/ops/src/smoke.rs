//! `cargo ops smoke`: one order with a test card on a stage on AWS, as a customer places it, watched on REST and on the
//! WebSocket until it ends.

use std::time::Duration;

use contracts::{OrderId, OrderLine, OrderStatus, Sku};
use demo::{Clock, Frames, address};
use local_stack::{Progress, Settings, admin_grant, granted};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{Live, NewAccount, NewOrder, Page, Placed, Product, Route, Shop, card, eventually};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::outputs::Addresses;
use crate::remote::Remote;
use crate::stage::Stage;
use crate::tunnel::Tunnel;
use crate::users;

const NAME: &str = "Smoke Test";
/// SES takes mail for it in its sandbox, too, and delivers it nowhere
/// (<https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html>).
const MAILBOX: &str = "success+smoke-{id}@simulator.amazonses.com";
/// The number of products to check for one with stock.
const LOOKED_AT: usize = 20;
/// Orders have a new product's price within seconds; on a stage that was deployed just now, functions start first.
const PRICE_WITHIN: Duration = Duration::from_secs(120);
/// The price in cents of the product that is created when there is none to buy.
const PRICE: i64 = 500;

#[derive(Debug, clap::Args)]
pub struct Smoke {
    /// The stage to try: dev, prod, or a name of your own
    #[arg(long)]
    stage: Stage,
    /// On prod, too: the order stays in its reports, and takes one piece from stock
    #[arg(long)]
    yes: bool,
    /// How long the order may take, in seconds; functions that were just deployed start slowly
    #[arg(long, default_value_t = 180)]
    within: u64,
}

impl Smoke {
    /// # Errors
    /// The stage is not deployed, the order does not complete in time, or REST or the WebSocket does not
    /// report its end.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let Self { stage, yes, within } = self;
        if stage.is_production() && !yes {
            return Err(Error::Stage(
                "this places an order on prod, where it stays; nothing was placed. Add --yes to do it."
                    .to_owned(),
            ));
        }
        let remote = Remote::aws(settings, &stage, progress).await?;
        let addresses = Addresses::read(&remote, &stage).await?;
        refuse_live_key(&remote, &stage).await?;
        let urls = [addresses.api_url.as_str(), addresses.websocket_url.as_str()];
        let tunnel = Tunnel::open(remote.python(), &urls).await?;
        let [api, websocket] = tunnel.routes() else {
            return Err(Error::Stage("there is no route to the stage".to_owned()));
        };
        println!("stage {stage}: {}", addresses.api_url);
        let trial = Trial {
            remote: &remote,
            stage: &stage,
            shop: Shop::by(api),
            websocket,
            within: Duration::from_secs(within),
        };
        trial.run().await
    }
}

/// A test card charges nothing in Stripe's live mode: the order would be declined, and prove nothing.
async fn refuse_live_key(remote: &Remote, stage: &Stage) -> Result<()> {
    let id = json!({"SecretId": format!("ordersaga-{stage}-stripe")});
    // A caller without access to the secret finds out by the order.
    let Ok(secret) = remote.repeatable("secretsmanager", "GetSecretValue", id).await else { return Ok(()) };
    match is_live(secret["SecretString"].as_str().unwrap_or_default()) {
        true => Err(Error::Stage(format!(
            "payments of stage {stage} have a live Stripe key, which takes no test card; nothing was placed. Try a stage \
             with a test key (sk_test_…)."
        ))),
        false => Ok(()),
    }
}

fn is_live(stored: &str) -> bool {
    let stored: Value = serde_json::from_str(stored).unwrap_or_default();
    stored["api_key"].as_str().is_some_and(|key| key.contains("_live_"))
}

/// One order, and what it takes.
struct Trial<'a> {
    remote: &'a Remote,
    stage: &'a Stage,
    shop: Shop,
    websocket: &'a Route,
    within: Duration,
}

/// One that is made for a trial.
struct Account {
    email: String,
    password: String,
}

/// A product that was made for one order.
struct Made {
    sku: Sku,
    admin: Shop,
}

impl Trial<'_> {
    async fn run(&self) -> Result<()> {
        let customer = self.customer().await.map_err(|error| self.unusable(&error))?;
        let result = self.buy(&customer).await;
        // Whatever became of the order.
        let left = customer.leave().await;
        match &left {
            Ok(()) => println!("  the customer's account is deleted; the order stays in the books"),
            Err(error) => println!("  the customer's account could not be deleted: {error}"),
        }
        result
    }

    async fn customer(&self) -> shop_client::Result<Shop> {
        let Account { email, password } = Account::new();
        let customer = self
            .shop
            .join(&NewAccount { email: &email, password: &password, name: NAME, phone: None })
            .await?;
        println!("  registered {email}");
        Ok(customer)
    }

    async fn buy(&self, customer: &Shop) -> Result<()> {
        let unusable = |error| self.unusable(&error);
        if let Some(product) = in_stock(customer).await.map_err(unusable)? {
            println!("  buys {} ({}) with a test card", product.name, product.price);
            return self.order(customer, &product.sku).await;
        }
        if self.stage.is_production() {
            return Err(Error::Stage(
                "no product is in stock, and none is made on prod. Add one with stock (`POST /v1/products`, `PUT \
                 /v1/inventory/{sku}`; see README.md) and run the command again."
                    .to_owned(),
            ));
        }
        let made = self.product().await?;
        let result = self.order(customer, &made.sku).await;
        made.remove().await;
        result
    }

    /// A product with one piece in stock, made by an administrator of its own.
    async fn product(&self) -> Result<Made> {
        let sku = Sku::try_from(format!("SMOKE-{}", id().to_uppercase()))
            .map_err(|error| Error::Stage(error.to_string()))?;
        println!("  no product is in stock: makes {sku} for this order");
        let Account { email, password } = Account::new();
        let unusable = |error| self.unusable(&error);
        self.shop
            .register(&NewAccount { email: &email, password: &password, name: NAME, phone: None })
            .await
            .map_err(unusable)?;
        let made_admin = self.make_admin(&email).await;
        let admin = self.shop.login(&email, &password).await.map_err(unusable)?;
        if let Err(error) = made_admin {
            // The account has no rights: it does no harm when it stays.
            let _ = admin.leave().await;
            return Err(error);
        }
        let made = Made { sku, admin };
        if let Err(error) = made.fill().await {
            made.remove().await;
            return Err(self.unusable(&error));
        }
        Ok(made)
    }

    async fn make_admin(&self, email: &str) -> Result<()> {
        let identity = self.remote.call("sts", "GetCallerIdentity", json!({})).await?;
        let by = identity["Arn"].as_str().unwrap_or_default();
        let function = format!("ordersaga-{}-users-commands", self.stage);
        let answer = self.remote.invoke(&function, &admin_grant(email, by), users::PATIENCE).await?;
        granted(&answer).map_err(|reason| Error::Users(format!("{function} failed: {reason}")))
    }

    async fn order(&self, customer: &Shop, sku: &Sku) -> Result<()> {
        let live = customer.live_by(self.websocket).await;
        let (placed, clock) = place(customer, sku).await.map_err(|error| self.unusable(&error))?;
        let order = &placed.order_id;
        clock.line("POST /orders", format!("{order} {}", placed.total));
        let (rest, frames) = tokio::join!(
            self.ends_on_rest(customer, order, clock),
            self.ends_on_websocket(live, order, clock)
        );
        let reason = reason(customer, order).await;
        if let Ok(payment) = customer.payment(order).await {
            clock.line("payment", format!("{} {}", payment.status, payment.amount));
        }
        verdict(self.stage, order, rest, frames, reason.as_deref())
    }

    async fn ends_on_rest(
        &self,
        customer: &Shop,
        order: &OrderId,
        clock: Clock,
    ) -> shop_client::Result<OrderStatus> {
        let status = eventually("the order ends", self.within, async || {
            let status = customer.order(order).await?.status;
            if is_over(status) { Ok(status) } else { Err(status)? }
        })
        .await?;
        clock.line("GET /orders", format!("{status}"));
        Ok(status)
    }

    async fn ends_on_websocket(
        &self,
        live: shop_client::Result<Live>,
        order: &OrderId,
        clock: Clock,
    ) -> shop_client::Result<OrderStatus> {
        let mut live = live?;
        live.subscribe(order, Some(0)).await?;
        let mut frames = Frames::of(order, clock);
        let silent = |_| shop_client::Error::Silent { within: self.within };
        let status =
            tokio::time::timeout(self.within, frames.until_it_ends(&mut live)).await.map_err(silent)??;
        clock.line("WebSocket", format!("{status}, {} frames of the order", frames.version()));
        Ok(status)
    }

    fn unusable(&self, error: &shop_client::Error) -> Error {
        Error::Stage(format!(
            "{error}\nIs the stage deployed whole (`cargo ops deploy --stage {0}`)? `cargo ops preflight --stage {0}` says \
             what the account lacks, and the log groups /aws/lambda/ordersaga-{0}-… what functions met.",
            self.stage
        ))
    }
}

impl Account {
    fn new() -> Self {
        let password = format!("Smoke-{}", Uuid::new_v4().simple());
        Self { email: MAILBOX.replace("{id}", &id()), password }
    }
}

impl Made {
    async fn fill(&self) -> shop_client::Result<()> {
        let Self { sku, admin } = self;
        let product = json!({
            "sku": sku, "name": "Smoke test", "description": "Made for one test order.", "category": "test",
            "price": {"amount": PRICE, "currency": "USD"},
        });
        admin.call(Method::POST, "/v1/products").json(&product).send().await?.read::<Value>()?;
        let stock = json!({"available": 1});
        admin
            .call(Method::PUT, &format!("/v1/inventory/{sku}"))
            .json(&stock)
            .send()
            .await?
            .read::<Value>()?;
        Ok(())
    }

    /// Best effort: a product that remains is no reason to report a failure.
    async fn remove(&self) {
        let Self { sku, admin } = self;
        let away = async {
            let none = json!({"available": 0});
            let path = format!("/v1/inventory/{sku}");
            admin.call(Method::PUT, &path).json(&none).send().await?.read::<Value>()?;
            let answer = admin.call(Method::DELETE, &format!("/v1/products/{sku}")).send().await?;
            if !answer.status.is_success() {
                answer.read::<Value>()?;
            }
            admin.leave().await
        };
        match away.await {
            Ok(()) => println!("  {sku} and its administrator are deleted"),
            Err(error) => println!("  {sku} and its administrator could not be deleted: {error}"),
        }
    }
}

fn id() -> String {
    Uuid::new_v4().simple().to_string()[..12].to_owned()
}

async fn in_stock(shop: &Shop) -> shop_client::Result<Option<Product>> {
    let page: Page<Product> = shop.get(&format!("/v1/products?limit={LOOKED_AT}")).await?;
    for product in page.items {
        if shop.stock(&product.sku).await?.available > 0 {
            return Ok(Some(product));
        }
    }
    Ok(None)
}

/// Tried again while orders have no price of it yet. The clock starts with the order that is taken.
async fn place(customer: &Shop, sku: &Sku) -> shop_client::Result<(Placed, Clock)> {
    let order = NewOrder {
        items: vec![OrderLine { sku: sku.clone(), quantity: 1 }],
        payment_method: card::GOOD.to_owned(),
        shipping_address: address(NAME, "DE"),
    };
    eventually(&format!("orders have a price of {sku}"), PRICE_WITHIN, async || {
        let clock = Clock::start();
        match customer.place(&order, &Uuid::new_v4().to_string()).await {
            Err(error) if error.status() == Some(StatusCode::UNPROCESSABLE_ENTITY) => Err(error)?,
            result => Ok(result.map(|placed| (placed, clock))),
        }
    })
    .await?
}

async fn reason(customer: &Shop, order: &OrderId) -> Option<String> {
    let events = customer.events(order).await.ok()?;
    let cancelled = events.iter().rev().find(|event| event.event_type == "order.cancelled")?;
    cancelled.data["reason"].as_str().map(str::to_owned)
}

fn is_over(status: OrderStatus) -> bool {
    status.is_final() || status == OrderStatus::NeedsAttention
}

/// Both REST and the WebSocket must report that the order completed.
fn verdict(
    stage: &Stage,
    order: &OrderId,
    rest: shop_client::Result<OrderStatus>,
    frames: shop_client::Result<OrderStatus>,
    reason: Option<&str>,
) -> Result<()> {
    let failed = |why: String| Err(Error::Stage(why));
    let rest = match rest {
        Ok(rest) => rest,
        Err(error) => {
            return failed(format!(
                "{order} did not end: {error}\n`cargo ops saga list --stage {stage}` shows what it waits for."
            ));
        }
    };
    if rest != OrderStatus::OrderCompleted {
        let reason = reason.unwrap_or("no reason is given");
        let next = match reason {
            contracts::saga::PAYMENT_DECLINED | contracts::saga::PAYMENT_TIMEOUT => {
                format!(
                    "Are Stripe's keys set, and of the test mode? `cargo ops stripe setup --stage {stage}`"
                )
            }
            _ => format!("`cargo ops preflight --stage {stage}` and the functions' logs say more."),
        };
        return failed(format!("{order} ended as {rest} ({reason}), not as OrderCompleted.\n{next}"));
    }
    match frames {
        Ok(frames) if frames == rest => {
            println!("✓ {order} completed, on REST and on the WebSocket");
            Ok(())
        }
        Ok(frames) => failed(format!("REST says that {order} ended as {rest}, the WebSocket {frames}.")),
        Err(error) => failed(format!(
            "{order} completed on REST, and the WebSocket did not tell: {error}\nLook at the functions realtime-authorizer, \
             realtime-ws and realtime-consumer of stage {stage}."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(
        rest: shop_client::Result<OrderStatus>,
        frames: shop_client::Result<OrderStatus>,
        why: Option<&str>,
    ) -> String {
        let order: OrderId = "ord_0123456789abcdef0123456789abcdef".parse().unwrap();
        let verdict = verdict(&"dev".parse().unwrap(), &order, rest, frames, why);
        verdict.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_order_is_fine_only_when_both_ways_tell_that_it_completed() {
        use OrderStatus::{OrderCancelled, OrderCompleted};
        let silent = || Err(shop_client::Error::Silent { within: Duration::from_secs(1) });
        assert_eq!(ended(Ok(OrderCompleted), Ok(OrderCompleted), None), "");
        assert!(ended(Ok(OrderCompleted), silent(), None).contains("realtime-consumer"));
        assert!(ended(silent(), Ok(OrderCompleted), None).contains("saga list --stage dev"));
        let declined = ended(Ok(OrderCancelled), Ok(OrderCancelled), Some("PaymentDeclined"));
        assert!(declined.contains("PaymentDeclined") && declined.contains("stripe setup --stage dev"));
        assert!(ended(Ok(OrderCompleted), Ok(OrderCancelled), None).contains("WebSocket"));
    }

    #[test]
    fn a_live_key_is_known_by_its_beginning() {
        assert!(is_live(r#"{"api_key":"rk_live_1"}"#));
        assert!(!is_live(r#"{"api_key":"sk_test_1"}"#) && !is_live(""));
    }
}
