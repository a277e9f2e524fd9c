//! Starts the saga of each new order (`orders-relay`). `orders-api` starts none, because an order could be lost
//! between its write and that call. Starts that are lost here are made later by the reconciler with the same
//! call.

mod waves;

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_sfn::{
    config::http::HttpResponse, error::SdkError, operation::start_execution::StartExecutionError,
};
use contracts::{
    DecodeError, Envelope, EventPayload, InvalidId, OrderId, events::OrderCreated, saga::SagaInput,
};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    bucket::{Bucket, TokenReservation},
    dynamodb::Table,
    error::error_chain,
    limits::RateLimit,
    relay::{Handled, Outgoing},
    stream::{StreamEvent, StreamRecord},
    trace::{self, Span},
};

use self::waves::{RecentStarts, Start, StartAttempt, start_in_order};
use crate::{domain::CheckoutDetails, store::CHECKOUT_DETAILS};

/// A batch begins no wave of starts later than this.
// A wave takes 3.3 s when every start needs three tries of a second, and the function has 30 s.
const BUDGET: Duration = Duration::from_secs(15);

/// Starts executions of the order saga, at the pace that all who start them share.
#[derive(Debug, Clone)]
pub struct Starter {
    client: aws_sdk_sfn::Client,
    state_machine_arn: String,
    pace: Arc<Bucket>,
    recent: Arc<RecentStarts>,
}

/// How an order's saga came to run, or why it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SagaStart {
    Started,
    AlreadyStarted,
    /// The order's checkout details are erased, so there is nowhere to send it.
    DetailsErased,
}

/// Why an order's saga was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the order's creation cannot be read")]
    Event(#[from] DecodeError),
    #[error("the order's id cannot be read")]
    OrderId(#[from] InvalidId),
    #[error("the order has no customer")]
    NoCustomer,
    #[error("the order's checkout details cannot be read")]
    CheckoutDetails(#[source] serde_json::Error),
    #[error("the saga's input has no JSON form")]
    Input(#[source] serde_json::Error),
    #[error("the saga cannot be started")]
    Call(#[source] Box<SdkError<StartExecutionError, HttpResponse>>),
    #[error("the rate of saga starts is used up")]
    RateLimited,
}

impl StartError {
    /// Whether another try would fail in the same way.
    // The record of a final error is parked, and waits for a person. Any other error is retried, and blocks the
    // shard until it passes. So only what depends on the order's own data is final.
    fn is_final(&self) -> bool {
        match self {
            Self::RateLimited => false,
            Self::Call(error) => error.as_service_error().is_some_and(|error| {
                error.is_invalid_execution_input()
                    || error.is_invalid_name()
                    || error.is_validation_exception()
            }),
            Self::Event(_)
            | Self::OrderId(_)
            | Self::NoCustomer
            | Self::CheckoutDetails(_)
            | Self::Input(_) => true,
        }
    }
}

impl Starter {
    /// Below the quota of StartExecution in every region: 300 a second in us-east-1, us-west-2 and eu-west-1, 150 in the
    /// others (Step Functions Developer Guide, "Quotas related to API action throttling"). infra/orders.yaml sets it.
    pub const PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("it is not zero");

    /// `per_second` is the pace of all who share `table`.
    pub fn new(
        client: aws_sdk_sfn::Client,
        state_machine_arn: String,
        table: Table,
        per_second: NonZeroU32,
    ) -> Self {
        // A second's worth at once, which the account's own bucket holds many times.
        let pace = Arc::new(Bucket::new(table, "sagas", RateLimit::per_second(per_second.get(), per_second)));
        Self { client, state_machine_arn, pace, recent: Arc::default() }
    }

    /// Starts the saga of every order that the batch brings, in their order and as long as the quota allows.
    pub async fn start_all(&self, batch: &StreamEvent) -> Handled {
        let (mut starts, mut unprocessable) = (Vec::new(), Handled::default());
        for (record, created) in batch.records.iter().filter_map(creation) {
            let image = record.dynamodb.new_image.as_ref();
            let checkout_details = image.and_then(|image| image.string(CHECKOUT_DETAILS));
            match start_of(&created.event, checkout_details.as_deref()) {
                Ok(Some(start)) => starts.push(Start { origin: created.origin, ..start }),
                Ok(None) => {}
                // Parked, and the other orders of the batch are started.
                Err(error) => {
                    log_failure(&created.event.subject, created.event.correlation_id.as_str(), &error);
                    unprocessable.unprocessable.insert(created.origin);
                }
            }
        }
        let started = Instant::now();
        let turn =
            async |count| self.wait_for_turn(count, BUDGET.saturating_sub(started.elapsed())).await.is_ok();
        let call = async |start: &Start| match self.call(start).await {
            Ok(_) => StartAttempt::Started,
            Err(error) => {
                log_failure(&start.order_id, &start.correlation_id, &error);
                if error.is_final() { StartAttempt::Rejected } else { StartAttempt::Failed }
            }
        };
        let mut handled = start_in_order(&starts, &self.recent, turn, call).await;
        handled.extend(unprocessable);
        handled
    }

    /// Starts the saga of the order that was created by this event.
    ///
    /// # Errors
    /// When it cannot be started, or was and the answer was lost: starting it again is a success.
    pub async fn start(
        &self,
        created: &Envelope,
        checkout_details: Option<&str>,
    ) -> Result<SagaStart, StartError> {
        let Some(start) = start_of(created, checkout_details)? else { return Ok(SagaStart::DetailsErased) };
        self.wait_for_turn(1, BUDGET).await?;
        self.call(&start).await
    }

    async fn wait_for_turn(&self, count: u32, max_wait: Duration) -> Result<(), StartError> {
        let max_wait = SignedDuration::try_from(max_wait).unwrap_or(SignedDuration::MAX);
        match self.pace.reserve_many(count, Timestamp::now(), max_wait).await {
            TokenReservation::After(wait) => {
                tokio::time::sleep(wait.unsigned_abs()).await;
                Ok(())
            }
            TokenReservation::WouldExceedWait(_) => {
                tracing::warn!(count, "saga starts are rate limited (SagaStartsPerSecond)");
                Err(StartError::RateLimited)
            }
        }
    }

    async fn call(&self, start: &Start) -> Result<SagaStart, StartError> {
        let Start { order_id, correlation_id, input, span, .. } = start;
        let call = self
            .client
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            // The name makes a repeat harmless: Step Functions refuses a second execution of this name for 90
            // days.
            .name(order_id)
            .input(input);
        // The call's own header hands the trace on to Step Functions, before its parameter `traceHeader`
        // (StartExecution, API reference).
        let is_fault = |started: &Result<_, _>| started.as_ref().is_err_and(|error| !already_started(error));
        match trace::in_span("StartSaga", *span, call.send(), is_fault).await {
            Ok(_) => {
                tracing::info!(order_id, correlation_id, "saga started");
                Ok(SagaStart::Started)
            }
            Err(error) if already_started(&error) => {
                tracing::info!(order_id, correlation_id, "the saga had been started already");
                Ok(SagaStart::AlreadyStarted)
            }
            Err(error) => Err(StartError::Call(Box::new(error))),
        }
    }
}

fn log_failure(order_id: &str, correlation_id: &str, error: &StartError) {
    tracing::error!(
        order_id,
        correlation_id,
        error = error_chain(error),
        "an order's saga could not be started"
    );
}

/// The start of the order that was created by this event; nothing when its address is erased.
fn start_of(created: &Envelope, checkout_details: Option<&str>) -> Result<Option<Start>, StartError> {
    let (order_id, correlation_id) = (created.subject.as_str(), created.correlation_id.as_str());
    // They are erased when the order ends. A parked record may be processed after that, with the item as it
    // is then.
    let Some(checkout_details) = checkout_details else {
        tracing::error!(
            order_id,
            correlation_id,
            "the order's checkout details are erased; its saga is not started"
        );
        return Ok(None);
    };
    let span = Span::join(created.traceparent.as_deref());
    let input =
        SagaInput { traceparent: span.map(|span| span.traceparent()), ..input(created, checkout_details)? };
    Ok(Some(Start {
        origin: String::new(),
        order_id: order_id.to_owned(),
        correlation_id: correlation_id.to_owned(),
        input: serde_json::to_string(&input).map_err(StartError::Input)?,
        span,
    }))
}

/// The creation event in a record, if any. Records that cannot be parsed are reported by the relay itself.
fn creation(record: &StreamRecord) -> Option<(&StreamRecord, Outgoing)> {
    let created =
        record.new_events().ok()?.into_iter().find(|new| new.event.event_type == OrderCreated::TYPE)?;
    Some((record, created))
}

fn input(event: &Envelope, checkout_details: &str) -> Result<SagaInput, StartError> {
    let OrderCreated { items, total, .. } = event.decode()?;
    let CheckoutDetails { shipping_address, payment_method } =
        serde_json::from_str(checkout_details).map_err(StartError::CheckoutDetails)?;
    Ok(SagaInput {
        order_id: OrderId::try_from(event.subject.as_str())?,
        user_id: event.metadata.user_id.clone().ok_or(StartError::NoCustomer)?,
        correlation_id: event.correlation_id.clone(),
        items: items.iter().map(contracts::PricedLine::unpriced).collect(),
        total,
        payment_method,
        shipping_address,
        traceparent: None,
    })
}

fn already_started(error: &SdkError<StartExecutionError, HttpResponse>) -> bool {
    error.as_service_error().is_some_and(StartExecutionError::is_execution_already_exists)
}

#[cfg(test)]
mod tests;
