//! The saga's commands (`orders-commands`).

use contracts::{
    OrderStatus,
    events::OrderCompensationFailed,
    metrics,
    saga::{
        Aborted, COMPENSATION_FAILED, Failure, ORDER_CANCEL_REQUESTED, OrderCommand, SERVICE_UNAVAILABLE,
        TRANSIENT, reasons,
    },
};
use jiff::Timestamp;
use lambda_kit::{command::CommandError, telemetry};
use serde::Serialize;

use crate::{
    domain::{Command, History, Rejected},
    handler::{self, ExecuteError},
    store::Store,
};

/// The answer to the state machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Aborted(Aborted),
    /// The order's current status; for a repeated command, the status since then.
    Status {
        status: OrderStatus,
    },
}

/// Why a command is answered with an error.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// Recorded, and to be repeated by a person only.
    #[error("an undo was exhausted: the order needs attention")]
    NeedsAttention,
}

/// Takes one command of the saga. A repeat is answered as the first time, and changes nothing.
///
/// # Errors
/// `OrderCancelRequested` when the order is to be undone instead; `CompensationFailed` when an undo of it has
/// failed; everything else is transient.
pub async fn handle(store: &Store, command: OrderCommand, now: Timestamp) -> Result<Answer, Failed> {
    // An error ends the execution as failed. With a success, the state machine would need a state that looks at
    // the answer, and every cancelled order would pay for its transition.
    match take(store, command, now).await? {
        Answer::Status { status: OrderStatus::NeedsAttention } => Err(Failed::NeedsAttention),
        answer => Ok(answer),
    }
}

/// The same function for commands that do not come from the saga.
pub async fn take(store: &Store, command: OrderCommand, now: Timestamp) -> Result<Answer, ExecuteError> {
    let aborting = matches!(command, OrderCommand::AbortOrder { .. });
    let (context, command) = match command {
        OrderCommand::RecordReservation { context } => (context, Command::RecordReservation),
        OrderCommand::CompleteOrder { context, shipment } => (context, Command::Complete { shipment }),
        OrderCommand::AbortOrder { context } => (context, Command::Abort),
        OrderCommand::CancelOrder { context, failure, compensations } => {
            report_fault(&failure);
            (context, Command::Cancel { failure, compensations })
        }
    };
    let history = handler::execute(store, &context.order_id, &command, &context.correlation_id, now).await?;
    let status = history.order.status;
    report_needs_attention(&history);
    Ok(if aborting {
        Answer::Aborted(Aborted { completed: status == OrderStatus::OrderCompleted })
    } else {
        Answer::Status { status }
    })
}

/// Raises the alarm for a step that has failed at all its tries (infra/orders.yaml): its function crashes or
/// is throttled, or a dependency is down. Lambda's own error count does not distinguish that from a refusal.
fn report_fault(failure: &Failure) {
    if is_fault(&failure.error) {
        tracing::error!(step = failure.step, error = last_error(failure), "a step of the saga has failed");
        telemetry::emit(&metrics::STEPS_FAILED, 1);
    }
}

/// Whether an order that ends for this reason ends by a fault of ours.
// The reason of a lost saga is among the known ones, although it is a fault, too: the reconciler has counted
// it already.
fn is_fault(reason: &str) -> bool {
    reason == SERVICE_UNAVAILABLE || reasons().all(|known| known.name != reason)
}

/// The name of the error that the step ended with, which the saga puts before the cause when it waited that error out.
fn last_error(Failure { error, cause, .. }: &Failure) -> &str {
    match cause.split_once(':') {
        // The customer's reason is the same for all such errors. The state machine puts the name of the error
        // in front of the cause.
        Some((name, _)) if error == SERVICE_UNAVAILABLE => name,
        _ => error,
    }
}

/// Raises the alarm that calls a person (infra/orders.yaml) for an order that needs attention. The order's
/// event records the same permanently.
pub(crate) fn report_needs_attention(history: &History) {
    if history.order.status != OrderStatus::NeedsAttention {
        return;
    }
    let last = history.events.iter().rev().find_map(|event| event.envelope.decode().ok());
    if let Some(OrderCompensationFailed { failure, failed }) = last {
        let failed = failed.join(", ");
        tracing::error!(step = failure.step, error = failure.error, failed, "the order needs attention");
    }
    telemetry::emit(&metrics::UNDOS_FAILED, 1);
}

impl CommandError for Failed {
    fn name(&self) -> &'static str {
        match self {
            Self::Execute(error) => error.name(),
            Self::NeedsAttention => COMPENSATION_FAILED,
        }
    }
}

impl CommandError for ExecuteError {
    fn name(&self) -> &'static str {
        match self {
            Self::Rejected(Rejected::CancelRequested) => ORDER_CANCEL_REQUESTED,
            // None of these can happen in a saga that keeps its order of steps. The state machine retries
            // them, and the retries that are used up raise an alarm.
            Self::Rejected(
                Rejected::NotPlaced
                | Rejected::AlreadyPlaced
                | Rejected::Lines(_)
                | Rejected::Discount(_)
                | Rejected::NotReserved
                | Rejected::Ended(_),
            )
            | Self::Store(_) => TRANSIENT,
        }
    }
}

#[cfg(test)]
mod tests;
