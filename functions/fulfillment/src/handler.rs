//! Decides how a command or a report changes a parcel, and writes it. When another writer was faster, it reads
//! and decides again.

use contracts::{OrderId, OrderStatus};
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{Budget, Conflict, TableError, retry_on_conflict_with},
    peers::CallError,
};

use crate::{
    domain::{Cause, Command, Decision, OutOfOrder, Parcel, Refused, Report, Status, decide, report},
    orders::Orders,
    store::Store,
};

/// Tries to write when another writer changes the same parcel in between. The saga moves a parcel at most
/// twice, and one colleague reports its progress, seldom two.
const WRITES: Budget = Budget::Tries(4);

/// Why a command was not executed.
#[derive(Debug, thiserror::Error)]
pub enum ShipmentError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("a scheduled parcel has no shipment")]
    Incomplete,
    #[error("the parcel is too busy")]
    Conflict(#[from] Conflict),
}

/// Why a report was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("orders does not answer")]
    Orders(#[from] CallError),
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
    #[error("the order has not completed")]
    NotCompleted,
    #[error("there is no such order")]
    Unknown,
    #[error("the parcel is too busy")]
    Conflict(#[from] Conflict),
}

/// Decides and writes; after a conflict, reads and decides again. Does not read first, since a schedule
/// usually finds nothing and a cancel is rare.
///
/// # Errors
/// When the parcel's state does not allow the command, or the table cannot be read or written.
pub async fn execute(store: &Store, command: Command, cause: &Cause) -> Result<Parcel, ShipmentError> {
    let command = &command;
    let driven = retry_on_conflict_with(WRITES, None, |mut current: Option<Parcel>| async move {
        loop {
            let change = match decide(current.as_ref(), command.clone(), cause)? {
                Decision::Keep(parcel) => return Ok(Ok(parcel)),
                Decision::Write(change) => change,
            };
            match store.write(&change).await? {
                // Decides again, so that the answer is the same as for a repeat.
                Ok(()) => current = Some(change.parcel),
                Err(Conflict) => return Ok::<_, ShipmentError>(Err(store.parcel(&cause.order_id).await?)),
            }
        }
    });
    Ok(driven.await??)
}

/// Records the progress that staff report. A repeat gets the first answer.
///
/// # Errors
/// When the report does not follow the parcel's status, there is no such parcel, or the order has not completed.
pub async fn record(
    store: &Store,
    orders: &Orders,
    order_id: &OrderId,
    asked: &Report,
    causation_id: &str,
) -> Result<Parcel, RecordError> {
    // Only the first report needs a completed order: later ones follow it, and a completed order stays
    // completed.
    let recorded = retry_on_conflict_with(WRITES, false, |mut order_has_completed| async move {
        let Some(parcel) = store.parcel(order_id).await? else {
            return Err(match orders.status(order_id).await? {
                Some(_) => RecordError::NotCompleted,
                None => RecordError::Unknown,
            });
        };
        let cause = Cause {
            order_id: order_id.clone(),
            user_id: parcel.user_id.clone(),
            correlation_id: parcel.correlation_id.clone(),
            causation_id: causation_id.to_owned(),
            at: Timestamp::now(),
        };
        let change = match report(&parcel, asked, &cause)? {
            Decision::Keep(parcel) => return Ok(Ok(parcel)),
            Decision::Write(change) => change,
        };
        if parcel.status == Status::Scheduled && !order_has_completed {
            if orders.status(order_id).await? != Some(OrderStatus::OrderCompleted) {
                return Err(RecordError::NotCompleted);
            }
            order_has_completed = true;
        }
        match store.write(&change).await? {
            Ok(()) => {
                tracing::info!(status = ?change.parcel.status, "a parcel's progress");
                Ok(Ok(change.parcel))
            }
            Err(Conflict) => Ok(Err(order_has_completed)),
        }
    });
    Ok(recorded.await??)
}
