//! The saga's commands: `ScheduleShipment`, and its undo `CancelShipment`.

use contracts::{
    UserId,
    saga::{
        CommandContext, FulfillmentCommand, ORDER_CANCEL_REQUESTED, SHIPMENT_REJECTED, SagaCommand, Shipment,
        TRANSIENT, UndoOutcome, Undone,
    },
};
use jiff::{Timestamp, tz::TimeZone};
use lambda_kit::command::CommandError;
use serde::Serialize;

use crate::{
    carrier::Carrier,
    domain::{Cause, Command, Refused, Schedule},
    handler::{ShipmentError, execute},
    store::Store,
};

/// The answer of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Scheduled(Shipment),
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
            let booked = carrier.book(&context.order_id, &shipping_address, today);
            let schedule = Command::Schedule(Box::new(Schedule { booked, items, shipping_address }));
            let parcel = execute(store, schedule, &cause(context, user_id, action, now)).await?;
            parcel.shipment.map(Answer::Scheduled).ok_or(ShipmentError::Incomplete)
        }
        FulfillmentCommand::CancelShipment { context, user_id } => {
            let parcel = execute(store, Command::Cancel, &cause(context, user_id, action, now)).await?;
            let called_off = parcel.was_called_off();
            let outcome = if called_off { UndoOutcome::Cancelled } else { UndoOutcome::NothingScheduled };
            Ok(Answer::Undone(Undone { outcome }))
        }
    }
}

fn cause(context: CommandContext, user_id: UserId, action: &str, now: Timestamp) -> Cause {
    Cause {
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
            Self::Refused(Refused::Rejected(_)) => SHIPMENT_REJECTED,
            Self::Refused(Refused::AlreadyCancelled) => ORDER_CANCEL_REQUESTED,
            Self::Refused(Refused::UnderWay) | Self::Table(_) | Self::Incomplete | Self::Conflict(_) => {
                TRANSIENT
            }
        }
    }
}

#[cfg(test)]
mod tests;
