//! The payment gateway from the customer's side: what the browser and the bank do with it, and what can be looked up.

use std::collections::BTreeMap;

use contracts::OrderId;
use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::client::{Call, Shop};
use crate::error::Result;
use crate::model::NextAction;

/// Test cards (<https://docs.stripe.com/testing>).
pub mod card {
    /// A payment method that the gateway has for tests: its card is charged.
    pub const GOOD: &str = "pm_card_visa";
    /// A payment method that the gateway has for tests: its card is declined when it is charged.
    pub const DECLINED: &str = "pm_card_chargeCustomerFail";
    /// The number of a card whose bank requires the customer's confirmation (3-D Secure).
    pub const ASKS_FIRST: &str = "4000002500003155";
}

/// The local gateway; it takes any test key.
#[derive(Debug, Clone)]
pub struct Gateway(Shop);

/// A payment intent of the gateway.
#[derive(Debug, Clone, Deserialize)]
pub struct Intent {
    pub id: String,
    pub status: String,
    pub amount: i64,
    #[serde(default)]
    pub metadata: Value,
}

/// The calls that the proxy in front of the gateway has answered.
#[derive(Debug, Clone, Deserialize)]
pub struct Calls {
    /// Milliseconds of the same clock as `at_ms`.
    pub now_ms: u64,
    pub calls: Vec<GatewayCall>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct GatewayCall {
    /// Method and path, with `{id}` in the place of ids.
    pub endpoint: String,
    pub at_ms: u64,
    pub status: u16,
}

impl Calls {
    /// When payments were confirmed, in milliseconds, from `since_ms` on.
    pub fn paid(&self, since_ms: u64) -> Vec<u64> {
        self.confirms(since_ms).filter(|call| call.status == 200).map(|call| call.at_ms).collect()
    }

    /// The number of throttled confirmations since `since_ms`.
    pub fn throttled(&self, since_ms: u64) -> usize {
        self.confirms(since_ms).filter(|call| call.status == 429).count()
    }

    fn confirms(&self, since_ms: u64) -> impl Iterator<Item = &GatewayCall> {
        let confirms = |call: &&GatewayCall| call.endpoint == "POST /v1/payment_intents/{id}/confirm";
        self.calls.iter().filter(move |call| call.at_ms >= since_ms).filter(confirms)
    }
}

#[derive(Deserialize)]
struct Stored {
    id: String,
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Refund {
    id: String,
    amount: i64,
    payment_intent: Option<String>,
}

impl Gateway {
    pub fn new(stripe_url: &str) -> Self {
        Self(Shop::new(stripe_url).with_token("sk_test_customer"))
    }

    /// Stores a card, as the customer's browser does, and answers its payment method.
    ///
    /// # Errors
    /// The gateway refuses or does not answer; so for all of these.
    pub async fn store_card(&self, number: &str) -> Result<String> {
        let form =
            format!("type=card&card[number]={number}&card[exp_month]=12&card[exp_year]=2035&card[cvc]=123");
        let stored: Stored = self.post("/v1/payment_methods", form).send().await?.read()?;
        Ok(stored.id)
    }

    /// Every payment that was begun for an order.
    pub async fn intents_of(&self, order: &OrderId) -> Result<Vec<Intent>> {
        let mut intents = self.intents().await?;
        intents.retain(|intent| intent.metadata["order_id"] == order.as_str());
        Ok(intents)
    }

    /// Every payment that was begun.
    pub async fn intents(&self) -> Result<Vec<Intent>> {
        self.all("/v1/payment_intents", |intent: &Intent| intent.id.clone()).await
    }

    /// By the id of an intent, what of it was refunded, in minor units.
    pub async fn refunded_by_intent(&self) -> Result<BTreeMap<String, i64>> {
        let refunds = self.all("/v1/refunds", |refund: &Refund| refund.id.clone()).await?;
        let mut refunded = BTreeMap::new();
        for Refund { payment_intent, amount, .. } in refunds {
            *refunded.entry(payment_intent.unwrap_or_default()).or_default() += amount;
        }
        Ok(refunded)
    }

    /// All objects of a list.
    async fn all<T: DeserializeOwned>(&self, path: &str, id: impl Fn(&T) -> String) -> Result<Vec<T>> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page: List<T> = self.0.get(&format!("{path}?limit=100{after}")).await?;
            if let Some(last) = page.data.last() {
                after = format!("&starting_after={}", id(last));
            }
            let more = page.has_more && !page.data.is_empty();
            found.extend(page.data);
            if !more {
                return Ok(found);
            }
        }
    }

    /// A payment by its id.
    pub async fn intent(&self, id: &str) -> Result<Intent> {
        self.0.get(&format!("/v1/payment_intents/{id}")).await
    }

    /// Confirms the payment as the customer does at the bank.
    pub async fn authenticate(&self, asked: &NextAction) -> Result<()> {
        let path = format!("/v1/payment_intents/{}/_authenticate", asked.payment_intent);
        let form = format!("client_secret={}&success=true", asked.client_secret);
        self.post(&path, form).send().await?.read::<Value>().map(drop)
    }

    /// The refunded amount of a payment, in minor units.
    pub async fn refunded(&self, intent: &Intent) -> Result<i64> {
        let path = format!("/v1/refunds?payment_intent={}", intent.id);
        let refunds: List<Refund> = self.0.get(&path).await?;
        Ok(refunds.data.iter().map(|refund| refund.amount).sum())
    }

    /// The refunds of a payment, as the gateway has them.
    pub async fn refunds(&self, intent: &Intent) -> Result<Vec<Value>> {
        let refunds: List<Value> = self.0.get(&format!("/v1/refunds?payment_intent={}", intent.id)).await?;
        Ok(refunds.data)
    }

    /// Gives back a part of a payment, as staff do in the gateway's dashboard.
    pub async fn refund(&self, intent: &Intent, amount: i64) -> Result<()> {
        let form = format!("payment_intent={}&amount={amount}", intent.id);
        self.post("/v1/refunds", form).send_once().await?.read::<Value>().map(drop)
    }

    /// Makes the gateway fail, as infra/local-stack/README.md describes.
    pub async fn plan_fault(&self, fault: &Value) -> Result<()> {
        self.0.call(Method::POST, "/_faults").json(fault).send().await?.read::<Value>().map(drop)
    }

    /// The calls that the proxy answered of late, oldest first, and its time now in milliseconds.
    pub async fn calls(&self) -> Result<Calls> {
        self.0.get("/_calls").await
    }

    /// Takes back every failure that is still to come.
    pub async fn forget_faults(&self) -> Result<()> {
        self.0.call(Method::DELETE, "/_faults").send().await?.read::<Value>().map(drop)
    }

    fn post(&self, path: &str, form: String) -> Call {
        self.0.call(Method::POST, path).body("application/x-www-form-urlencoded", form)
    }
}
