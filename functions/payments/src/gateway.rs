//! Stripe, as much of it as is called here: payment intents and refunds (<https://docs.stripe.com/api>).

mod error;
mod http;
mod object;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use contracts::Money;
use futures::FutureExt;
use jiff::Timestamp;
use lambda_kit::{
    breaker::{Breaker, Guarded},
    health::Check,
};
use serde::de::DeserializeOwned;

pub use error::GatewayError;
pub use http::Timeouts;
pub use object::{IntentObject, RefundState, in_minor_units};

use crate::{
    domain::{Charge, Operation, Payment},
    secrets::Secrets,
};

/// One try of a health check: whoever asks wants to know now.
const HEALTH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// Calls Stripe with the API key out of Secrets Manager, unless the breaker says that it is down.
///
/// `create`, `confirm` and `refund` carry the payment's idempotency key. `cancel` has none: it is idempotent by
/// itself, and a key would keep the refusal that it met while the payment was processing.
#[derive(Debug, Clone)]
pub struct Gateway {
    connector: SharedHttpConnector,
    url: String,
    timeouts: Timeouts,
    secrets: Arc<Secrets>,
    breaker: Breaker,
}

/// A request, whichever key it is sent with.
struct Call<'a> {
    method: &'static str,
    path: String,
    form: Vec<(&'a str, String)>,
    idempotency_key: Option<String>,
}

impl<'a> Call<'a> {
    fn get(path: String) -> Self {
        Self { method: "GET", path, form: vec![], idempotency_key: None }
    }

    fn post(path: String, form: Vec<(&'a str, String)>, idempotency_key: Option<String>) -> Self {
        Self { method: "POST", path, form, idempotency_key }
    }
}

impl Gateway {
    pub fn new(url: &str, timeouts: Timeouts, secrets: Arc<Secrets>, breaker: Breaker) -> Self {
        Self {
            connector: http::connector(timeouts),
            url: url.trim_end_matches('/').to_owned(),
            timeouts,
            secrets,
            breaker,
        }
    }

    /// Makes an intent and does not confirm it: it takes no money.
    pub async fn create(&self, payment: &Payment, charge: &Charge) -> Result<IntentObject, GatewayError> {
        let Money { currency, .. } = charge.amount;
        // Orders are refused before; one that was placed under other rules cannot be paid by any card.
        let amount = charge
            .amount
            .at_gateway()
            .map_err(|_| GatewayError::Declined { code: "amount_not_chargeable".to_owned() })?;
        let form = vec![
            ("amount", amount.to_string()),
            ("currency", currency.code().to_ascii_lowercase()),
            ("payment_method", charge.payment_method.clone()),
            ("payment_method_types[]", "card".to_owned()),
            ("metadata[order_id]", payment.order_id.to_string()),
        ];
        let key = payment.idempotency_key(Operation::Create);
        self.call(&Call::post("/v1/payment_intents".to_owned(), form, Some(key))).await
    }

    /// Takes the money, or finds out why not: a declined card is an answer (`Declined` by its error).
    pub async fn confirm(&self, payment: &Payment, intent_id: &str) -> Result<IntentObject, GatewayError> {
        let key = payment.idempotency_key(Operation::Confirm);
        self.call(&Call::post(format!("/v1/payment_intents/{intent_id}/confirm"), vec![], Some(key))).await
    }

    /// What became of an intent, with what was refunded of it.
    pub async fn retrieve(&self, intent_id: &str) -> Result<IntentObject, GatewayError> {
        let path = format!("/v1/payment_intents/{intent_id}?expand%5B%5D=latest_charge");
        self.call(&Call::get(path)).await
    }

    /// Closes an intent that has taken no money. Refused when it has, or when it is closed already.
    pub async fn cancel(&self, intent_id: &str) -> Result<IntentObject, GatewayError> {
        self.call(&Call::post(format!("/v1/payment_intents/{intent_id}/cancel"), vec![], None)).await
    }

    /// Gives back all that is left of what an intent took.
    pub async fn refund(&self, payment: &Payment, intent_id: &str) -> Result<RefundState, GatewayError> {
        let form = vec![("payment_intent", intent_id.to_owned())];
        let key = payment.idempotency_key(Operation::Refund);
        let refund: object::RefundObject =
            self.call(&Call::post("/v1/refunds".to_owned(), form, Some(key))).await?;
        Ok(refund.status)
    }

    /// Whether Stripe answers our key.
    pub fn health(&self) -> Check {
        let gateway = self.clone();
        Check::new("gateway", move || {
            let gateway = gateway.clone();
            async move {
                let call = Call::get("/v1/payment_intents?limit=1".to_owned());
                // Past the breaker: it is asked how the gateway is, not how it was.
                let answer = async {
                    let secret = gateway.secrets.get(Timestamp::now()).await?;
                    gateway.exchange::<serde_json::Value>(&call, secret.api_key.expose()).await
                };
                tokio::time::timeout(HEALTH_TIMEOUT, answer).await.is_ok_and(|answer| answer.is_ok())
            }
            .boxed()
        })
    }

    /// Sends with the key that is known, and once more when it turns out to be no longer the right one.
    async fn call<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, GatewayError> {
        let secret = self.secrets.get(Timestamp::now()).await?;
        match self.send(call, secret.api_key.expose()).await {
            Err(GatewayError::Unauthorized) => {
                let newer = self.secrets.get_after(&secret, Timestamp::now()).await?;
                let newer = newer.ok_or(GatewayError::Unauthorized)?;
                self.send(call, newer.api_key.expose()).await
            }
            answer => answer,
        }
    }

    async fn send<T: DeserializeOwned>(&self, call: &Call<'_>, api_key: &str) -> Result<T, GatewayError> {
        self.breaker.guard(self.exchange(call, api_key), GatewayError::is_outage).await.map_err(|e| match e {
            Guarded::Open(open) => GatewayError::Open(open),
            Guarded::Call(error) => error,
        })
    }

    async fn exchange<T: DeserializeOwned>(&self, call: &Call<'_>, api_key: &str) -> Result<T, GatewayError> {
        let request = http::Request {
            method: call.method,
            url: format!("{}{}", self.url, call.path),
            api_key,
            form: &call.form,
            idempotency_key: call.idempotency_key.as_deref(),
        };
        let (status, body) = http::send(&self.connector, self.timeouts, &request).await?;
        if (200..300).contains(&status) {
            serde_json::from_slice(&body).map_err(|_| GatewayError::Unreadable)
        } else {
            Err(error::of(status, &body))
        }
    }
}
