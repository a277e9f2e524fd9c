//! Records an input, sends the result to the waiting task tokens, and queues a check for an action that is pending
//! at the gateway. It calls AWS only, so that its callers are fast.

use contracts::OrderId;
use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::{EventContext, Payment, PaymentInput, PendingAction},
    handler::{self, RecordError},
    queue::{CheckPayment, Queue, QueueError},
    store::Store,
    task_tokens::{TaskTokenError, TaskTokens},
};

#[derive(Debug, Clone)]
pub struct InputRecorder {
    pub store: Store,
    pub task_tokens: TaskTokens,
    pub queue: Queue,
}

#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    TaskToken(#[from] TaskTokenError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl InputRecorder {
    /// Applies an input to the payment. `known` is the payment as the caller has read it.
    ///
    /// # Errors
    /// When the caller must retry.
    pub async fn record(
        &self,
        order_id: &OrderId,
        known: Option<Payment>,
        input: &PaymentInput,
        context: EventContext<'_>,
    ) -> Result<(), RecorderError> {
        let payment = self.apply(order_id, known, input, context).await?;
        // A repeat does everything again, since the first try may have died after any of these lines. Each of
        // them may be repeated.
        self.send_result(&payment).await?;
        self.queue_check(payment, context.now).await
    }

    /// Applies an input to the payment, and returns the payment after it.
    ///
    /// # Errors
    /// When the payment does not accept the input, or the table cannot be read or written.
    pub async fn apply(
        &self,
        order_id: &OrderId,
        known: Option<Payment>,
        input: &PaymentInput,
        context: EventContext<'_>,
    ) -> Result<Payment, RecorderError> {
        Ok(handler::record(&self.store, order_id, known, input, context).await?)
    }

    /// Sends the payment's result, if it has one, to the waiting task tokens.
    ///
    /// # Errors
    /// When one of them may not have the result.
    pub async fn send_result(&self, payment: &Payment) -> Result<(), RecorderError> {
        Ok(self.task_tokens.send_result(payment).await?)
    }

    async fn queue_check(&self, payment: Payment, now: Timestamp) -> Result<(), RecorderError> {
        match payment.pending_action(now) {
            // The payment had ended, so it may have no check in the queue. The gateway is called by that
            // check, because the callers of this function must be fast.
            PendingAction::CancelIntent { .. } | PendingAction::Refund { .. } => {
                let Payment { order_id, correlation_id, .. } = payment;
                let check = CheckPayment { order_id, correlation_id, attempt: 0 };
                Ok(self.queue.check_after(check, SignedDuration::ZERO).await?)
            }
            // A pending payment has a check in the queue already.
            PendingAction::None
            | PendingAction::CreateIntent(_)
            | PendingAction::Confirm { .. }
            | PendingAction::Expire => Ok(()),
        }
    }
}
