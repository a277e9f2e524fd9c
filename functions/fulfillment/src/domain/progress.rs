//! The progress of a shipment, as staff report it.

use contracts::saga::Booking;
use serde::{Deserialize, Serialize};

use super::{Change, Decision, EventContext, Shipment, Status};

/// How far a shipment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    Picked,
    Packed,
    /// The carrier has it.
    Shipped,
    Delivered,
}

impl Progress {
    const fn status(self) -> Status {
        match self {
            Self::Picked => Status::Picked,
            Self::Packed => Status::Packed,
            Self::Shipped => Status::Shipped,
            Self::Delivered => Status::Delivered,
        }
    }

    /// The status that must come before it.
    const fn after(self) -> Status {
        match self {
            Self::Picked => Status::Scheduled,
            Self::Packed => Status::Picked,
            Self::Shipped => Status::Packed,
            Self::Delivered => Status::Shipped,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressReport {
    pub progress: Progress,
    /// Replaces the booked one.
    pub tracking_number: Option<String>,
}

/// The report does not follow the shipment's current status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shipment that is {current:?} cannot become {reported:?} next")]
pub struct OutOfOrder {
    pub current: Status,
    pub reported: Progress,
}

/// Decides how a report changes the shipment. A repeated one is `Keep`.
///
/// # Errors
/// When the report does not follow the shipment's current status.
pub fn report(
    current: &Shipment,
    report: &ProgressReport,
    context: &EventContext,
) -> Result<Decision, OutOfOrder> {
    let reported = report.progress;
    let out_of_order = OutOfOrder { current: current.status, reported };
    let booking = current.booking.clone().ok_or(out_of_order)?;
    let tracking_number = report.tracking_number.clone().unwrap_or_else(|| booking.tracking_number.clone());
    // A repeat, for example of a request whose answer was lost. With another tracking number it is a
    // different report, which comes too late.
    if current.status == reported.status() && booking.tracking_number == tracking_number {
        return Ok(Decision::Keep(current.clone()));
    }
    if current.status != reported.after() {
        return Err(out_of_order);
    }
    let delivered = reported == Progress::Delivered;
    Ok(Decision::Write(Change {
        expected: Some(current.version),
        shipment: Shipment {
            status: reported.status(),
            booking: Some(Booking { tracking_number, ..booking }),
            // A delivered shipment needs no address any more.
            shipping_address: current.shipping_address.clone().filter(|_| !delivered),
            version: current.version + 1,
            updated_at: context.at,
            ..current.clone()
        },
        causation_id: context.causation_id.clone(),
    }))
}
