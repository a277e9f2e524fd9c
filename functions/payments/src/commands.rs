//! Takes payments and undoes them, and runs the checks behind both.
//!
//! Every path has three parts: record the input, send the result to the waiting task tokens, and run the
//! payment's pending action. An action that cannot run now (the gateway is down, the customer has not acted) is
//! left to a delayed check on the queue. Failing the message instead would use up its receives, and it goes to the
//! dead-letter queue after 20.

mod dispute;
mod function;
mod payments;
mod pending;

use contracts::{
    OrderId,
    saga::{CommandContext, TakePayment, Undone},
};
use jiff::SignedDuration;
use lambda_kit::{error::error_chain, limits::PAYMENT_DEADLINE, provider::full_jitter};

pub use self::{
    function::run,
    payments::{Invocation, Payments, PaymentsError},
};

use crate::{
    domain::{Charge, EventContext, Payment, PaymentInput, Secret, Status},
    gateway::GatewayError,
    queue::CheckPayment,
    recorder::RecorderError,
};
use pending::PendingOutcome;

/// The default time that customer and bank have for a payment.
#[expect(clippy::cast_possible_wrap, reason = "fifteen minutes")]
pub const DEADLINE_SECONDS: i64 = PAYMENT_DEADLINE.as_secs() as i64;

/// The delay of the next check while payments are paused.
// A payment goes on within a minute after the switch is set, and costs two messages a minute until then.
const PAUSED: SignedDuration = SignedDuration::from_secs(30);

impl Payments {
    /// Takes an order's payment. A repeat takes no more money, and every token gets the result. The deadline counts
    /// from when the saga entered its step; without that time, from now. After the deadline no card is charged.
    ///
    /// # Errors
    /// When the message has to be delivered again.
    pub async fn take(&self, take: TakePayment, invocation: Invocation) -> Result<(), PaymentsError> {
        let TakePayment { context: CommandContext { order_id, correlation_id, .. }, .. } = take;
        // Step Functions' clock and ours differ by little; a time in the future must not make the deadline longer.
        let entered_at = take.entered_at.unwrap_or(invocation.now).min(invocation.now);
        let deadline = entered_at.as_second() + self.deadline_seconds;
        let requested = PaymentInput::ChargeRequested {
            user_id: take.user_id,
            correlation_id,
            charge: Charge { amount: take.amount, payment_method: take.payment_method, deadline },
            token: Secret::new(take.task_token),
        };
        let command_id = command_id(&order_id, "TakePayment");
        let context = EventContext { now: invocation.now, causation_id: &command_id };
        // Most orders have no payment yet, so it is not read first. The guess costs a read only when it is
        // wrong.
        let payment = self.recorder.apply(&order_id, None, &requested, context).await?;
        self.advance(payment, 0, context, invocation).await
    }

    /// Checks a payment again and runs its pending action.
    ///
    /// # Errors
    /// When the message must be retried.
    pub async fn check(&self, check: CheckPayment, invocation: Invocation) -> Result<(), PaymentsError> {
        let Some(payment) = self.recorder.store.get(&check.order_id).await? else {
            // A payment is stored before its first check, and is never deleted. Another try would find none
            // either.
            tracing::error!("a check names an order without a payment");
            return Ok(());
        };
        let command_id = command_id(&check.order_id, "CheckPayment");
        let context = EventContext { now: invocation.now, causation_id: &command_id };
        self.advance(payment, check.attempt, context, invocation).await
    }

    /// Undoes a payment: refunds what was taken, and makes sure that nothing is taken any more.
    ///
    /// # Errors
    /// While that is not certain.
    pub async fn undo(
        &self,
        context: CommandContext,
        user_id: contracts::UserId,
        invocation: Invocation,
    ) -> Result<Undone, PaymentsError> {
        let CommandContext { order_id, correlation_id, .. } = context;
        let command_id = command_id(&order_id, "RefundPayment");
        let context = EventContext { now: invocation.now, causation_id: &command_id };
        let known = self.recorder.store.get(&order_id).await?;
        let undo = PaymentInput::UndoRequested { user_id, correlation_id };
        let payment = self.recorder.apply(&order_id, known, &undo, context).await?;
        // Before the gateway is called, which may be slow: the saga waits for this result.
        self.recorder.send_result(&payment).await?;
        match self.run_pending(payment, context, invocation).await? {
            PendingOutcome::Done(payment) => {
                // No action is pending, and still the undo has no outcome: only a person can resolve this
                // payment. The saga uses up its retries, and the order needs attention.
                let outcome = payment.undo_outcome().ok_or(PaymentsError::StillPending)?;
                Ok(Undone { outcome })
            }
            PendingOutcome::Waiting(_) | PendingOutcome::Paused(_) => Err(PaymentsError::StillPending),
            PendingOutcome::Blocked(_, error) => Err(error.into()),
        }
    }

    /// Sends the result to the task tokens, runs what is pending, and queues a check for the rest.
    async fn advance(
        &self,
        payment: Payment,
        attempt: u32,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<(), PaymentsError> {
        // Also without a change. The process may have died after it wrote the result and before it sent it,
        // and then this message is the repeat.
        self.recorder.send_result(&payment).await?;
        let next_attempt = attempt.saturating_add(1);
        let (payment, min_delay, attempt_after) = match self.run_pending(payment, context, invocation).await?
        {
            PendingOutcome::Done(payment) => {
                tracing::info!(status = ?payment.status, "nothing is pending for the payment");
                return Ok(());
            }
            // The customer, the bank or the next invocation goes on. A check is needed only when a webhook is
            // lost, so the delay grows.
            PendingOutcome::Waiting(payment) => (payment, SignedDuration::ZERO, next_attempt),
            // An operator decides when it goes on, so the delay does not grow.
            PendingOutcome::Paused(payment) => {
                tracing::warn!("payments are paused by their feature switch");
                (payment, PAUSED, attempt)
            }
            // The gateway was not called, so this does not count as an attempt, and the delay does not grow.
            PendingOutcome::Blocked(payment, GatewayError::Open(open)) => {
                tracing::warn!("the gateway's circuit breaker is open");
                (payment, open.retry_delay(), attempt)
            }
            PendingOutcome::Blocked(payment, GatewayError::RateLimited { wait }) => {
                tracing::info!(wait = wait.as_secs_f64(), "the gateway's rate is used up");
                (payment, jittered(wait), attempt)
            }
            // While the saga waits, only the deadline ends the payment.
            PendingOutcome::Blocked(payment, error)
                if error.is_retryable() || payment.status == Status::Pending =>
            {
                tracing::warn!(error = error_chain(&error), "gateway call failed, will be retried");
                (payment, SignedDuration::ZERO, next_attempt)
            }
            PendingOutcome::Blocked(_, error) => {
                // A retry would fail again. A person has to inspect this intent.
                tracing::error!(error = error_chain(&error), "the gateway refused the pending action");
                return Ok(());
            }
        };
        let delay =
            payment.next_poll_delay(attempt, min_delay, invocation.now, |ceiling| fastrand::i64(1..=ceiling));
        tracing::info!(status = ?payment.status, seconds = delay.as_secs(), "the payment will be checked again");
        let check = CheckPayment {
            order_id: payment.order_id,
            correlation_id: payment.correlation_id,
            attempt: attempt_after,
        };
        Ok(self.recorder.queue.check_after(check, delay).await.map_err(RecorderError::from)?)
    }
}

fn jittered(wait: SignedDuration) -> SignedDuration {
    SignedDuration::try_from(full_jitter(wait.unsigned_abs())).unwrap_or(wait)
}

/// The id of a command: an order has one of each.
fn command_id(order_id: &OrderId, action: &str) -> String {
    format!("{order_id}.{action}")
}

#[cfg(test)]
mod tests;
