//! What a customer does with an order, and what the world does to it.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use contracts::{OrderId, OrderStatus};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use shop_client::card;
use uuid::Uuid;

use crate::judge;
use crate::lane::Lane;
use crate::platform::Platform;
use crate::wait::until;

/// How long a customer, the gateway or an operator goes on trying.
const WITHIN: Duration = Duration::from_secs(300);
/// Refused requests of an order while the gateway is down for it.
const REFUSALS: u32 = 3;

/// What a step of a scenario says when it did not work.
type Result<T> = std::result::Result<T, String>;

/// One order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// Stock is reserved, the card charged, a shipment booked: completed
    Completes,
    /// There is too little stock: cancelled
    OutOfStock,
    /// The card is declined: cancelled
    Declined,
    /// The bank asks the customer, who answers: completed
    PaysLate,
    /// No carrier serves the country: refunded and cancelled
    CannotShip,
    /// The bank asks the customer, who cancels the order instead: cancelled
    Cancels,
    /// The gateway refuses the first three requests of the order: completed
    GatewayDown,
    /// A discount code is used: completed
    Discount,
    /// The bank returns a refund, and an operator retries it: refunded and cancelled
    RefundFails,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No scenario is skipped, so each has a value.
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

impl Scenario {
    /// How the order ends, without faults and with them.
    // No single fault lasts as long as an order waits.
    pub const fn ending(self) -> OrderStatus {
        match self {
            Self::Completes | Self::PaysLate | Self::GatewayDown | Self::Discount => {
                OrderStatus::OrderCompleted
            }
            Self::OutOfStock | Self::Declined | Self::CannotShip | Self::Cancels | Self::RefundFails => {
                OrderStatus::OrderCancelled
            }
        }
    }

    /// The pieces that the order takes for good.
    pub const fn pieces(self) -> u64 {
        matches!(self.ending(), OrderStatus::OrderCompleted) as u64
    }

    /// How often the order uses its lane's discount code for good.
    pub const fn uses(self) -> u64 {
        matches!(self, Self::Discount) as u64
    }

    /// Places the order. The customer repeats what has no answer, as any client does.
    ///
    /// # Errors
    /// What did not work until the deadline.
    pub async fn place(self, platform: &Platform, lane: &Lane, order: &OrderId, key: &str) -> Result<()> {
        if self == Self::GatewayDown {
            let fault = json!({"key_prefix": format!("{order}."), "mode": "refuse", "count": REFUSALS});
            platform.gateway.plan_fault(&fault).await.map_err(said)?;
        }
        let body = self.order(platform, lane).await?;
        let place = async || {
            let call = lane.shop.call(Method::POST, "/v1/orders").header("idempotency-key", key).json(&body);
            let placed: Value = call.send().await?.read()?;
            if placed["order_id"] == order.as_str() { Ok(()) } else { Err(placed.to_string())? }
        };
        until("the order is placed", WITHIN, place).await.map_err(said)
    }

    /// Does what follows the order.
    ///
    /// # Errors
    /// As [`Scenario::place`].
    pub async fn go_on(self, platform: &Platform, lane: &Lane, order: &OrderId) -> Result<()> {
        match self {
            Self::PaysLate => pay(platform, lane, order).await,
            Self::Cancels => cancel(platform, lane, order).await,
            Self::RefundFails => return_the_refund(platform, lane, order).await,
            _ => Ok(()),
        }
    }

    async fn order(self, platform: &Platform, lane: &Lane) -> Result<Value> {
        let payment_method = match self {
            Self::Declined => card::DECLINED.to_owned(),
            Self::PaysLate | Self::Cancels => {
                platform.gateway.store_card(card::ASKS_FIRST).await.map_err(said)?
            }
            _ => card::GOOD.to_owned(),
        };
        // No carrier serves Antarctica.
        let country = if matches!(self, Self::CannotShip | Self::RefundFails) { "AQ" } else { "DE" };
        let quantity = if self == Self::OutOfStock { lane.stock + 1 } else { 1 };
        let mut order = json!({
            "items": [{"sku": lane.sku, "quantity": quantity}],
            "payment_method": payment_method,
            "shipping_address": {
                "name": "Chaos Customer", "line1": "1 Test Street", "city": "Testing", "postal_code": "12345",
                "country": country,
            },
        });
        if self == Self::Discount {
            order["discount_code"] = json!(lane.code);
        }
        Ok(order)
    }
}

/// Waits until the bank asks the customer.
async fn asked(platform: &Platform, lane: &Lane) -> Result<()> {
    let asks = async || {
        let intents = platform.intents(lane).await?;
        let asks = intents.iter().any(|intent| intent.status == "requires_action");
        if asks { Ok(()) } else { Err(format!("{intents:?}"))? }
    };
    until("the bank asks the customer", WITHIN, asks).await.map_err(said)
}

async fn pay(platform: &Platform, lane: &Lane, order: &OrderId) -> Result<()> {
    asked(platform, lane).await?;
    let confirm = async || {
        let payment = lane.shop.payment(order).await?;
        let asked = payment.next_action.ok_or(payment.status)?;
        Ok(platform.gateway.authenticate(&asked).await?)
    };
    until("the customer confirms the payment", WITHIN, confirm).await.map_err(said)
}

async fn cancel(platform: &Platform, lane: &Lane, order: &OrderId) -> Result<()> {
    asked(platform, lane).await?;
    let cancel = async || {
        let call = lane.shop.call(Method::POST, &format!("/v1/orders/{order}/cancel")).json(&json!({}));
        match call.send().await?.status {
            // 409: it is cancelled already, by a request whose answer was lost.
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::CONFLICT => Ok(()),
            status => Err(status)?,
        }
    };
    until("the order is cancelled", WITHIN, cancel).await.map_err(said)
}

/// The bank returns a refund days after the order was cancelled. The order needs attention, and an operator retries it.
async fn return_the_refund(platform: &Platform, lane: &Lane, order: &OrderId) -> Result<()> {
    happened(platform, order, "order.cancelled").await?;
    let refunds = async || {
        let taken = platform.intents(lane).await?.into_iter().find(|intent| intent.status == "succeeded");
        let refunds = platform.gateway.refunds(&taken.ok_or("no money was taken")?).await?;
        Ok(refunds.into_iter().next().ok_or("no refund")?)
    };
    let mut refund = until("the money is refunded", WITHIN, refunds).await.map_err(said)?;
    refund["status"] = json!("failed");
    refund["failure_reason"] = json!("expired_or_canceled_card");
    let event = json!({
        "id": format!("evt_{}", Uuid::new_v4().simple()), "type": "refund.failed", "data": {"object": refund},
    });
    let sent = async || {
        let status = webhook(platform, &event).await?;
        if status == StatusCode::OK { Ok(()) } else { Err(status)? }
    };
    until("the gateway's webhook is taken", WITHIN, sent).await.map_err(said)?;
    happened(platform, order, "order.compensation_failed").await?;
    let retry = async || match platform.ops(&["saga", "retry", order.as_str()]).await {
        // The try before did all of it, and its answer was lost.
        Err(error) if error.contains("has ended as OrderCancelled") => Ok(()),
        tried => Ok(tried?),
    };
    until("the operator retries the refund", WITHIN, retry).await.map_err(said)
}

/// Waits until the order has this event. Read from the table: a customer who asks again and again makes other calls each time.
async fn happened(platform: &Platform, order: &OrderId, event_type: &str) -> Result<()> {
    let has_it = async || {
        let events = judge::events(platform, order).await?;
        let has_it = events.iter().any(|event| event["event_type"] == event_type);
        if has_it { Ok(()) } else { Err(format!("{} events", events.len()))? }
    };
    until(&format!("the order has {event_type}"), WITHIN, has_it).await.map_err(said)
}

/// Sends an event as Stripe signs it: <https://docs.stripe.com/webhooks#verify-manually>.
async fn webhook(platform: &Platform, event: &Value) -> shop_client::Result<StatusCode> {
    let (seconds, body) = (Timestamp::now().as_second(), event.to_string());
    let mut hmac = Hmac::<Sha256>::new_from_slice(platform.webhook_secret.as_bytes())
        .map_err(|error| shop_client::Error::Unfit { reason: format!("the webhook's secret: {error}") })?;
    hmac.update(format!("{seconds}.{body}").as_bytes());
    let signature: String = hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let call = platform.shop.call(Method::POST, "/v1/payments/webhook").body("application/json", body);
    let call = call.header("stripe-signature", &format!("t={seconds},v1={signature}"));
    Ok(call.send_once().await?.status)
}

fn said(error: impl fmt::Display) -> String {
    error.to_string()
}
