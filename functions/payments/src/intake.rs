//! Records a fact, answers the waiting task tokens, and queues a check for what the payment owes at the
//! gateway. It calls AWS only, so that its callers are fast.

use contracts::OrderId;
use jiff::{SignedDuration, Timestamp};

use crate::{
    answers::{AnswerError, Answers},
    domain::{EventContext, Payment, PaymentInput, PendingAction},
    handler::{self, RecordError},
    queue::{CheckPayment, Queue, QueueError},
    store::Store,
};

#[derive(Debug, Clone)]
pub struct Intake {
    pub store: Store,
    pub answers: Answers,
    pub queue: Queue,
}

#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Intake {
    /// Applies a fact to the payment, of which the caller passes the version that it knows. A repeat does
    /// everything again, since the first try may have failed half way.
    ///
    /// # Errors
    /// When the caller must retry.
    pub async fn learn(
        &self,
        order_id: &OrderId,
        known: Option<Payment>,
        input: &PaymentInput,
        context: EventContext<'_>,
    ) -> Result<(), IntakeError> {
        let payment = handler::record(&self.store, order_id, known, input, context).await?;
        self.answers.tell(&payment).await?;
        self.leave_work(payment, context.now).await
    }

    async fn leave_work(&self, payment: Payment, now: Timestamp) -> Result<(), IntakeError> {
        match payment.pending_action(now) {
            PendingAction::CancelIntent { .. } | PendingAction::Refund { .. } => {
                let Payment { order_id, correlation_id, .. } = payment;
                let check = CheckPayment { order_id, correlation_id, attempt: 0 };
                Ok(self.queue.check_after(check, SignedDuration::ZERO).await?)
            }
            // A pending payment has its check on the way already.
            PendingAction::None
            | PendingAction::CreateIntent(_)
            | PendingAction::Confirm { .. }
            | PendingAction::Expire => Ok(()),
        }
    }
}
