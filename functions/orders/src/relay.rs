//! Each new order starts its saga here (`orders-relay`): one way to start, so that nothing can fall between two. What is
//! lost on it, the reconciler starts later by the same call.

use std::collections::BTreeSet;

use aws_sdk_sfn::{
    config::http::HttpResponse, error::SdkError, operation::start_execution::StartExecutionError,
};
use contracts::{
    DecodeError, Envelope, EventPayload, InvalidId, OrderId, ShippingAddress, events::OrderCreated,
    saga::SagaInput,
};
use futures::{StreamExt, stream};
use lambda_kit::{
    command::chain,
    relay::{Outgoing, StreamEvent, StreamRecord},
};
use serde::{Deserialize, Serialize};

use crate::store::PRIVATE;

/// Starts under way at the same time: a full batch (infra/orders.yaml) takes five turns, half of the function's timeout
/// even when every start needs three tries of a second.
const CONCURRENCY: usize = 10;

/// What belongs to an order and is no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    pub shipping_address: ShippingAddress,
    pub payment_method: String,
}

/// Starts executions of the order saga.
#[derive(Debug, Clone)]
pub struct Starter {
    client: aws_sdk_sfn::Client,
    state_machine_arn: String,
}

/// Whether a saga runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    Yes,
    Before,
    /// The order's address is erased: there is nothing that could be sent anywhere.
    Erased,
}

/// Why an order's saga was not started. Its record comes again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the order's creation cannot be read")]
    Event(#[from] DecodeError),
    #[error("the order's id cannot be read")]
    OrderId(#[from] InvalidId),
    #[error("the order has no customer")]
    NoCustomer,
    #[error("the order's private part cannot be read")]
    Private(#[source] serde_json::Error),
    #[error("the saga's input has no JSON form")]
    Input(#[source] serde_json::Error),
    #[error("the saga cannot be started")]
    Call(#[source] Box<SdkError<StartExecutionError, HttpResponse>>),
}

impl Starter {
    pub fn new(client: aws_sdk_sfn::Client, state_machine_arn: String) -> Self {
        Self { client, state_machine_arn }
    }

    /// Starts the saga of every order that the batch brings, and returns the sequence numbers of those records
    /// whose saga did not start.
    pub async fn start_all(&self, batch: &StreamEvent) -> BTreeSet<String> {
        let failures =
            stream::iter(batch.records.iter().filter_map(creation)).map(|(record, created)| async move {
                let image = record.dynamodb.new_image.as_ref();
                let private = image.and_then(|image| image.string(PRIVATE));
                match self.start(&created.event, private.as_deref()).await {
                    Ok(_) => None,
                    Err(error) => {
                        tracing::error!(
                            order_id = created.event.subject,
                            correlation_id = created.event.correlation_id.as_str(),
                            error = chain(&error),
                            "an order's saga did not start and is tried again"
                        );
                        Some(created.origin)
                    }
                }
            });
        failures.buffer_unordered(CONCURRENCY).filter_map(std::future::ready).collect().await
    }

    /// Starts the saga of the order that was created by this event.
    ///
    /// # Errors
    /// When it cannot be started, or was and the answer was lost: starting it again is a success.
    pub async fn start(&self, created: &Envelope, private: Option<&str>) -> Result<Started, StartError> {
        let (order_id, correlation_id) = (created.subject.as_str(), created.correlation_id.as_str());
        let Some(private) = private else {
            tracing::error!(
                order_id,
                correlation_id,
                "the order's address is erased: its saga is not started"
            );
            return Ok(Started::Erased);
        };
        let input = serde_json::to_string(&input(created, private)?).map_err(StartError::Input)?;
        let started = self
            .client
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            .name(order_id)
            .input(input)
            .send()
            .await;
        match started {
            Ok(_) => {
                tracing::info!(order_id, correlation_id, "saga started");
                Ok(Started::Yes)
            }
            Err(error) if already_started(&error) => {
                tracing::info!(order_id, correlation_id, "the saga was started before");
                Ok(Started::Before)
            }
            Err(error) => Err(StartError::Call(Box::new(error))),
        }
    }
}

/// The creation of an order that a record brings. What cannot be read is reported by the relay itself.
fn creation(record: &StreamRecord) -> Option<(&StreamRecord, Outgoing)> {
    let created =
        record.new_events().ok()?.into_iter().find(|new| new.event.event_type == OrderCreated::TYPE)?;
    Some((record, created))
}

fn input(event: &Envelope, private: &str) -> Result<SagaInput, StartError> {
    let OrderCreated { items, total, .. } = event.decode()?;
    let Private { shipping_address, payment_method } =
        serde_json::from_str(private).map_err(StartError::Private)?;
    Ok(SagaInput {
        order_id: OrderId::try_from(event.subject.as_str())?,
        user_id: event.metadata.user_id.clone().ok_or(StartError::NoCustomer)?,
        correlation_id: event.correlation_id.clone(),
        items: items.iter().map(contracts::PricedLine::unpriced).collect(),
        total,
        payment_method,
        shipping_address,
    })
}

fn already_started(error: &SdkError<StartExecutionError, HttpResponse>) -> bool {
    error.as_service_error().is_some_and(StartExecutionError::is_execution_already_exists)
}

#[cfg(test)]
mod tests;
