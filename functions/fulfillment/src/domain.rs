//! A shipment: `none → scheduled | rejected | cancelled`, `scheduled → cancelled` by the saga, and
//! `scheduled → picked → packed → shipped → delivered` by staff. Nothing else. Pure.

mod progress;

use contracts::{
    CorrelationId, Envelope, EventPayload, NewEvent, OrderId, OrderLine, ShippingAddress, UserId,
    events::{
        ShipmentCancelled, ShipmentDelivered, ShipmentPacked, ShipmentPicked, ShipmentScheduled,
        ShipmentShipped,
    },
    saga::Booking,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::progress::{OutOfOrder, Progress, ProgressReport, report};
use crate::carrier::NotServed;

/// The `source` of this context's events.
const SOURCE: &str = "fulfillment";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "ShipmentStatus"))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Scheduled,
    Picked,
    Packed,
    /// The carrier has it.
    Shipped,
    Delivered,
    /// No carrier takes it; kept, so that a second attempt says the same.
    Rejected,
    /// Cancelled, or never scheduled: either way nothing may be scheduled for this order any more.
    Cancelled,
}

/// The shipment of one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub correlation_id: CorrelationId,
    pub status: Status,
    /// It stays when the shipment is cancelled.
    #[serde(rename = "shipment", default, skip_serializing_if = "Option::is_none")]
    pub booking: Option<Booking>,
    /// Why no carrier takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The goods to pack.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<OrderLine>,
    /// The delivery address.
    // It is stored here and in no event, so that it can be erased. It is kept only while there is something
    // to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<ShippingAddress>,
    /// Counts the writes, from 1. It is the `sequence` of the event of a write.
    pub version: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Schedule(Box<Schedule>),
    Cancel,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The carrier's answer.
    pub booked: Result<Booking, NotServed>,
    pub items: Vec<OrderLine>,
    pub shipping_address: ShippingAddress,
}

/// What caused a change, and when.
#[derive(Debug, Clone)]
pub struct EventContext {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub correlation_id: CorrelationId,
    /// The id of the command.
    pub causation_id: String,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The shipment is already in the state that the command wants.
    Keep(Shipment),
    Write(Change),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The version that the decision is based on; `None` when there was no shipment.
    pub expected: Option<u64>,
    pub shipment: Shipment,
    causation_id: String,
}

/// Why the shipment's state does not allow a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the shipment cannot be sent: {0}")]
    NotServed(String),
    #[error("the order's shipment was cancelled before")]
    AlreadyCancelled,
    #[error("the order's shipment is being sent")]
    InProgress,
}

/// Decides how `command` changes the shipment, or why it may not. Total and deterministic: a repeated command
/// is `Keep`.
///
/// # Errors
/// When the state does not allow the command.
pub fn decide(
    current: Option<&Shipment>,
    command: Command,
    context: &EventContext,
) -> Result<Decision, Rejected> {
    let Some(current) = current else { return Ok(Decision::Write(first(command, context))) };
    match (current.status, command) {
        (Status::Scheduled, Command::Cancel) => Ok(Decision::Write(Change {
            expected: Some(current.version),
            shipment: Shipment {
                status: Status::Cancelled,
                correlation_id: context.correlation_id.clone(),
                shipping_address: None,
                version: current.version + 1,
                updated_at: context.at,
                ..current.clone()
            },
            causation_id: context.causation_id.clone(),
        })),
        (
            Status::Scheduled | Status::Picked | Status::Packed | Status::Shipped | Status::Delivered,
            Command::Schedule(_),
        )
        | (Status::Cancelled | Status::Rejected, Command::Cancel) => Ok(Decision::Keep(current.clone())),
        // Staff send only what was sold, and no saga undoes a completed order. So this needs a person.
        (Status::Picked | Status::Packed | Status::Shipped | Status::Delivered, Command::Cancel) => {
            Err(Rejected::InProgress)
        }
        (Status::Rejected, Command::Schedule(_)) => {
            Err(Rejected::NotServed(current.reason.clone().unwrap_or_default()))
        }
        (Status::Cancelled, Command::Schedule(_)) => Err(Rejected::AlreadyCancelled),
    }
}

/// The first write of a shipment.
fn first(command: Command, context: &EventContext) -> Change {
    let empty = Shipment {
        order_id: context.order_id.clone(),
        user_id: context.user_id.clone(),
        correlation_id: context.correlation_id.clone(),
        status: Status::Cancelled,
        booking: None,
        reason: None,
        items: Vec::new(),
        shipping_address: None,
        version: 1,
        created_at: context.at,
        updated_at: context.at,
    };
    let shipment = match command {
        Command::Schedule(schedule) => match schedule.booked {
            Ok(booking) => Shipment {
                status: Status::Scheduled,
                booking: Some(booking),
                items: schedule.items,
                shipping_address: Some(schedule.shipping_address),
                ..empty
            },
            Err(error) => Shipment { status: Status::Rejected, reason: Some(error.to_string()), ..empty },
        },
        // The mark of an undo that came before its step. A schedule that arrives later finds it, and is
        // rejected.
        Command::Cancel => empty,
    };
    Change { expected: None, shipment, causation_id: context.causation_id.clone() }
}

impl Shipment {
    /// Whether a booked shipment was cancelled, and not only a late schedule prevented.
    pub fn was_cancelled(&self) -> bool {
        self.status == Status::Cancelled && self.booking.is_some()
    }
}

impl Change {
    /// The events of this write: none or one.
    ///
    /// # Errors
    /// When a payload has no JSON form.
    pub fn events(&self) -> Result<Vec<Envelope>, serde_json::Error> {
        let order_id = self.shipment.order_id.clone();
        let event = match (self.shipment.status, &self.shipment.booking) {
            (Status::Scheduled, Some(booking)) => self.event(&ShipmentScheduled {
                order_id,
                carrier: booking.carrier.clone(),
                tracking_number: booking.tracking_number.clone(),
                estimated_delivery: booking.estimated_delivery,
            })?,
            (Status::Picked, Some(_)) => self.event(&ShipmentPicked { order_id })?,
            (Status::Packed, Some(_)) => self.event(&ShipmentPacked { order_id })?,
            (Status::Shipped, Some(booking)) => self.event(&ShipmentShipped {
                order_id,
                carrier: booking.carrier.clone(),
                tracking_number: booking.tracking_number.clone(),
            })?,
            (Status::Delivered, Some(_)) => self.event(&ShipmentDelivered { order_id })?,
            (Status::Cancelled, Some(_)) => self.event(&ShipmentCancelled { order_id })?,
            // Nothing was booked, so no earlier event mentioned a shipment.
            (_, None) | (Status::Rejected, Some(_)) => return Ok(Vec::new()),
        };
        Ok(vec![event])
    }

    fn event<P: EventPayload>(&self, payload: &P) -> Result<Envelope, serde_json::Error> {
        let shipment = &self.shipment;
        Envelope::new(
            NewEvent {
                source: SOURCE,
                subject: shipment.order_id.as_str(),
                sequence: shipment.version,
                occurred_at: shipment.updated_at,
                correlation_id: &shipment.correlation_id,
                causation_id: &self.causation_id,
                user_id: Some(&shipment.user_id),
            },
            payload,
        )
    }
}

#[cfg(test)]
mod tests;
