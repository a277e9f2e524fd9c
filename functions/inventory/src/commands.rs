//! The saga's commands: `ReserveInventory`, and its undo `ReleaseInventory`.

use contracts::{
    OrderId, OrderLine, UserId,
    saga::{
        CommandContext, INVENTORY_NOT_AVAILABLE, InventoryCommand, ORDER_CANCEL_REQUESTED,
        RESERVATION_COMMITTED, SagaCommand, TRANSIENT, UndoOutcome, Undone,
    },
};
use jiff::Timestamp;
use lambda_kit::command::CommandError;
use serde::Serialize;

use crate::{
    domain::{Command, EventContext, Rejected, Status},
    handler::{ReservationError, end_reservation, reserve},
    store::Store,
};

/// The answer of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Reserved { order_id: OrderId, status: Status },
    Undone(Undone),
}

/// Runs one command of the saga. A repeat gets the first answer.
///
/// # Errors
/// Named by `CommandError::name`.
pub async fn handle(
    store: &Store,
    command: InventoryCommand,
    now: Timestamp,
) -> Result<Answer, ReservationError> {
    let action = command.action();
    match command {
        InventoryCommand::ReserveInventory { context, user_id, items } => {
            reserve_inventory(store, &items, event_context(context, user_id, action, now)).await
        }
        InventoryCommand::ReleaseInventory { context, user_id } => {
            release_inventory(store, event_context(context, user_id, action, now)).await
        }
    }
}

async fn reserve_inventory(
    store: &Store,
    lines: &[OrderLine],
    event_context: EventContext,
) -> Result<Answer, ReservationError> {
    reserve(store, lines, &event_context).await?;
    // Also when the stock is sold by now. The saga repeats a step whose answer it lost, and for it both are a
    // success.
    Ok(Answer::Reserved { order_id: event_context.order_id, status: Status::Held })
}

async fn release_inventory(store: &Store, event_context: EventContext) -> Result<Answer, ReservationError> {
    let released = end_reservation(store, Command::Release, &event_context).await;
    if let Err(ReservationError::Rejected(rejected)) = &released {
        // No saga undoes a completed order, so something is wrong. The error is final, and the order will
        // need attention.
        tracing::error!(%rejected, "undo of a completed order rejected");
    }
    let outcome = if released?.released_stock() { UndoOutcome::Released } else { UndoOutcome::NothingHeld };
    Ok(Answer::Undone(Undone { outcome }))
}

fn event_context(context: CommandContext, user_id: UserId, action: &str, now: Timestamp) -> EventContext {
    EventContext {
        causation_id: format!("{}.{action}", context.order_id),
        order_id: context.order_id,
        user_id: Some(user_id),
        correlation_id: context.correlation_id,
        at: now,
    }
}

impl CommandError for ReservationError {
    fn name(&self) -> &'static str {
        match self {
            Self::Rejected(Rejected::NotAvailable { .. }) => INVENTORY_NOT_AVAILABLE,
            Self::Rejected(Rejected::AlreadyReleased) => ORDER_CANCEL_REQUESTED,
            Self::Rejected(Rejected::AlreadyCommitted) => RESERVATION_COMMITTED,
            // Only a commit is rejected like this, and the saga sends none.
            Self::Rejected(Rejected::NothingReserved | Rejected::NotHeld(_)) => TRANSIENT,
            Self::Table(_) | Self::Conflict(_) => TRANSIENT,
        }
    }
}

#[cfg(test)]
mod tests;
