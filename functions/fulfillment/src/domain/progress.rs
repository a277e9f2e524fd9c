//! The progress of a parcel, as staff report it.

use contracts::saga::Shipment;
use serde::{Deserialize, Serialize};

use super::{Cause, Change, Decision, Parcel, Status};

/// How far a parcel is.
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
pub struct Report {
    pub progress: Progress,
    /// Replaces the booked one.
    pub tracking_number: Option<String>,
}

/// The report does not follow the parcel's current status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a parcel that is {is:?} does not become {asked:?} next")]
pub struct OutOfOrder {
    pub is: Status,
    pub asked: Progress,
}

/// Decides how a report changes the parcel. A repeated one is `Keep`.
///
/// # Errors
/// When the report does not follow the parcel's current status.
pub fn report(current: &Parcel, report: &Report, cause: &Cause) -> Result<Decision, OutOfOrder> {
    let asked = report.progress;
    let out_of_order = OutOfOrder { is: current.status, asked };
    let shipment = current.shipment.clone().ok_or(out_of_order)?;
    let tracking_number = report.tracking_number.clone().unwrap_or_else(|| shipment.tracking_number.clone());
    if current.status == asked.status() && shipment.tracking_number == tracking_number {
        return Ok(Decision::Keep(current.clone()));
    }
    if current.status != asked.after() {
        return Err(out_of_order);
    }
    let delivered = asked == Progress::Delivered;
    Ok(Decision::Write(Change {
        expected: Some(current.version),
        parcel: Parcel {
            status: asked.status(),
            shipment: Some(Shipment { tracking_number, ..shipment }),
            shipping_address: current.shipping_address.clone().filter(|_| !delivered),
            version: current.version + 1,
            updated_at: cause.at,
            ..current.clone()
        },
        causation_id: cause.causation_id.clone(),
    }))
}
