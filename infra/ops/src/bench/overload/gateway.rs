//! Payments: the Stripe proxy allows so many requests a second to each endpoint, and real orders are placed.

use std::time::Duration;

use contracts::{OrderId, OrderLine, OrderStatus, Sku};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::{Load, Measured};
use crate::demo::{Customer, Story};
use crate::emulator::Emulator;
use crate::error::{Error, Result};
use crate::progress::Step;
use crate::shop::{self, Gateway, NewOrder, Shop};
use crate::state::Outputs;

const FUNCTION: &str = "payments-commands";
const RATE: &str = "GATEWAY_REQUESTS_PER_SECOND";
/// A customer may place 40 orders at once, and then one a second.
const ORDERS_PER_CUSTOMER: usize = 40;
/// Until a new product can be ordered, or an order ends when nothing is in its way.
const KNOWN: Duration = Duration::from_secs(120);
/// After the last order was placed: as long as a payment may take.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

pub async fn measure(outputs: &Outputs, load: &Load, step: &Step) -> Result<Measured> {
    let emulator = Emulator::new(&outputs.aws_endpoint_url);
    let gateway = Gateway::new(&outputs.stripe_url);
    let before = variables(&emulator, outputs).await?;
    let mut slower = before.clone();
    slower[RATE] = json!(load.limit.to_string());
    set_variables(&emulator, outputs, &slower).await?;
    let limit = json!({"mode": "at_most", "per_second": load.limit});
    gateway.plan_fault(&limit).await.map_err(failed)?;
    let measured = orders(outputs, &gateway, load, step).await;
    gateway.forget_faults().await.map_err(failed)?;
    set_variables(&emulator, outputs, &before).await?;
    measured
}

async fn orders(outputs: &Outputs, gateway: &Gateway, load: &Load, step: &Step) -> Result<Measured> {
    let times = load.times();
    let customers = times.len().div_ceil(ORDERS_PER_CUSTOMER);
    let customers =
        try_join_all((0..customers).map(|_| Customer::register(outputs))).await.map_err(failed)?;
    step.at("a product of its own");
    let order = &product(outputs, &customers[0], times.len()).await.map_err(failed)?;
    let since_ms = gateway.calls().await.map_err(failed)?.now_ms;
    let began = Instant::now();
    let places = customers.iter().cycle().zip(times);
    let places = places.map(|(customer, at)| place(&customer.shop, order, began, at));
    let placed = try_join_all(places).await.map_err(failed)?;
    let (mut lost, ends) = (0, Instant::now() + PATIENCE);
    for (n, (shop, order_id, _)) in placed.iter().enumerate() {
        step.part(n, placed.len());
        step.at(format!("order {} of {}", n + 1, placed.len()));
        let left = ends.saturating_duration_since(Instant::now());
        let ended = shop::eventually("the order ends", left, async || {
            let order = shop.order(order_id).await?;
            if order.status.is_final() { Ok(order.status) } else { Err(order.status)? }
        })
        .await;
        lost += usize::from(!matches!(ended, Ok(OrderStatus::OrderCompleted)));
    }
    let calls = gateway.calls().await.map_err(failed)?;
    let done = calls.paid(since_ms).into_iter().map(|at| Duration::from_millis(at - since_ms)).collect();
    let offered = placed.iter().map(|(_, _, at)| *at).collect();
    Ok(Measured { offered, done, throttled: calls.throttled(since_ms), lost })
}

/// Places the order at its time, and says when it was placed.
async fn place<'a>(
    shop: &'a Shop,
    order: &NewOrder,
    began: Instant,
    at: Duration,
) -> shop::Result<(&'a Shop, OrderId, Duration)> {
    sleep_until(began + at).await;
    let placed = shop.place(order, &Uuid::new_v4().to_string()).await?;
    Ok((shop, placed.order_id, began.elapsed()))
}

/// An order of one piece of a product that there is enough of, once orders know its price.
async fn product(outputs: &Outputs, customer: &Customer, orders: usize) -> shop::Result<NewOrder> {
    let admin = Shop::new(&outputs.api_url).login(&outputs.admin.email, &outputs.admin.password).await?;
    let sku = format!("OVERLOAD-{}", &Uuid::new_v4().simple().to_string()[..8]);
    let sku = Sku::try_from(sku).map_err(|error| shop::Error::Unfit { reason: error.to_string() })?;
    let product = json!({
        "sku": sku, "name": "Overload", "description": "", "category": "bench",
        "price": {"amount": 1000, "currency": "USD"},
    });
    admin.call(Method::POST, "/v1/products").json(&product).send().await?.read::<Value>()?;
    // One more, for the order by which is found that it can be ordered.
    let stock = json!({"available": orders + 1});
    let path = format!("/v1/inventory/{sku}");
    admin.call(Method::PUT, &path).json(&stock).send().await?.read::<Value>()?;
    let basket = customer.basket(Story::Completes).await?;
    let order = NewOrder { items: vec![OrderLine { sku, quantity: 1 }], ..basket.order };
    let key = Uuid::new_v4().to_string();
    let id = shop::eventually("the product can be ordered", KNOWN, async || {
        Ok(customer.shop.place(&order, &key).await.map_err(|error| error.to_string())?.order_id)
    })
    .await?;
    shop::eventually("the first order ends", KNOWN, async || {
        let status = customer.shop.order(&id).await?.status;
        if status.is_final() { Ok(()) } else { Err(status)? }
    })
    .await?;
    Ok(order)
}

async fn variables(emulator: &Emulator, outputs: &Outputs) -> Result<Value> {
    let answer = configuration(emulator, outputs, Method::GET, Vec::new()).await?;
    let mut answer: Value =
        serde_json::from_str(&answer).map_err(|error| Error::Bench(format!("{FUNCTION}: {error}")))?;
    Ok(answer["Environment"]["Variables"].take())
}

async fn set_variables(emulator: &Emulator, outputs: &Outputs, variables: &Value) -> Result<()> {
    let body = json!({"Environment": {"Variables": variables}}).to_string().into_bytes();
    configuration(emulator, outputs, Method::PUT, body).await.map(drop)
}

async fn configuration(
    emulator: &Emulator,
    outputs: &Outputs,
    method: Method,
    body: Vec<u8>,
) -> Result<String> {
    let path = format!("/2015-03-31/functions/ordersaga-{}-{FUNCTION}/configuration", outputs.stage);
    emulator.send("lambda", "FunctionConfiguration", method, &path, &[], body).await
}

fn failed(error: shop::Error) -> Error {
    Error::Bench(error.to_string())
}
