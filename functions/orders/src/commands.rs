//! What the saga asks of orders (`orders-commands`).

use contracts::{
    OrderStatus,
    saga::{Aborted, ORDER_CANCEL_REQUESTED, OrderCommand, TRANSIENT},
};
use jiff::Timestamp;
use lambda_kit::command::CommandError;
use serde::Serialize;

use crate::{
    domain::{Command, Rejected},
    store::{ExecuteError, Store},
};

/// What the state machine is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Aborted(Aborted),
    /// The order as it stands: of a repeated command, what became of it since.
    Status {
        status: OrderStatus,
    },
}

/// Takes one command of the saga. A repeat is a success that changes nothing.
///
/// # Errors
/// `OrderCancelRequested` when the order is to be undone instead; everything else is transient.
pub async fn handle(store: &Store, command: OrderCommand, now: Timestamp) -> Result<Answer, ExecuteError> {
    let aborting = matches!(command, OrderCommand::AbortOrder { .. });
    let (context, command) = match command {
        OrderCommand::RecordReservation { context } => (context, Command::RecordReservation),
        OrderCommand::CompleteOrder { context, shipment } => (context, Command::Complete { shipment }),
        OrderCommand::AbortOrder { context } => (context, Command::Abort),
        OrderCommand::CancelOrder { context, failure, compensations } => {
            (context, Command::Cancel { failure, compensations })
        }
    };
    let history = store.execute(&context.order_id, &command, &context.correlation_id, now).await?;
    let status = history.order.status;
    Ok(if aborting {
        Answer::Aborted(Aborted { completed: status == OrderStatus::OrderCompleted })
    } else {
        Answer::Status { status }
    })
}

impl CommandError for ExecuteError {
    fn name(&self) -> &'static str {
        match self {
            Self::Rejected(Rejected::CancelRequested) => ORDER_CANCEL_REQUESTED,
            // None of these can happen in a saga that keeps its order of steps. Retrying calls for attention.
            Self::Rejected(
                Rejected::NotPlaced
                | Rejected::AlreadyPlaced
                | Rejected::Lines(_)
                | Rejected::NotReserved
                | Rejected::Ended(_),
            )
            | Self::Store(_) => TRANSIENT,
        }
    }
}

#[cfg(test)]
mod tests;
