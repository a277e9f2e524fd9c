//! The gateway's webhook. It may come before the gateway's own answer, after it, twice or never, in any order:
//! it is one more input, and the payment decides. It has 3 s, so it calls AWS only. A check on the queue runs
//! what is pending at the gateway.

use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::StatusCode,
};
use contracts::OrderId;
use jiff::{SignedDuration, Timestamp};
use lambda_kit::http::{BODY_LIMIT, Problem};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::Api;
use crate::{
    domain::{Dispute, EventContext, IntentState, PaymentInput},
    gateway::{IntentObject, RefundObject, in_minor_units},
    queue::{RecordDispute, RecordRefunds},
    signature,
};

/// <https://docs.stripe.com/api/events>
#[derive(Deserialize)]
struct Event<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    /// Not in every event: those of version 2 of the API name an object, and do not hold it.
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
}

impl Event<'_> {
    /// The object that the event is about.
    fn object<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let object = self.data.as_ref().and_then(|data| data.object);
        let unreadable = || Problem::bad_request("The event's object is not of its type.");
        serde_json::from_str(object.ok_or_else(unreadable)?.get()).map_err(|_| unreadable())
    }
}

/// A charge: only its refunds are read.
#[derive(Deserialize)]
struct ChargeObject {
    payment_intent: Option<String>,
    /// All refunds of it together.
    amount_refunded: i64,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    order_id: Option<String>,
}

/// <https://docs.stripe.com/api/disputes/object>. It has no metadata of the intent's.
#[derive(Deserialize)]
struct DisputeObject {
    payment_intent: Option<String>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(flatten)]
    dispute: Dispute,
}

/// The input that an event brings to one of our payments.
struct WebhookInput {
    order_id: OrderId,
    intent_id: String,
    input: PaymentInput,
}

pub(super) async fn receive(State(api): State<Api>, request: Request) -> Result<StatusCode, Problem> {
    // The raw bytes, because the signature is over them. JSON that was parsed and written again would be
    // other bytes.
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.map_err(|_| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("A body may have {BODY_LIMIT} bytes."))
    })?;
    let header = parts.headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let now = Timestamp::now();
    // Before anything of the body is read: anyone on the internet can send one.
    api.verify(header, &body, now).await?;
    let event: Event<'_> = serde_json::from_slice(&body)
        .map_err(|_| Problem::bad_request("The body is not an event of Stripe's."))?;
    if event.kind.starts_with("charge.dispute.") {
        return api.queue_dispute(&event).await;
    }
    // The second is what the first was called before 2024; Stripe sends both.
    if ["refund.failed", "charge.refund.updated", "refund.updated"].contains(&event.kind.as_str()) {
        return api.queue_failed_refund(&event).await;
    }
    let Some(webhook) = parse(&event)? else {
        // Answered with success. Stripe repeats a webhook for days when it gets another answer, and the
        // result would be the same.
        tracing::info!(stripe_event_type = event.kind, "a webhook about no payment of ours");
        return Ok(StatusCode::OK);
    };
    tracing::Span::current().record("order_id", webhook.order_id.as_str());
    tracing::Span::current().record("event_id", event.id.as_str());
    api.record(&webhook, EventContext { now, causation_id: &event.id }).await?;
    Ok(StatusCode::OK)
}

impl Api {
    /// Checks the signature. When no cached secret matches, reads the secrets again.
    async fn verify(&self, header: Option<&str>, body: &[u8], now: Timestamp) -> Result<(), Problem> {
        let refused = |error: signature::SignatureError| Problem::bad_request(error.to_string());
        let secret = self.secrets.get(now).await.map_err(|e| Problem::unavailable(&e))?;
        match signature::verify(header, body, &secret.webhook_secrets, now) {
            // The secret may have been replaced since it was read. A malformed or an old signature does not
            // depend on the secret.
            Err(signature::SignatureError::Forged) => {}
            verified => return verified.map_err(refused),
        }
        let newer = self.secrets.get_after(&secret, now).await.map_err(|e| Problem::unavailable(&e))?;
        let newer = newer.ok_or_else(|| refused(signature::SignatureError::Forged))?;
        signature::verify(header, body, &newer.webhook_secrets, now).map_err(refused)
    }

    /// Queues the dispute: the gateway must be called to find its order, and a webhook has no time for that.
    async fn queue_dispute(&self, event: &Event<'_>) -> Result<StatusCode, Problem> {
        let object: DisputeObject = event.object()?;
        let DisputeObject { payment_intent: Some(intent_id), currency, mut dispute } = object else {
            tracing::info!("a dispute about no payment of ours");
            return Ok(StatusCode::OK);
        };
        dispute.amount = in_minor_units(dispute.amount, currency.as_deref());
        let record = RecordDispute { intent_id, dispute, event_id: event.id.clone() };
        let sent = self.recorder.queue.record_dispute(record, SignedDuration::ZERO).await;
        sent.map_err(|e| Problem::unavailable(&e))?;
        Ok(StatusCode::OK)
    }

    /// A refund that was made may still fail, up to a month later, at the customer's bank; the money is then ours again
    /// (<https://docs.stripe.com/refunds#failed-refunds>). Left to the queue, as a dispute is.
    async fn queue_failed_refund(&self, event: &Event<'_>) -> Result<StatusCode, Problem> {
        let refund: RefundObject = event.object()?;
        let (Some(failed), Some(intent_id)) = (refund.failed(), refund.payment_intent) else {
            return Ok(StatusCode::OK);
        };
        let record = RecordRefunds { intent_id, failed: Some(failed), event_id: event.id.clone() };
        let sent = self.recorder.queue.record_refunds(record, SignedDuration::ZERO).await;
        sent.map_err(|e| Problem::unavailable(&e))?;
        Ok(StatusCode::OK)
    }

    async fn record(&self, webhook: &WebhookInput, context: EventContext<'_>) -> Result<(), Problem> {
        let payment =
            self.recorder.store.get(&webhook.order_id).await.map_err(|e| Problem::unavailable(&e))?;
        let Some(payment) = payment else {
            // An intent is made only for a payment that is stored. Another try would find none either.
            tracing::error!("a webhook names an order without a payment");
            return Ok(());
        };
        if payment.intent.as_ref().is_none_or(|intent| intent.id != webhook.intent_id) {
            // Two workers created an intent at the same time, and this is the one that was not stored. It was
            // never confirmed, so it can only be cancelled. If it has taken money, a person must look.
            if matches!(&webhook.input, PaymentInput::IntentObserved { state: IntentState::Succeeded, .. }) {
                tracing::error!(
                    intent_id = webhook.intent_id,
                    "money was taken by an intent that is not the payment's"
                );
            }
            return Ok(());
        }
        if matches!(webhook.input, PaymentInput::Refunded { .. }) && !payment.failed_refunds.is_empty() {
            // The sum of the charge may count refunds that have failed since, or that were not made yet when
            // the event was. Only the gateway's list says which count, and a webhook has no time to call the
            // gateway.
            let (intent_id, event_id) = (webhook.intent_id.clone(), context.causation_id.to_owned());
            let record = RecordRefunds { intent_id, failed: None, event_id };
            let sent = self.recorder.queue.record_refunds(record, SignedDuration::ZERO).await;
            return sent.map_err(|e| Problem::unavailable(&e));
        }
        Ok(self.recorder.record(&webhook.order_id, Some(payment), &webhook.input, context).await?)
    }
}

/// Parses the event; `None` for types and orders that are not ours.
fn parse(event: &Event<'_>) -> Result<Option<WebhookInput>, Problem> {
    match event.kind.as_str() {
        "payment_intent.succeeded"
        | "payment_intent.payment_failed"
        | "payment_intent.processing"
        | "payment_intent.requires_action"
        | "payment_intent.canceled" => {
            let intent: IntentObject = event.object()?;
            Ok(intent.order_id().map(|order_id| WebhookInput {
                order_id,
                intent_id: intent.id.clone(),
                input: PaymentInput::IntentObserved { intent_id: intent.id.clone(), state: intent.state() },
            }))
        }
        // By us, or in the gateway's dashboard. A charge has the metadata of its intent.
        "charge.refunded" => {
            let charge: ChargeObject = event.object()?;
            let order_id = charge.metadata.order_id.and_then(|id| OrderId::try_from(id).ok());
            let input = PaymentInput::Refunded {
                amount: in_minor_units(charge.amount_refunded, charge.currency.as_deref()),
            };
            Ok(order_id.zip(charge.payment_intent).map(|(order_id, intent_id)| WebhookInput {
                order_id,
                intent_id,
                input,
            }))
        }
        _ => Ok(None),
    }
}
