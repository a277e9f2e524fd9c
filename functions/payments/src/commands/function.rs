//! The function payments-commands: batches of its queue, and by direct invocation the undo, and queries.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use aws_lambda_events::sqs::SqsMessage;
use contracts::{
    CorrelationId, OrderId,
    query::{PaymentQuery, PaymentStatuses},
    saga::{PaymentCommand, Undone},
};
use jiff::Timestamp;
use lambda_kit::{
    MainResult, command,
    health::Check,
    invoke,
    sqs::{self, MessageError},
    telemetry::{self, Outcome},
    trace,
};
use lambda_runtime::{Context, Diagnostic};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use tracing::Instrument;

use super::payments::{Invocation, Payments, PaymentsError};
use crate::{queries, queue::Message};

/// What is left of an invocation's time for its answer.
// Without an answer, Lambda counts all messages of the batch as failed.
const RESERVE: Duration = Duration::from_secs(1);

/// A batch of the queue, and not a command.
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    _records: IgnoredAny,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Batch(aws_lambda_events::sqs::SqsBatchResponse),
    /// A payment is answered by its token, an undo at once.
    Command(Option<Undone>),
    Statuses(PaymentStatuses),
}

/// Serves the queue and direct invocations until the process ends.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run(checks: Vec<Check>, payments: Payments) -> MainResult {
    let payments = Arc::new(payments);
    invoke::run(checks, move |payload, context| {
        let payments = Arc::clone(&payments);
        async move { payments.serve(payload.get(), invocation(&context)).await }
    })
    .await
}

fn read(message: &SqsMessage) -> Result<Message, MessageError> {
    let body = message.body.as_deref().unwrap_or_default();
    // Without the parser's error, whose text could quote a task token.
    let mut read: Message = serde_json::from_str(body)
        .map_err(|_| MessageError::handler("the message is not one of the payments queue"))?;
    if let Message::TakePayment(take) = &mut read {
        // A message from before the saga sent this time has none. It was sent at about the time when the step
        // was entered.
        take.entered_at = take.entered_at.or_else(|| sent_at(message));
    }
    Ok(read)
}

/// When the message was put into the queue: `SentTimestamp`, in Unix milliseconds (ReceiveMessage, SQS API reference). A
/// redrive puts it there anew.
fn sent_at(message: &SqsMessage) -> Option<Timestamp> {
    let millisecond = message.attributes.get("SentTimestamp")?.parse().ok()?;
    Timestamp::from_millisecond(millisecond).ok()
}

fn invocation(context: &Context) -> Invocation {
    let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
    Invocation::lasting(left.saturating_sub(RESERVE))
}

impl Payments {
    async fn serve(&self, payload: &str, invocation: Invocation) -> Result<Answer, Diagnostic> {
        // Lambda sends batches, other functions send queries and commands. They are distinguished by their
        // shape.
        if serde_json::from_str::<Batch>(payload).is_ok() {
            let batch = sqs::parse_batch(payload)?;
            let answer = sqs::each_message(batch.records, |message| self.message(message, invocation)).await;
            return Ok(Answer::Batch(answer));
        }
        if command::is_query::<PaymentQuery>(payload) {
            let query = command::parse::<PaymentQuery>(payload)?;
            let answer =
                command::run_query(query, |query| queries::handle(&self.recorder.store, query)).await;
            return answer.map(Answer::Statuses);
        }
        let command = command::parse::<PaymentCommand>(payload)?;
        command::execute(command, |command| self.command(command, invocation)).await.map(Answer::Command)
    }

    async fn command(
        &self,
        command: PaymentCommand,
        invocation: Invocation,
    ) -> Result<Option<Undone>, PaymentsError> {
        match command {
            PaymentCommand::TakePayment(take) => self.take(take, invocation).await.map(|()| None),
            PaymentCommand::RefundPayment { context, user_id, .. } => {
                self.undo(context, user_id, invocation).await.map(Some)
            }
        }
    }

    pub(super) async fn message(
        &self,
        message: SqsMessage,
        invocation: Invocation,
    ) -> Result<(), MessageError> {
        let (received, message) = (&message, read(&message)?);
        let traced = sqs::span_of(received, message.traceparent());
        let action = message.action();
        let span = tracing::info_span!(
            "payment",
            action,
            trace_id = traced.map(|span| span.trace_id()),
            order_id = message.order_id().map(OrderId::as_str),
            correlation_id = message.correlation_id().map(CorrelationId::as_str),
        );
        let started = Instant::now();
        let handled = async {
            match message {
                Message::TakePayment(take) => self.take(take, invocation).await,
                Message::CheckPayment(check) => self.check(check, invocation).await,
                Message::RecordDispute(record) => self.dispute(record, invocation).await,
                Message::RecordRefunds(record) => self.refunds(record, invocation).await,
            }
        };
        let result = trace::in_span(action, traced, handled.instrument(span), Result::is_err).await;
        let outcome = if result.is_ok() { Outcome::Ok } else { Outcome::Error };
        telemetry::record(action, outcome, started.elapsed());
        result.map_err(MessageError::handler)
    }
}
