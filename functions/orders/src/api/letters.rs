//! `POST /v1/orders/{id}/letters`: the e-mail about an order's state, once more, for a customer who did not get it.

use aws_sdk_sqs::Client;
use axum::{
    Extension, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use contracts::{
    CorrelationId, Envelope, EventId, EventPayload,
    events::{OrderCancelled, OrderCompleted, OrderCreated},
};
use jiff::Timestamp;
use lambda_kit::{
    aws::SdkConfig,
    config::{self, ConfigError},
    http::{Correlation, Problem, Support, limit},
    limits::STAFF,
};

use super::load;
use crate::{domain::History, store::Store};

/// The events of an order that its customer is told of by e-mail.
const TOLD: [&str; 3] = [OrderCreated::TYPE, OrderCompleted::TYPE, OrderCancelled::TYPE];

/// The queue of events that customers are told of by e-mail, which belongs to notifications.
#[derive(Debug, Clone)]
pub struct EmailQueue {
    sqs: Client,
    url: String,
}

#[derive(Debug, thiserror::Error)]
enum QueueError {
    #[error("an event has no JSON form")]
    Form(#[from] serde_json::Error),
    #[error("an event could not be queued")]
    Send(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl EmailQueue {
    /// The queue `EMAIL_QUEUE_URL`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(sdk, config::required("EMAIL_QUEUE_URL")?))
    }

    pub fn new(sdk: &SdkConfig, url: String) -> Self {
        Self { sqs: Client::new(sdk), url }
    }

    async fn send(&self, event: &Envelope) -> Result<(), QueueError> {
        let send = self.sqs.send_message().queue_url(&self.url).message_body(serde_json::to_string(event)?);
        send.send().await.map_err(|error| QueueError::Send(error.into()))?;
        Ok(())
    }
}

/// The route, for the staff.
pub fn routes(store: Store, queue: EmailQueue) -> Router {
    Router::new()
        .route("/v1/orders/{id}/letters", limit::before(&STAFF, post(resend)))
        .layer(Extension(queue))
        .with_state(store)
}

/// The route as openapi.json describes it.
#[cfg(feature = "openapi")]
pub(super) fn operation() -> lambda_kit::openapi::Operation {
    use lambda_kit::openapi::{Operation, Who};

    Operation::post(
        "/v1/orders/{id}/letters",
        "resendOrderEmail",
        Who::Support,
        "Send the e-mail about an order's state once more",
        "That it was placed, is complete, or was cancelled. A customer who wants no e-mails gets none.",
    )
    .limited(&STAFF)
    .answers_nothing(202, "The e-mail is on its way.")
    .problem(404, "There is no such order.")
}

async fn resend(
    State(store): State<Store>,
    Extension(queue): Extension<EmailQueue>,
    Support(identity): Support,
    Correlation(correlation_id): Correlation,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let history = load(&store, &identity, &id).await?;
    let event = once_more(&history, &correlation_id, Timestamp::now());
    let sent = queue.send(&event.ok_or_else(super::no_such_order)?).await;
    sent.map_err(|error| Problem::unavailable(&error))?;
    Ok(StatusCode::ACCEPTED)
}

/// The newest event that the customer is told of, under an id of its own: notifications sends the e-mail about one id
/// once.
fn once_more(history: &History, correlation_id: &CorrelationId, now: Timestamp) -> Option<Envelope> {
    let events = history.events.iter().rev().map(|recorded| &recorded.envelope);
    let newest = events.into_iter().find(|event| TOLD.contains(&event.event_type.as_str()))?;
    let time = u64::try_from(now.as_millisecond()).unwrap_or_default();
    Some(Envelope {
        event_id: EventId::derive("orders.letters", &newest.subject, time),
        occurred_at: now,
        correlation_id: correlation_id.clone(),
        ..newest.clone()
    })
}
