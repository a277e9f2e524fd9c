//! REST: the state of a payment for its customer, and the gateway's webhook.

mod webhook;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    response::IntoResponse,
    routing::{get, post},
};
use contracts::{Money, OrderId, UserId};
use lambda_kit::{
    audit::Entry,
    http::{Admin, Identity, List, Page, Problem, limit},
    jwt::Role,
    limits::{LISTS, READS},
};
use serde::Serialize;

use crate::{
    domain::{NextAction, Payment, Status, Waiting},
    handler::RecordError,
    recorder::{InputRecorder, RecorderError},
    secrets::Secrets,
};

/// The dependencies of the REST function.
#[derive(Debug, Clone)]
pub struct Api {
    pub recorder: InputRecorder,
    pub secrets: Arc<Secrets>,
}

pub fn routes(api: Api) -> Router {
    Router::new()
        // Without a limit of its own: all of Stripe's requests come from a few addresses, and a request with a bad
        // signature costs no call.
        .route("/v1/payments/webhook", post(webhook::receive))
        .route("/v1/payments/{order_id}", limit::during(&READS, get(show)))
        .route("/v1/payments/{order_id}/audit", limit::before(&LISTS, get(audit)))
        .with_state(api)
}

/// The routes as openapi.json describes them.
#[cfg(feature = "openapi")]
pub fn operations() -> Vec<lambda_kit::openapi::Operation> {
    use lambda_kit::openapi::{Operation, Who};
    use serde_json::json;

    vec![
        Operation::get(
            "/v1/payments/{order_id}",
            "getPayment",
            Who::OwnerOrSupport,
            "How the payment of an order stands",
            "An order has a payment when its stock is reserved. `next_action` says what the customer must do for \
             the payment to succeed; only the customer gets it.",
        )
        .limited(&READS)
        .answers::<PaymentView>(
            200,
            "The payment.",
            &["Cache-Control"],
            json!({
                "order_id": "ord_0123456789abcdef0123456789abcdef", "status": "succeeded",
                "amount": {"amount": 4200, "currency": "USD"}, "refunded": {"amount": 0, "currency": "USD"}
            }),
        ),
        lambda_kit::audit::operation(
            "/v1/payments/{order_id}/audit",
            "listRefundChanges",
            "Who refunded the payment of an order",
            json!({
                "id": "019ad0c0f00070008000000000000000", "at": "2026-11-21T12:00:00Z", "actor": "system",
                "action": "payment.refunded", "subject": "ord_0123456789abcdef0123456789abcdef",
                "before": {"status": "refunding", "refunded": {"amount": 0, "currency": "USD"}},
                "after": {"status": "refunded", "refunded": {"amount": 4200, "currency": "USD"}},
                "correlation_id": "cor_1"
            }),
        ),
        Operation::post(
            "/v1/payments/webhook",
            "receiveStripeEvent",
            Who::Signed,
            "What Stripe tells, signed by it in `Stripe-Signature`",
            "For Stripe only. The body is Stripe's event object (https://docs.stripe.com/api/events); its signature \
             is checked over the bytes as they were sent.",
        )
        .header("Stripe-Signature", true, "Time and HMAC, as Stripe documents them.")
        .takes_any(json!({
            "id": "evt_1", "type": "payment_intent.succeeded",
            "data": {"object": {"id": "pi_1", "object": "payment_intent", "status": "succeeded"}}
        }))
        .answers_nothing(200, "It is noted, also when it came before.")
        .problem(400, "The signature is bad or older than five minutes, or the body is no event."),
    ]
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct PaymentView {
    order_id: OrderId,
    status: Status,
    amount: Money,
    /// How much of it has gone back.
    refunded: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_action: Option<NextAction>,
}

async fn show(
    State(api): State<Api>,
    identity: Identity,
    Path(order_id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let order_id = OrderId::try_from(order_id).map_err(|_| not_found())?;
    let payment = api.recorder.store.get(&order_id).await.map_err(|e| Problem::unavailable(&e))?;
    let payment = payment.filter(|payment| identity.may_see(&payment.user_id, &[Role::Support]));
    let view = payment.and_then(|payment| view(payment, &identity.user_id)).ok_or_else(not_found)?;
    Ok(Json(view))
}

/// Who refunded the payment, and what became of the refunds.
async fn audit(
    State(api): State<Api>,
    Admin(_): Admin,
    Path(order_id): Path<String>,
    page: Page,
) -> Result<Json<List<Entry>>, Problem> {
    let order_id = OrderId::try_from(order_id).map_err(|_| not_found())?;
    Ok(Json(api.recorder.store.audit_entries(&order_id, page).await?))
}

fn not_found() -> Problem {
    Problem::not_found("There is no payment of such an order of yours.")
}

/// The payment as this viewer sees it; `None` when there is nothing to show.
fn view(payment: Payment, viewer: &UserId) -> Option<PaymentView> {
    // Without a charge, it is the mark of an undo or a cancel that came before the payment.
    let amount = payment.charge.as_ref()?.amount;
    let refunded = Money::new(payment.total_refunded(), amount.currency);
    // For the customer only, and not for the staff: its secret is all that is needed to complete the
    // payment.
    let next_action = match payment.waiting {
        Some(Waiting::Customer(action)) if payment.user_id == *viewer => Some(action),
        Some(Waiting::Customer(_) | Waiting::Bank) | None => None,
    };
    Some(PaymentView { order_id: payment.order_id, status: payment.status, amount, refunded, next_action })
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Table(_) | RecordError::Conflict(_) => Self::unavailable(&error),
            RecordError::Rejected(_) => Self::internal(&error),
        }
    }
}

impl From<RecorderError> for Problem {
    fn from(error: RecorderError) -> Self {
        match error {
            RecorderError::Record(error) => error.into(),
            RecorderError::TaskToken(_) | RecorderError::Queue(_) => Self::unavailable(&error),
        }
    }
}

#[cfg(test)]
mod tests;
