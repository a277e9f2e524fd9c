//! A storm: customers at a rate, side by side on few products and discount codes, each in a way of its own, and the staff
//! at work beside them. What each of them does follows from the seed and from nothing that happens in the run.

use std::time::Duration;

use fastrand::Rng;
use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    accounts,
    fault::Chances,
    scenario::{
        add_code, add_product, address, admin, cancel, expect, order, place, publish_contact, send, with_key,
    },
    services::mailbox::Reception,
    watch::Watcher,
    world::world,
};

/// The products, with their prices in cents.
const PRODUCTS: [(&str, i64); 4] =
    [("MUG-BLUE", 2_100), ("MUG-RED", 1_950), ("TEA-EARL-GREY", 890), ("TEAPOT", 5_400)];
/// The discount codes of the beginning.
const CODES: [&str; 4] = ["TEN", "FIVE-OFF", "GIFT", "ONCE"];
/// Mean times between two customers, in milliseconds.
const PACES: [u64; 4] = [50, 200, 1_000, 5_000];
/// Of ten thousand calls, how many go wrong.
const RATES: [u32; 5] = [20, 100, 300, 1_000, 2_000];
/// Of a million calls, how many begin something that lasts.
const LASTING_RATES: [u32; 3] = [0, 50, 200];
/// Until then a customer looks whether the bank asks.
const ASKS: Duration = Duration::from_mins(20);
/// The time between two looks at what the bank asks.
const LOOK: Duration = Duration::from_secs(2);
/// For how long faults go on after the last customer has left: payments have 15 minutes.
const AFTER: Duration = Duration::from_mins(20);

#[derive(Debug, Clone)]
pub struct Storm {
    seed: u64,
    orders: u64,
    pace: u64,
    chances: Chances,
}

/// What a customer does after the order.
#[derive(Debug, Clone, Copy)]
enum Then {
    Leaves,
    /// Answers the bank this long after it asks.
    Answers(Duration),
    /// Cancels this long after the order.
    Cancels(Duration),
    /// Answers the bank and cancels the order at about the same time.
    AnswersAndCancels(Duration),
}

impl Storm {
    pub fn new(seed: u64, orders: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let pace = *random.choice(&PACES).expect("there are some");
        let once = *random.choice(&RATES).expect("there are some");
        let lasting = *random.choice(&LASTING_RATES).expect("there are some");
        Self { seed, orders, pace, chances: Chances { seed, once, lasting } }
    }

    /// At which rates calls go wrong.
    pub fn chances(&self) -> Chances {
        self.chances.clone()
    }

    /// Lets all customers and the staff do what they do.
    ///
    /// # Errors
    /// When one of them gets an answer that must not be.
    pub async fn play(&self) -> Result<(), String> {
        let mut arrival = Duration::ZERO;
        let mut visits = Vec::new();
        for number in 1..=self.orders {
            let mut random = self.random(number);
            arrival += Duration::from_millis(random.u64(0..2 * self.pace));
            visits.push(async move {
                sleep(arrival).await;
                visit(number, random).await
            });
        }
        let shifts = (1..=self.orders / 8).map(|number| {
            let mut random = self.random(number << 32);
            let at =
                Duration::from_millis(random.u64(0..=u64::try_from(arrival.as_millis()).unwrap_or(u64::MAX)));
            async move {
                sleep(at).await;
                shift(number, random).await
            }
        });
        let (visited, worked) = futures::join!(try_join_all(visits), try_join_all(shifts));
        sleep(AFTER).await;
        world().network.faults().end();
        visited.and(worked).map(drop)
    }

    /// The random numbers of one customer or one of the staff.
    fn random(&self, number: u64) -> Rng {
        Rng::with_seed(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number)
    }
}

/// Puts the products into the shop, with some stock: too little for all orders.
///
/// # Errors
/// When the platform does not take it.
pub async fn set_up(orders: u64) -> Result<(), String> {
    for (sku, price) in PRODUCTS {
        add_product(sku, price, orders / 4 + 1).await?;
    }
    for number in 1..=customer(orders) {
        world().mailbox.receive(address(number), reception(number));
        if has_account(number) {
            accounts::register(number).await?;
        } else {
            publish_contact(number, number % 3 == 0);
        }
    }
    let usd = |amount: i64| json!({"amount": amount, "currency": "USD"});
    add_code(&json!({"code": CODES[0], "percentage": 10})).await?;
    add_code(&json!({"code": CODES[1], "amount": usd(500), "total_limit": orders / 20 + 1})).await?;
    // A total of nothing is not charged.
    add_code(&json!({"code": CODES[2], "percentage": 100, "total_limit": orders / 20 + 1})).await?;
    add_code(&json!({"code": CODES[3], "percentage": 20, "per_customer_limit": 1})).await
}

/// Lets a customer order, and do what follows.
async fn visit(number: u64, mut random: Rng) -> Result<(), String> {
    let customer = customer(number);
    let (body, then) = plan(&mut random);
    let watcher = (random.u32(..3) == 0).then(|| Watcher::start(customer, random.bool()));
    let loss = random.bool().then(|| Duration::from_millis(random.u64(0..30_000)));
    let order_id = if random.u32(..10) == 0 {
        // A double click.
        let (first, second) = futures::join!(place(customer, number, &body), place(customer, number, &body));
        // A refusal is not kept: a later try may be accepted, when a code was given back. An order is.
        match (first?, second?) {
            (Some(first), Some(second)) if first != second => {
                return Err(format!("one request is answered with the orders {first} and {second}"));
            }
            (first, second) => first.or(second),
        }
    } else {
        place(customer, number, &body).await?
    };
    let leaves = random.u32(..4) == 0 && has_account(customer);
    let after = Duration::from_millis(random.u64(0..20_000));
    let Some(order_id) = order_id else { return Ok(()) };
    if let Some(watcher) = watcher {
        watcher.follow(&order_id);
        loss.into_iter().for_each(|loss| watcher.lose(loss));
    }
    if leaves {
        sleep(after).await;
        return accounts::leave(customer).await;
    }
    match then {
        Then::Leaves => Ok(()),
        Then::Answers(after) => {
            answer(&order_id, after).await;
            Ok(())
        }
        Then::Cancels(after) => {
            sleep(after).await;
            cancel(customer, &order_id).await
        }
        Then::AnswersAndCancels(after) => {
            answer(&order_id, after).await;
            cancel(customer, &order_id).await
        }
    }
}

/// Who places an order: each customer has two or so.
const fn customer(order: u64) -> u64 {
    1 + order / 2
}

/// Whether a customer has an account. Most have none: to register takes as long as some orders do.
const fn has_account(customer: u64) -> bool {
    customer % 10 == 5
}

/// What becomes of the e-mails to a customer. An account may be any of them.
const fn reception(customer: u64) -> Reception {
    match customer % 18 {
        4 | 13 => Reception::Bounce,
        7 | 16 => Reception::AreSpam,
        2 => Reception::BounceForNow,
        11 => Reception::AreNoSpam,
        _ => Reception::Arrive,
    }
}

/// What a customer orders, and does then.
fn plan(random: &mut Rng) -> (Value, Then) {
    let mut items = PRODUCTS.to_vec();
    random.shuffle(&mut items);
    items.truncate(random.usize(1..=3));
    let quantity = |random: &mut Rng| if random.u32(..20) == 0 { 900 } else { random.u32(1..=3) };
    let items: Vec<Value> =
        items.iter().map(|(sku, _)| json!({"sku": sku, "quantity": quantity(random)})).collect();
    let card = match random.u32(..100) {
        0..60 => "pm_card_visa",
        60..70 => "pm_card_chargeCustomerFail",
        70..75 => "pm_card_refundFail",
        _ => "pm_card_authenticationRequired",
    };
    let code = (random.u32(..3) == 0).then(|| *random.choice(&CODES).expect("there are some"));
    let cannot_ship = random.u32(..12) == 0;
    let soon = |random: &mut Rng| Duration::from_millis(random.u64(0..8_000));
    let then = match random.u32(..10) {
        0..2 => Then::Leaves,
        2..7 => Then::Answers(Duration::from_millis(random.u64(0..240_000))),
        7..9 => Then::Cancels(soon(random)),
        _ => Then::AnswersAndCancels(soon(random)),
    };
    (order(&Value::from(items), card, cannot_ship, code), then)
}

/// Answers the bank some time after it asks.
async fn answer(order_id: &str, after: Duration) {
    let until = Instant::now() + ASKS;
    while !world().gateway.asks_customer(order_id) {
        if Instant::now() > until || world().gateway.has_ended(order_id) {
            return;
        }
        sleep(LOOK).await;
    }
    sleep(after).await;
    world().gateway.authenticate(order_id);
}

/// What one of the staff does: counts or moves stock, changes a price, ends a discount code or makes a new one.
async fn shift(number: u64, mut random: Rng) -> Result<(), String> {
    let (sku, price) = *random.choice(&PRODUCTS).expect("there are some");
    match random.u32(..10) {
        0..5 => {
            let headers = || with_key(admin(), &format!("simulated-adjustment-{number}"));
            let delta = if random.bool() { random.i64(1..=20) } else { -random.i64(1..=5) };
            let path = format!("/v1/inventory/{sku}/adjustments");
            let body = json!({"delta": delta, "reason": "counted"}).to_string();
            let reply = send("admin", "inventory-api", "POST", &path, &headers, &body).await?;
            // 422: it would fall below zero.
            expect(&reply, &[200, 422], "the adjustment")
        }
        5 => {
            let path = format!("/v1/inventory/{sku}");
            let body = json!({"available": random.u32(0..50)}).to_string();
            let reply = send("admin", "inventory-api", "PUT", &path, &admin, &body).await?;
            expect(&reply, &[200], "the stock")
        }
        6..8 => {
            let headers = || {
                let mut headers = admin();
                headers["if-match"] = json!("*");
                headers
            };
            let price = json!({"amount": price + random.i64(-100..=100), "currency": "USD"});
            let body = json!({"name": sku, "category": "kitchen", "price": price}).to_string();
            let path = format!("/v1/products/{sku}");
            let reply = send("admin", "catalog-api", "PUT", &path, &headers, &body).await?;
            expect(&reply, &[200], "the price")
        }
        8 => {
            let path = format!("/v1/discounts/{}", random.choice(&CODES).expect("there are some"));
            let reply = send("admin", "orders-api", "DELETE", &path, &admin, "").await?;
            // 404: it has been ended before.
            expect(&reply, &[204, 404], "the end of a code")
        }
        _ => add_code(&json!({"code": format!("SPRING-{number}"), "percentage": 5})).await,
    }
}
