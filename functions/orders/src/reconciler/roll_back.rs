//! Rolls an order back as the saga would have: it can no longer complete, the undos run in their order, then it ends.

use contracts::{
    OrderStatus,
    events::{OrderCancelRequested, OrderCompensationFailed},
    saga::{
        Compensations, Failure, ORDER_CANCEL_REQUESTED, OrderCommand, SAGA_ABORTED, Undo, UndoOutcome, undos,
    },
};
use jiff::Timestamp;
use lambda_kit::error::error_chain;

use super::{
    ReconcileError, Reconciler, UNDO_RETRY_PERIOD, correlation_id, executions::Execution, is_open,
    report::ReconcileOutcome,
};
use crate::{
    commands,
    domain::{Command, History},
    handler,
};

/// The step of a failure when the failed step is unknown.
const SAGA: &str = "Saga";

/// The result of retrying an order's failed undos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryOutcome {
    Cancelled,
    /// These undos failed again.
    StillFailing(Vec<String>),
    /// It had completed; its execution ended before it could record that.
    Completed,
}

/// Why there is nothing to retry.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    #[error("the order has ended as {0}: there is nothing to retry")]
    Ended(OrderStatus),
    #[error("the order's execution still runs, and undoes or completes by itself: there is nothing to retry")]
    Running,
    #[error("the order's saga never started: there is nothing to undo, and `cargo ops saga check` starts it")]
    NeverStarted,
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
}

impl Reconciler {
    /// Rolls back an open order without a running execution.
    pub(super) async fn roll_back(
        &self,
        history: History,
        now: Timestamp,
    ) -> Result<ReconcileOutcome, ReconcileError> {
        // First. A step of the lost saga may still be under way, and must not complete the order while it is
        // undone.
        let history = self.abort(&history, now).await?;
        match history.order.status {
            OrderStatus::OrderCompleted => return Ok(ReconcileOutcome::Completed),
            status if !is_open(status) => return Ok(ReconcileOutcome::Ended),
            _ => {}
        }
        let failure = failure(&history);
        let compensations = self.undo(&history, &failure, undos()).await;
        // The last event of the order is the cancel request, whether the customer sent it or `abort` did.
        let retries_left = now.duration_since(history.updated_at) < UNDO_RETRY_PERIOD;
        if retries_left && !failed(&compensations).is_empty() {
            // The order stays open and in the index. The next run tries all undos again, since they may be
            // repeated.
            return Ok(ReconcileOutcome::UndoFailed);
        }
        match self.cancel(&history, failure, compensations, now).await? {
            OrderStatus::NeedsAttention => Ok(ReconcileOutcome::NeedsAttention),
            _ => Ok(ReconcileOutcome::Cancelled),
        }
    }

    /// Retries the undos that an order needs attention for; for an open order whose execution has ended, all
    /// undos.
    ///
    /// # Errors
    /// When there is nothing to retry, or the order cannot be reconciled.
    pub async fn retry(
        &self,
        order_id: &contracts::OrderId,
        now: Timestamp,
    ) -> Result<RetryOutcome, RetryError> {
        // The execution is read before the order, as in every check: the order then includes everything that
        // the execution did.
        let execution = self.executions.of(order_id).await.map_err(ReconcileError::from)?;
        let history = self.store.load(order_id).await.map_err(ReconcileError::from)?;
        let history = history.ok_or(ReconcileError::NoOrder)?;
        let status = history.order.status;
        if status.is_final() {
            return Err(RetryError::Ended(status));
        }
        match execution {
            Execution::Running => return Err(RetryError::Running),
            Execution::NeverStarted if is_open(status) => return Err(RetryError::NeverStarted),
            Execution::NeverStarted | Execution::Ended => {}
        }
        // An order that needs attention names the failed undos; for an open one, everything is undone.
        let (failure, missing): (Failure, Vec<&Undo>) = match last_failure(&history)
            .filter(|_| !is_open(status))
        {
            Some(event) => {
                let missing = undos().filter(|undo| event.failed.iter().any(|failed| failed == undo.part));
                (event.failure, missing.collect())
            }
            None => {
                let aborted = self.abort(&history, now).await?;
                match aborted.order.status {
                    OrderStatus::OrderCompleted => return Ok(RetryOutcome::Completed),
                    _ => (failure(&aborted), undos().collect()),
                }
            }
        };
        let compensations = self.undo(&history, &failure, missing).await;
        let still_failing = failed(&compensations);
        match self.cancel(&history, failure, compensations, now).await? {
            OrderStatus::OrderCancelled => Ok(RetryOutcome::Cancelled),
            _ => Ok(RetryOutcome::StillFailing(still_failing)),
        }
    }

    /// Makes sure that the order does not complete any more, unless it has: a step that is still running is rejected.
    async fn abort(&self, history: &History, now: Timestamp) -> Result<History, ReconcileError> {
        let (order_id, correlation_id) = (&history.order_id, correlation_id(history));
        Ok(handler::execute(&self.store, order_id, &Command::Abort, correlation_id, now).await?)
    }

    /// Runs these undos one after the other. After one has failed, the others still run.
    async fn undo(
        &self,
        history: &History,
        failure: &Failure,
        undos: impl IntoIterator<Item = &'static Undo>,
    ) -> Compensations {
        let mut compensations = Compensations::default();
        for undo in undos {
            let outcome = match self.contexts.undo(undo, history, &failure.error).await {
                // The undos are independent. A carrier that is down must not keep the customer's money.
                Ok(outcome) => outcome,
                Err(error) => {
                    let order_id = history.order_id.as_str();
                    tracing::error!(
                        order_id,
                        undo = undo.part,
                        error = error_chain(&error),
                        "an undo failed"
                    );
                    UndoOutcome::Failed
                }
            };
            compensations.record(undo, outcome);
        }
        compensations
    }

    /// Ends the order as the saga's last step does. Returns its status.
    async fn cancel(
        &self,
        history: &History,
        failure: Failure,
        compensations: Compensations,
        now: Timestamp,
    ) -> Result<OrderStatus, ReconcileError> {
        let context =
            contracts::saga::CommandContext::new(history.order_id.clone(), correlation_id(history).clone());
        let cancel = OrderCommand::CancelOrder { context, failure, compensations };
        // By the saga's own command, so that the same metrics are counted and the same alarms are raised.
        match commands::take(&self.store, cancel, now).await? {
            commands::Answer::Status { status } => Ok(status),
            // A cancel is never answered so.
            commands::Answer::Aborted(_) => Ok(history.order.status),
        }
    }
}

fn failed(compensations: &Compensations) -> Vec<String> {
    let failed = compensations.iter().filter(|(_, outcome)| *outcome == UndoOutcome::Failed);
    failed.map(|(undo, _)| undo.part.to_owned()).collect()
}

/// The reason for cancelling an order without a running saga: its customer requested it, or its saga was
/// lost.
fn failure(history: &History) -> Failure {
    let requested = history.events.iter().any(|event| {
        event
            .envelope
            .decode::<OrderCancelRequested>()
            // The saga requests a cancel, too, when it aborts. That is not the customer's wish.
            .is_ok_and(|request| request.requested_by == "customer")
    });
    let error = if requested { ORDER_CANCEL_REQUESTED } else { SAGA_ABORTED };
    Failure {
        step: SAGA.to_owned(),
        error: error.to_owned(),
        cause: "the order's execution ended without ending the order".to_owned(),
    }
}

/// The failure that the order needs attention for.
pub(super) fn last_failure(history: &History) -> Option<OrderCompensationFailed> {
    history.events.iter().rev().find_map(|event| event.envelope.decode().ok())
}
