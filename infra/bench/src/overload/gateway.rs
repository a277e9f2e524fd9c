//! Payments: the Stripe proxy limits the requests a second to each endpoint.

use std::time::Duration;

use local_stack::{Outputs, Step};
use serde_json::json;
use shop_client::Gateway;

use super::load::{Load, Measured};
use super::orders::Orders;
use super::variable;
use crate::error::Result;

const RATE: &str = "GATEWAY_REQUESTS_PER_SECOND";

pub async fn measure(outputs: &Outputs, load: &Load, step: &Step) -> Result<Measured> {
    let gateway = Gateway::new(&outputs.stripe_url);
    let limited = async {
        let limit = json!({"mode": "at_most", "per_second": load.limit});
        gateway.plan_fault(&limit).await?;
        let measured = orders(outputs, &gateway, load, step).await;
        gateway.forget_faults().await?;
        measured
    };
    variable::with(outputs, "payments-commands", (RATE, &load.limit.to_string()), limited).await
}

async fn orders(outputs: &Outputs, gateway: &Gateway, load: &Load, step: &Step) -> Result<Measured> {
    let orders = Orders::prepare(outputs, load, step).await?;
    let since_ms = gateway.calls().await?.now_ms;
    let placed = orders.place(step).await?;
    let calls = gateway.calls().await?;
    let done = calls.paid(since_ms).into_iter().map(|at| Duration::from_millis(at - since_ms)).collect();
    Ok(Measured { offered: placed.offered, done, throttled: calls.throttled(since_ms), lost: placed.lost })
}
