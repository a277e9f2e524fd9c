//! Decides how a command or a report changes a shipment, and writes it. When another writer was faster, it reads
//! and decides again.

use contracts::{OrderId, OrderStatus};
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{Budget, Conflict, TableError, retry_on_conflict_with},
    function_client::CallError,
};

use crate::{
    domain::{
        Command, Decision, EventContext, OutOfOrder, ProgressReport, Rejected, Shipment, Status, decide,
        report,
    },
    orders::OrdersClient,
    store::Store,
};

/// Tries to write when another writer changes the same shipment in between.
// The saga moves a shipment at most twice, and one colleague reports its progress, seldom two.
const WRITES: Budget = Budget::Tries(4);

/// Why a command was not executed.
#[derive(Debug, thiserror::Error)]
pub enum ShipmentError {
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("a scheduled shipment has no booking")]
    Incomplete,
    #[error("other writers keep changing the shipment")]
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
    #[error("other writers keep changing the shipment")]
    Conflict(#[from] Conflict),
}

/// Decides and writes; after a conflict, reads and decides again.
///
/// # Errors
/// When the shipment's state does not allow the command, or the table cannot be read or written.
// Nothing is read first, since a schedule usually finds nothing and a cancel is rare.
pub async fn execute(
    store: &Store,
    command: Command,
    context: &EventContext,
) -> Result<Shipment, ShipmentError> {
    let command = &command;
    let driven = retry_on_conflict_with(WRITES, None, |mut current: Option<Shipment>| async move {
        loop {
            let change = match decide(current.as_ref(), command.clone(), context)? {
                Decision::Keep(shipment) => return Ok(Ok(shipment)),
                Decision::Write(change) => change,
            };
            match store.write(&change).await? {
                // Decides again, so that the answer is the same as for a repeat.
                Ok(()) => current = Some(change.shipment),
                Err(Conflict) => {
                    return Ok::<_, ShipmentError>(Err(store.shipment(&context.order_id).await?));
                }
            }
        }
    });
    Ok(driven.await??)
}

/// Records the progress that staff report. A repeat gets the first answer.
///
/// # Errors
/// When the report does not follow the shipment's status, there is no such shipment, or the order has not completed.
pub async fn record(
    store: &Store,
    orders: &OrdersClient,
    order_id: &OrderId,
    reported: &ProgressReport,
    causation_id: &str,
) -> Result<Shipment, RecordError> {
    // Only the first report needs a completed order. Later ones follow it, and a completed order stays
    // completed.
    let recorded = retry_on_conflict_with(WRITES, false, |mut order_has_completed| async move {
        let Some(shipment) = store.shipment(order_id).await? else {
            return Err(without_shipment(orders, order_id).await?);
        };
        let context = event_context(&shipment, causation_id);
        let change = match report(&shipment, reported, &context)? {
            Decision::Keep(shipment) => return Ok(Ok(shipment)),
            Decision::Write(change) => change,
        };
        if shipment.status == Status::Scheduled && !order_has_completed {
            require_completed(orders, order_id).await?;
            order_has_completed = true;
        }
        match store.write(&change).await? {
            Ok(()) => {
                tracing::info!(status = ?change.shipment.status, "shipment progress");
                Ok(Ok(change.shipment))
            }
            Err(Conflict) => Ok(Err(order_has_completed)),
        }
    });
    Ok(recorded.await??)
}

/// Why there is nothing to report on.
// The saga books the shipment before the order completes. So without a shipment, the order has not completed, or
// does not exist.
async fn without_shipment(orders: &OrdersClient, order_id: &OrderId) -> Result<RecordError, CallError> {
    Ok(match orders.status(order_id).await? {
        Some(_) => RecordError::NotCompleted,
        None => RecordError::Unknown,
    })
}

// Until the order has completed, its saga may still cancel the shipment. Staff must not send what is about to be
// cancelled.
async fn require_completed(orders: &OrdersClient, order_id: &OrderId) -> Result<(), RecordError> {
    match orders.status(order_id).await? {
        Some(OrderStatus::OrderCompleted) => Ok(()),
        Some(_) | None => Err(RecordError::NotCompleted),
    }
}

fn event_context(shipment: &Shipment, causation_id: &str) -> EventContext {
    EventContext {
        order_id: shipment.order_id.clone(),
        user_id: shipment.user_id.clone(),
        correlation_id: shipment.correlation_id.clone(),
        causation_id: causation_id.to_owned(),
        at: Timestamp::now(),
    }
}
