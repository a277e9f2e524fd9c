//! The part of Stripe's API that is used here: payment intents and refunds (<https://docs.stripe.com/api>).

mod error;
mod http;
mod limits;
mod object;

use std::{ops::Range, sync::Arc, time::Duration};

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use contracts::{Money, metrics};
use futures::FutureExt;
use jiff::Timestamp;
use lambda_kit::{
    breaker::{Breaker, Guarded},
    health::Check,
    telemetry,
};
use serde::de::DeserializeOwned;

pub use error::GatewayError;
pub use http::Timeouts;
pub use limits::{GatewayLimits, REQUESTS_PER_SECOND};
pub use object::{IntentObject, Intents, RefundObject, RefundState, Refunds, in_minor_units};

use crate::{
    domain::{Charge, Operation, Payment},
    secrets::Secrets,
};
use limits::Endpoint;

/// The intent's state does not allow a confirmation; reading the intent shows the state.
const UNEXPECTED_STATE: &str = "payment_intent_unexpected_state";
/// The timeout of a health check, which must answer quickly.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Calls Stripe with the API key from Secrets Manager, at most at its rate, and not while the breaker is
/// open. Each call waits up to its `max_wait` for its turn.
// `create`, `confirm` and `refund` send the payment's idempotency key. `cancel` has none: it is idempotent by
// itself, and a key would repeat the refusal that it got while the payment was processing.
#[derive(Debug, Clone)]
pub struct Gateway {
    connector: SharedHttpConnector,
    url: String,
    timeouts: Timeouts,
    secrets: Arc<Secrets>,
    breaker: Breaker,
    limits: GatewayLimits,
}

/// A request, whichever key it is sent with.
struct Call<'a> {
    endpoint: Endpoint,
    method: &'static str,
    path: String,
    form: Vec<(&'a str, String)>,
    idempotency_key: Option<String>,
}

impl<'a> Call<'a> {
    fn get(endpoint: Endpoint, path: String) -> Self {
        Self { endpoint, method: "GET", path, form: vec![], idempotency_key: None }
    }

    fn post(
        endpoint: Endpoint,
        path: String,
        form: Vec<(&'a str, String)>,
        idempotency_key: Option<String>,
    ) -> Self {
        Self { endpoint, method: "POST", path, form, idempotency_key }
    }
}

impl Gateway {
    pub fn new(
        url: &str,
        timeouts: Timeouts,
        secrets: Arc<Secrets>,
        breaker: Breaker,
        limits: GatewayLimits,
    ) -> Self {
        Self {
            // A connector of its own, because the time to connect belongs to it.
            connector: lambda_kit::connector::connector(timeouts.connect),
            url: url.trim_end_matches('/').to_owned(),
            timeouts,
            secrets,
            breaker,
            limits,
        }
    }

    /// Makes an intent and does not confirm it: it takes no money.
    pub async fn create(
        &self,
        payment: &Payment,
        charge: &Charge,
        max_wait: Duration,
    ) -> Result<IntentObject, GatewayError> {
        let Money { currency, .. } = charge.amount;
        // Orders with such a total are refused. One that was placed under other rules cannot be paid by any
        // card.
        let amount = charge
            .amount
            .at_gateway()
            .map_err(|_| GatewayError::Declined { code: "amount_not_chargeable".to_owned() })?;
        let form = vec![
            ("amount", amount.to_string()),
            ("currency", currency.code().to_ascii_lowercase()),
            ("payment_method", charge.payment_method.clone()),
            ("payment_method_types[]", "card".to_owned()),
            // Webhooks about the intent and its charge repeat it. The payment is found by it.
            ("metadata[order_id]", payment.order_id.to_string()),
        ];
        let key = payment.idempotency_key(Operation::Create);
        let call = Call::post(Endpoint::Create, "/v1/payment_intents".to_owned(), form, Some(key));
        match self.call(&call, max_wait).await {
            // No object is named but the payment method, and what is wrong with that is `Declined`.
            Err(GatewayError::Refused { status, code }) => Err(misused(Endpoint::Create, status, code)),
            answer => answer,
        }
    }

    /// Confirms an intent, which takes the money. A declined card is the error `Declined`.
    pub async fn confirm(
        &self,
        payment: &Payment,
        intent_id: &str,
        max_wait: Duration,
    ) -> Result<IntentObject, GatewayError> {
        let key = payment.idempotency_key(Operation::Confirm);
        let path = format!("/v1/payment_intents/{intent_id}/confirm");
        match self.call(&Call::post(Endpoint::Confirm, path, vec![], Some(key)), max_wait).await {
            Err(GatewayError::Refused { status, code }) if code != UNEXPECTED_STATE => {
                Err(misused(Endpoint::Confirm, status, code))
            }
            answer => answer,
        }
    }

    /// Reads an intent, with its refunds.
    pub async fn retrieve(&self, intent_id: &str, max_wait: Duration) -> Result<IntentObject, GatewayError> {
        // Without the expansion the charge is only an id, and what was refunded stays unknown.
        let path = format!("/v1/payment_intents/{intent_id}?expand%5B%5D=latest_charge");
        self.call(&Call::get(Endpoint::Retrieve, path), max_wait).await
    }

    /// Closes an intent that has taken no money. Refused when it has, or when it is closed already.
    pub async fn cancel(&self, intent_id: &str, max_wait: Duration) -> Result<IntentObject, GatewayError> {
        let path = format!("/v1/payment_intents/{intent_id}/cancel");
        self.call(&Call::post(Endpoint::Cancel, path, vec![], None), max_wait).await
    }

    /// Gives back all that is left of what an intent took.
    pub async fn refund(
        &self,
        payment: &Payment,
        intent_id: &str,
        max_wait: Duration,
    ) -> Result<RefundState, GatewayError> {
        // Without an amount, Stripe refunds all that is left. A refund that was made in the dashboard
        // meanwhile is then not paid twice.
        let form = vec![("payment_intent", intent_id.to_owned())];
        let key = payment.idempotency_key(Operation::Refund);
        let call = Call::post(Endpoint::Refund, "/v1/refunds".to_owned(), form, Some(key));
        let refund: RefundObject = self.call(&call, max_wait).await?;
        Ok(refund.state())
    }

    /// The refunds of an intent: a hundred, more than a payment has.
    pub async fn refunds(&self, intent_id: &str, max_wait: Duration) -> Result<Refunds, GatewayError> {
        let path = format!("/v1/refunds?payment_intent={intent_id}&limit=100");
        self.call(&Call::get(Endpoint::Refunds, path), max_wait).await
    }

    /// One page of the intents that were created in this period, in Unix seconds, after the last one of the page
    /// before.
    pub async fn intents(
        &self,
        made: Range<i64>,
        after: Option<&str>,
        max_wait: Duration,
    ) -> Result<Intents, GatewayError> {
        let Range { start, end } = made;
        let after = after.map_or_else(String::new, |id| format!("&starting_after={id}"));
        let path = format!(
            "/v1/payment_intents?limit=100&created%5Bgte%5D={start}&created%5Blt%5D={end}\
             &expand%5B%5D=data.latest_charge{after}"
        );
        self.call(&Call::get(Endpoint::List, path), max_wait).await
    }

    /// Checks that Stripe accepts our key.
    pub fn health(&self) -> Check {
        let gateway = self.clone();
        Check::new("gateway", move || {
            let gateway = gateway.clone();
            async move {
                let call = Call::get(Endpoint::Retrieve, "/v1/payment_intents?limit=1".to_owned());
                // Bypasses the breaker: the check is about the gateway now, and not about earlier calls.
                let answer = async {
                    let secret = gateway.secrets.get(Timestamp::now()).await?;
                    gateway.exchange::<serde_json::Value>(&call, secret.api_key.expose()).await
                };
                tokio::time::timeout(HEALTH_TIMEOUT, answer).await.is_ok_and(|answer| answer.is_ok())
            }
            .boxed()
        })
    }

    /// Sends with the cached key, and once more with a new one when the key is refused.
    async fn call<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        max_wait: Duration,
    ) -> Result<T, GatewayError> {
        // A turn takes a token from other callers, so none is taken while the breaker is open. `send` asks
        // the breaker once more, since it may have opened during the wait.
        if let Some(open) = self.breaker.refuses().await {
            return Err(GatewayError::Open(open));
        }
        self.limits.wait(call.endpoint, Timestamp::now(), max_wait).await?;
        let secret = self.secrets.get(Timestamp::now()).await?;
        let answer = match self.send(call, secret.api_key.expose()).await {
            Err(GatewayError::Unauthorized) => {
                // The key may have been replaced since it was read. A refused key has done nothing, so the
                // call may be sent again.
                match self.secrets.get_after(&secret, Timestamp::now()).await? {
                    Some(newer) => self.send(call, newer.api_key.expose()).await,
                    None => Err(GatewayError::Unauthorized),
                }
            }
            answer => answer,
        };
        answer.inspect_err(|error| report(call.endpoint, error))
    }

    async fn send<T: DeserializeOwned>(&self, call: &Call<'_>, api_key: &str) -> Result<T, GatewayError> {
        self.breaker.guard(self.exchange(call, api_key)).await.map_err(|e| match e {
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

fn misused(endpoint: Endpoint, status: u16, code: String) -> GatewayError {
    let error = GatewayError::Misused { status, code };
    report(endpoint, &error);
    error
}

/// Logs and counts an error that is our fault or our account's.
// All payments wait until it is corrected, so an alarm is set on the metric.
fn report(endpoint: Endpoint, error: &GatewayError) {
    let (status, code) = match error {
        GatewayError::Misused { status, code } => (*status, code.as_str()),
        GatewayError::Unauthorized => (401, "unauthorized"),
        _ => return,
    };
    telemetry::emit(&metrics::GATEWAY_MISUSED, 1);
    tracing::error!(endpoint = endpoint.name(), status, code, "the gateway does not take our requests");
}

#[cfg(test)]
mod tests;
