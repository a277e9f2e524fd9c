//! What customers do in a run, and how it must end.

use std::{fmt, ops::Range, time::Duration};

use clap::ValueEnum;
use futures::future::join_all;
use lambda_kit::jwt::Role;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    accounts,
    fault::{Effect, Fault, Lasting, LastingKind},
    network::{self, Call, Caller, Reply, between},
    process::next_random,
    services::{Protocol, mailbox::Reception},
    storm,
    watch::Watcher,
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
/// How often a client sends a request that has no answer, or that the platform could not handle: for longer than anything
/// that is away.
const TRIES: u32 = 150;
/// What publishes in place of users.
const SET_UP: &str = "set-up";
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
    /// The same, and the customer's mailbox does not exist.
    Bounces,
    /// The bank asks the customer, who does not answer until the payment's deadline.
    NeverPays,
    /// The bank asks the customer, who cancels the order instead.
    Cancels,
    /// The gateway does not answer for the first three minutes.
    GatewayDown,
    /// The order has a discount code, and no carrier serves the country.
    Discount,
    /// No carrier serves the country, and the customer's bank returns the refund later.
    RefundFails,
    /// A new customer, who deletes the account while the order is under way.
    Leaves,
    /// Twelve customers order the last three pieces at once, each in one of the ways above.
    Rush,
    /// Customers at a rate, each in a way of its own, with the staff at work beside them.
    Storm,
}

/// How long the gateway is down.
const GATEWAY_DOWN: u32 = 180;
/// The discount code of the scenario.
const CODE: &str = "AUTUMN10";
/// The customers of a rush.
const CUSTOMERS: u64 = 12;
/// When a customer of a rush orders, in milliseconds.
const ARRIVALS: Range<u64> = 0..500;
/// When a customer leaves, in milliseconds after the order.
const LEAVES: Range<u64> = 0..2_000;
/// What they do.
const WAYS: [Scenario; 5] =
    [Scenario::Completes, Scenario::Declined, Scenario::CannotShip, Scenario::PaysLate, Scenario::Cancels];

impl Scenario {
    /// The scenarios of one order.
    pub fn of_one_order() -> Vec<Self> {
        let is_one = |scenario: &Self| !matches!(scenario, Self::Rush | Self::Storm);
        Self::value_variants().iter().copied().filter(is_one).collect()
    }

    /// The last event of the order without faults, where it is one order.
    pub const fn ends_with(self) -> Option<&'static str> {
        match self {
            Self::Completes | Self::PaysLate | Self::Bounces | Self::GatewayDown | Self::Leaves => {
                Some("order.completed")
            }
            Self::OutOfStock
            | Self::Declined
            | Self::CannotShip
            | Self::NeverPays
            | Self::Cancels
            | Self::Discount => Some("order.cancelled"),
            Self::RefundFails => Some("order.compensation_failed"),
            Self::Rush | Self::Storm => None,
        }
    }

    /// What goes wrong in every run of it.
    pub fn faults(self) -> Option<Fault> {
        let lasting = Lasting { kind: LastingKind::Away, target: "stripe", seconds: GATEWAY_DOWN };
        (self == Self::GatewayDown).then_some(Fault { call: 1, effect: Effect::Lasting(lasting) })
    }

    /// The longest that the order waits for what the platform does not decide.
    pub const fn waits(self) -> Duration {
        match self {
            Self::PaysLate | Self::Bounces | Self::Cancels => THINKING,
            // The payment's deadline.
            Self::NeverPays | Self::Rush => Duration::from_mins(15),
            Self::GatewayDown => Duration::from_secs(GATEWAY_DOWN as u64),
            Self::RefundFails => Duration::from_mins(5),
            _ => Duration::ZERO,
        }
    }

    /// Whether the customer wants SMS, too.
    const fn wants_sms(self) -> bool {
        matches!(self, Self::CannotShip | Self::PaysLate)
    }

    /// Whether the customer's client follows all orders of the customer, before there is one.
    const fn follows_all(self) -> bool {
        !matches!(self, Self::Declined | Self::Cancels | Self::GatewayDown | Self::Discount)
    }

    /// When the customer's client loses its network, in milliseconds after the order.
    const fn loses_network(self) -> Option<Range<u64>> {
        match self {
            Self::Completes | Self::CannotShip | Self::Discount => Some(0..1_500),
            Self::PaysLate | Self::Cancels => Some(100_000..130_000),
            _ => None,
        }
    }

    /// The body of the order's request.
    fn order(self) -> Value {
        let quantity = if self == Self::OutOfStock { STOCK + 1 } else { 1 };
        let card = match self {
            Self::Declined => "pm_card_chargeCustomerFail",
            Self::PaysLate | Self::Bounces | Self::NeverPays | Self::Cancels => {
                "pm_card_authenticationRequired"
            }
            Self::RefundFails => "pm_card_refundFail",
            _ => "pm_card_visa",
        };
        let cannot_ship = matches!(self, Self::CannotShip | Self::Discount | Self::RefundFails);
        let code = (self == Self::Discount).then_some(CODE);
        order(&json!([{"sku": SKU, "quantity": quantity}]), card, cannot_ship, code)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("every scenario has a name").get_name())
    }
}

/// The body of an order's request.
pub fn order(items: &Value, card: &str, cannot_ship: bool, code: Option<&str>) -> Value {
    // No carrier serves Antarctica.
    let country = if cannot_ship { "AQ" } else { "US" };
    let mut order = json!({
        "items": items,
        "payment_method": card,
        "shipping_address": {
            "name": "Ada Lovelace", "line1": "1 Main St", "city": "Springfield", "postal_code": "12345",
            "country": country,
        },
    });
    if let Some(code) = code {
        order["discount_code"] = json!(code);
    }
    order
}

/// Puts the products into the shop, with their prices and their stock.
///
/// # Errors
/// What did not work.
pub async fn set_up(scenario: Scenario, orders: u64) -> Result<(), String> {
    if scenario == Scenario::Storm {
        storm::set_up(orders).await?;
    } else {
        add_product(SKU, PRICE, STOCK.unsigned_abs()).await?;
        let customers = if scenario == Scenario::Rush { CUSTOMERS } else { 1 };
        for number in 1..=customers {
            if scenario == Scenario::Bounces {
                world().mailbox.receive(address(number), Reception::Bounce);
            }
            if scenario == Scenario::Leaves {
                accounts::join(number).await?;
            } else {
                publish_contact(number, scenario.wants_sms());
            }
            drop(Watcher::start(number, number % 2 == 1 && scenario.follows_all()));
        }
    }
    if scenario == Scenario::Discount {
        add_code(&json!({"code": CODE, "percentage": 10, "total_limit": 100})).await?;
    }
    rest().await
}

/// Waits until everything that was done has happened.
///
/// # Errors
/// When it does not come to rest.
pub async fn rest() -> Result<(), String> {
    let settled = async {
        while !world().is_quiet() {
            sleep(LOOK).await;
        }
    };
    timeout(SETUP, settled).await.map_err(|_| "the set-up does not come to rest".to_owned())
}

/// Adds a product with this price, in cents, and this stock.
///
/// # Errors
/// When the platform does not take it.
pub async fn add_product(sku: &str, price: i64, stock: u64) -> Result<(), String> {
    let product = json!({
        "sku": sku, "name": sku, "category": "kitchen", "price": {"amount": price, "currency": "USD"}
    });
    let reply = send("admin", "catalog-api", "POST", "/v1/products", &admin, &product.to_string()).await?;
    expect(&reply, &[201], "the product")?;
    let path = format!("/v1/inventory/{sku}");
    let body = json!({"available": stock}).to_string();
    let reply = send("admin", "inventory-api", "PUT", &path, &admin, &body).await?;
    expect(&reply, &[200], "the stock")
}

/// Publishes the contact data of a customer as users does. To register takes the time of two hashes of Argon2, so most
/// customers have no account.
pub fn publish_contact(number: u64, wants_sms: bool) {
    let user = user_id(number);
    let data = json!({
        "user_id": user, "email": address(number), "name": "Ada Lovelace", "phone": "+14155550123",
        "notification_preferences": {"email": true, "sms": wants_sms}, "email_verified": true,
        "phone_verified": true,
    });
    let id = format!("evt_{:032x}", next_random());
    let event = json!({
        "event_id": id, "event_type": "user.registered", "event_version": 1,
        "occurred_at": jiff::Timestamp::now(), "source": SET_UP, "subject": user, "sequence": 1,
        "correlation_id": "cor_setup", "causation_id": "setup", "data": data,
        "metadata": {"user_id": null, "tenant_id": null},
    });
    let attributes = json!({"event_type": "user.registered", "source": SET_UP});
    world().topics.publish(&user, &id, &event.to_string(), &attributes);
}

/// The address of a customer.
pub fn address(number: u64) -> String {
    format!("customer-{number}@example.com")
}

fn user_id(number: u64) -> String {
    let registered = world().accounts.borrow().get(&number).cloned();
    registered.unwrap_or_else(|| format!("usr_{:032x}", number + 1))
}

/// Adds a discount code.
///
/// # Errors
/// When the platform does not take it.
pub async fn add_code(terms: &Value) -> Result<(), String> {
    let reply = send("admin", "orders-api", "POST", "/v1/discounts", &admin, &terms.to_string()).await?;
    // 409: an earlier try has made it.
    expect(&reply, &[201, 409], "the discount code")
}

/// # Errors
/// When the answer has another status than these.
pub fn expect(reply: &Reply, statuses: &[u16], what: &str) -> Result<(), String> {
    if statuses.contains(&reply.status) {
        Ok(())
    } else {
        Err(format!("{what} is answered with {}: {}", reply.status, reply.body))
    }
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
    let watcher = world().watchers.borrow().get(usize::try_from(customer).unwrap_or_default() - 1).cloned();
    if let Some(watcher) = watcher {
        watcher.follow(&order_id);
        if let Some(loss) = scenario.loses_network() {
            watcher.lose(between(loss));
        }
    }
    go_on(scenario, &order_id, customer).await
}

/// Places the order.
async fn place_order(scenario: Scenario, number: u64) -> Result<String, String> {
    let order_id = place(number, number, &scenario.order()).await?;
    order_id.ok_or_else(|| "the order is refused".to_owned())
}

/// Places an order, and returns its id; none when the shop refuses it.
///
/// # Errors
/// When there is no answer, or one that an order must not have.
pub async fn place(customer: u64, order: u64, body: &Value) -> Result<Option<String>, String> {
    let headers = || with_key(user(customer), &format!("simulated-order-{order}"));
    let reply = send("customer", "orders-api", "POST", "/v1/orders", &headers, &body.to_string()).await?;
    let is_gone = world().left.borrow().contains(&customer);
    if is_gone && matches!(reply.status, 401 | 403) {
        return Ok(None);
    }
    expect(&reply, &[202, 409, 422], "the order")?;
    let answer: Value = serde_json::from_str(&reply.body).map_err(|error| error.to_string())?;
    if reply.status != 202 {
        world().network.trace().line(format_args!("order {order} is refused: {}", reply.body));
        return Ok(None);
    }
    answer["order_id"]
        .as_str()
        .map(|id| Some(id.to_owned()))
        .ok_or_else(|| format!("no order_id in {answer}"))
}

/// Cancels an order.
///
/// # Errors
/// When there is no answer, or one that a cancel must not have.
pub async fn cancel(customer: u64, order_id: &str) -> Result<(), String> {
    let path = format!("/v1/orders/{order_id}/cancel");
    let reply = send("customer", "orders-api", "POST", &path, &|| user(customer), "").await?;
    if world().left.borrow().contains(&customer) && matches!(reply.status, 401 | 403) {
        return Ok(());
    }
    // 409: it has ended already.
    expect(&reply, &[200, 202, 409], "the cancel")
}

/// What the customer does after the order was placed.
async fn go_on(scenario: Scenario, order_id: &str, number: u64) -> Result<(), String> {
    if scenario == Scenario::Leaves {
        sleep(between(LEAVES)).await;
        return accounts::leave(number).await;
    }
    if !matches!(scenario, Scenario::PaysLate | Scenario::Bounces | Scenario::Cancels) {
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
    if scenario != Scenario::Cancels {
        world().gateway.authenticate(order_id);
        return Ok(());
    }
    cancel(number, order_id).await
}

/// The headers of a customer's requests. The token is a new one.
pub fn user(number: u64) -> Value {
    let token = world().keys.bearer(&user_id(number), vec![]);
    json!({"authorization": token, "content-type": "application/json"})
}

/// The headers of an administrator's requests.
pub fn admin() -> Value {
    let token = world().keys.bearer(&format!("usr_{:032x}", 1), vec![Role::Admin]);
    json!({"authorization": token, "content-type": "application/json"})
}

/// Headers with an idempotency key.
pub fn with_key(mut headers: Value, key: &str) -> Value {
    headers["idempotency-key"] = json!(key);
    headers
}

/// Sends a request, as a client that repeats what has no answer. `headers` makes them for each try, with a new token.
///
/// # Errors
/// When there is none after all tries.
pub async fn send(
    name: &str,
    function: &str,
    method: &str,
    path: &str,
    headers: &dyn Fn() -> Value,
    body: &str,
) -> Result<Reply, String> {
    let caller = Caller { name: name.to_owned(), instance: None };
    let mut last = "there was none".to_owned();
    for attempt in 0..TRIES {
        let call = Call {
            protocol: Protocol::Http,
            operation: format!("{function} {method} {path}"),
            request: body.to_owned(),
            // Tokens differ in their signatures.
            is_secret: path.starts_with("/v1/auth/"),
        };
        let request = world().customer_request(method, path, headers(), body);
        let function = function.to_owned();
        let effect = |_| -> network::Effect {
            let (function, request) = (function.clone(), request.clone());
            Box::pin(async move { world().http(&function, request).await })
        };
        match timeout(CLIENT, world().network.call(&caller, call, effect)).await {
            Ok(Ok(reply)) if reply.status < 500 && reply.status != 429 => return Ok(reply),
            Ok(Ok(reply)) => last = format!("{} {}", reply.status, reply.body),
            Ok(Err(_)) | Err(_) => "it was lost".clone_into(&mut last),
        }
        // Twice as long after each try, up to a minute.
        sleep(between(500..2_000) * 2_u32.pow(attempt.min(5))).await;
    }
    Err(format!("{method} {path} has no answer after {TRIES} tries; the last: {last}"))
}
