//! The saga's commands: `ScheduleShipment`, and its undo `CancelShipment`.

use contracts::{
    UserId,
    saga::{
        Booking, CommandContext, FulfillmentCommand, ORDER_CANCEL_REQUESTED, SHIPMENT_REJECTED, SagaCommand,
        TRANSIENT, UndoOutcome, Undone,
    },
};
use jiff::{Timestamp, tz::TimeZone};
use lambda_kit::command::CommandError;
use serde::Serialize;

use crate::{
    carrier::Carrier,
    domain::{Command, EventContext, Rejected, Schedule},
    handler::{ShipmentError, execute},
    store::Store,
};

/// The answer of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Scheduled(Booking),
    Undone(Undone),
}

/// Runs one command of the saga. A repeat gets the first answer.
///
/// # Errors
/// Named by `CommandError::name`.
pub async fn handle(
    store: &Store,
    carrier: &impl Carrier,
    command: FulfillmentCommand,
    now: Timestamp,
) -> Result<Answer, ShipmentError> {
    let action = command.action();
    match command {
        FulfillmentCommand::ScheduleShipment { context, user_id, items, shipping_address } => {
            let today = now.to_zoned(TimeZone::UTC).date();
            // `decide` is pure and needs the carrier's answer, so the carrier is called first. A repeat, or a
            // booking of an order that was cancelled meanwhile, does no harm: bookings are idempotent, and
            // the house carrier has no outside system.
            let booked = carrier.book(&context.order_id, &shipping_address, today);
            let schedule = Command::Schedule(Box::new(Schedule { booked, items, shipping_address }));
            let shipment = execute(store, schedule, &event_context(context, user_id, action, now)).await?;
            // From what is stored, and not from the carrier's answer: a repeat on a later day gets the first
            // delivery date.
            shipment.booking.map(Answer::Scheduled).ok_or(ShipmentError::Incomplete)
        }
        FulfillmentCommand::CancelShipment { context, user_id } => {
            let shipment =
                execute(store, Command::Cancel, &event_context(context, user_id, action, now)).await?;
            let cancelled = shipment.was_cancelled();
            let outcome = if cancelled { UndoOutcome::Cancelled } else { UndoOutcome::NothingScheduled };
            Ok(Answer::Undone(Undone { outcome }))
        }
    }
}

fn event_context(context: CommandContext, user_id: UserId, action: &str, now: Timestamp) -> EventContext {
    EventContext {
        causation_id: format!("{}.{action}", context.order_id),
        order_id: context.order_id,
        user_id,
        correlation_id: context.correlation_id,
        at: now,
    }
}

impl CommandError for ShipmentError {
    fn name(&self) -> &'static str {
        match self {
            Self::Rejected(Rejected::NotServed(_)) => SHIPMENT_REJECTED,
            Self::Rejected(Rejected::AlreadyCancelled) => ORDER_CANCEL_REQUESTED,
            Self::Rejected(Rejected::InProgress) | Self::Table(_) | Self::Incomplete | Self::Conflict(_) => {
                TRANSIENT
            }
        }
    }
}

#[cfg(test)]
mod tests;
