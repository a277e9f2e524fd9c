//! What customers do in a run, and how it must end.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use futures::future::join_all;
use lambda_kit::jwt::Role;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    network::{Call, Caller, Reply, between},
    process::next_random,
    services::Protocol,
    world::world,
};

/// The product that is ordered.
pub const SKU: &str = "MUG-BLUE";
/// Pieces in stock before the first order.
pub const STOCK: i64 = 3;
/// In cents.
const PRICE: i64 = 2_100;
/// The time until a customer answers the bank.
const THINKING: Duration = Duration::from_mins(2);
/// The time between two looks at what the bank asks.
const LOOK: Duration = Duration::from_secs(1);
/// A platform that was quiet for so long does nothing more with an order.
const SETTLED: Duration = Duration::from_secs(10);
/// How long a client waits for an answer.
const CLIENT: Duration = Duration::from_secs(10);
/// How often a client sends a request that has no answer, or that the platform could not handle.
const TRIES: u32 = 20;
/// The time until everything that was set up has happened.
const SETUP: Duration = Duration::from_mins(10);

/// One order, and how it ends without faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Stock is reserved, the card charged, a shipment booked.
    Completes,
    /// There is too little stock.
    OutOfStock,
    /// The card is declined.
    Declined,
    /// No carrier serves the country.
    CannotShip,
    /// The bank asks the customer first, who answers after two minutes.
    PaysLate,
    /// The bank asks the customer, who does not answer until the payment's deadline.
    NeverPays,
    /// The bank asks the customer, who cancels the order instead.
    Cancels,
    /// Twelve customers order the last three pieces at once, each in one of the ways above.
    Rush,
}

/// The customers of a rush.
const CUSTOMERS: u64 = 12;
/// When a customer of a rush orders, in milliseconds.
const ARRIVALS: std::ops::Range<u64> = 0..500;
/// What they do.
const WAYS: [Scenario; 5] =
    [Scenario::Completes, Scenario::Declined, Scenario::CannotShip, Scenario::PaysLate, Scenario::Cancels];

impl Scenario {
    /// The scenarios of one order.
    pub fn of_one_order() -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|scenario| *scenario != Self::Rush).collect()
    }

    /// The last event of the order without faults, where it is one order.
    pub const fn ends_with(self) -> Option<&'static str> {
        match self {
            Self::Completes | Self::PaysLate => Some("order.completed"),
            Self::OutOfStock | Self::Declined | Self::CannotShip | Self::NeverPays | Self::Cancels => {
                Some("order.cancelled")
            }
            Self::Rush => None,
        }
    }

    /// The body of the order's request.
    fn order(self) -> Value {
        let quantity = if self == Self::OutOfStock { STOCK + 1 } else { 1 };
        let card = match self {
            Self::Declined => "pm_card_chargeCustomerFail",
            Self::PaysLate | Self::NeverPays | Self::Cancels => "pm_card_authenticationRequired",
            Self::Completes | Self::OutOfStock | Self::CannotShip | Self::Rush => "pm_card_visa",
        };
        // No carrier serves Antarctica.
        let country = if self == Self::CannotShip { "AQ" } else { "US" };
        json!({
            "items": [{"sku": SKU, "quantity": quantity}],
            "payment_method": card,
            "shipping_address": {
                "name": "Ada Lovelace", "line1": "1 Main St", "city": "Springfield", "postal_code": "12345",
                "country": country,
            },
        })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("every scenario has a name").get_name())
    }
}

/// Puts the product into the shop, with its price and its stock.
///
/// # Errors
/// What did not work.
pub async fn set_up() -> Result<(), String> {
    // Catalog is not simulated yet: its event comes from here.
    let event = json!({
        "event_id": format!("evt_{:032x}", 1), "event_type": "product.created", "event_version": 1,
        "occurred_at": jiff::Timestamp::now(), "source": "catalog", "subject": SKU, "sequence": 1,
        "correlation_id": "cor_setup", "causation_id": "setup",
        "data": {"sku": SKU, "name": "Blue mug", "category": "kitchen", "price": {"amount": PRICE, "currency": "USD"}},
        "metadata": {"user_id": null, "tenant_id": null},
    });
    let attributes = json!({"event_type": "product.created", "source": "catalog"});
    world().topics.publish(SKU, &event.to_string(), &attributes);
    let admin = world().keys.bearer(&format!("usr_{:032x}", 1), vec![Role::Admin]);
    let headers = json!({"authorization": admin, "content-type": "application/json"});
    let stock = json!({"available": STOCK}).to_string();
    let path = format!("/v1/inventory/{SKU}");
    let reply = send("admin", "inventory-api", "PUT", &path, headers, &stock).await?;
    if reply.status != 200 {
        return Err(format!("the stock cannot be set: {} {}", reply.status, reply.body));
    }
    let settled = async {
        while !world().is_quiet() {
            sleep(LOOK).await;
        }
    };
    timeout(SETUP, settled).await.map_err(|_| "the set-up does not come to rest".to_owned())
}

/// Lets the customers do what they do.
///
/// # Errors
/// When the platform does not take it.
pub async fn play(scenario: Scenario) -> Result<(), String> {
    if scenario != Scenario::Rush {
        return visit(scenario, 1).await;
    }
    let visits = (1..=CUSTOMERS).map(|customer| async move {
        sleep(between(ARRIVALS)).await;
        let way = usize::try_from(next_random()).unwrap_or_default() % WAYS.len();
        visit(WAYS[way], customer).await
    });
    join_all(visits).await.into_iter().collect()
}

/// Lets one customer place an order, and do what follows.
async fn visit(scenario: Scenario, customer: u64) -> Result<(), String> {
    let order_id = place_order(scenario, customer).await?;
    go_on(scenario, &order_id, customer).await
}

/// Places the order, as a client that repeats what has no answer.
async fn place_order(scenario: Scenario, number: u64) -> Result<String, String> {
    let mut headers = customer(number);
    headers["idempotency-key"] = json!(format!("simulated-order-{number}"));
    let body = scenario.order().to_string();
    let reply = send("customer", "orders-api", "POST", "/v1/orders", headers, &body).await?;
    if reply.status != 202 {
        return Err(format!("the order is answered with {}: {}", reply.status, reply.body));
    }
    let answer: Value = serde_json::from_str(&reply.body).map_err(|error| error.to_string())?;
    answer["order_id"].as_str().map(str::to_owned).ok_or_else(|| format!("no order_id in {answer}"))
}

/// What the customer does after the order was placed.
async fn go_on(scenario: Scenario, order_id: &str, number: u64) -> Result<(), String> {
    if !matches!(scenario, Scenario::PaysLate | Scenario::Cancels) {
        return Ok(());
    }
    // The customer acts when the bank asks. With faults it may never come to that.
    let mut quiet = Duration::ZERO;
    while !world().gateway.asks_customer(order_id) {
        quiet = if world().is_quiet() { quiet + LOOK } else { Duration::ZERO };
        if quiet > SETTLED {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    sleep(THINKING).await;
    if scenario == Scenario::PaysLate {
        world().gateway.authenticate(order_id);
        return Ok(());
    }
    let path = format!("/v1/orders/{order_id}/cancel");
    let reply = send("customer", "orders-api", "POST", &path, customer(number), "").await?;
    // 409: it has ended already.
    let is_fine = matches!(reply.status, 200 | 202 | 409);
    if is_fine {
        Ok(())
    } else {
        Err(format!("the cancel is answered with {}: {}", reply.status, reply.body))
    }
}

/// The headers of a customer's requests. The token is a new one.
fn customer(number: u64) -> Value {
    let token = world().keys.bearer(&format!("usr_{:032x}", number + 1), vec![]);
    json!({"authorization": token, "content-type": "application/json"})
}

async fn send(
    name: &str,
    function: &str,
    method: &str,
    path: &str,
    headers: Value,
    body: &str,
) -> Result<Reply, String> {
    let caller = Caller { name: name.to_owned(), instance: None };
    let mut last = "there was none".to_owned();
    for _ in 0..TRIES {
        let call = Call {
            protocol: Protocol::Http,
            operation: format!("{method} {path}"),
            request: body.to_owned(),
            is_secret: false,
        };
        let request = world().customer_request(method, path, headers.clone(), body);
        let effect = Box::pin(world().http(function, request));
        match timeout(CLIENT, world().network.call(&caller, call, effect)).await {
            Ok(Ok(reply)) if reply.status < 500 && reply.status != 429 => return Ok(reply),
            Ok(Ok(reply)) => last = format!("{} {}", reply.status, reply.body),
            Ok(Err(_)) | Err(_) => "it was lost".clone_into(&mut last),
        }
        sleep(between(500..2_000)).await;
    }
    Err(format!("{method} {path} has no answer after {TRIES} tries; the last: {last}"))
}
