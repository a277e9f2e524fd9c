//! Does at the gateway what a payment owes, one call after the other, until nothing is owed or nothing more can
//! be done now. Each answer is recorded before the next call.

use lambda_kit::numbers::{ATTEMPT_TIMEOUT, BREAKER, GATEWAY_CALL};
use tokio::time::Duration;

use super::{Invocation, Payments, PaymentsError};
use crate::{
    domain::{Charge, EventContext, IntentState, Operation, Payment, PaymentInput, Status, Work},
    gateway::{GatewayError, IntentObject},
    handler,
};

/// One call of the gateway, the write by which its turn is taken, the one by which its breaker learns of a failure, and the
/// one that records the answer.
pub(super) const ONE_CALL: Duration =
    Duration::from_secs(GATEWAY_CALL.as_secs() + BREAKER.write.as_secs() + 2 * ATTEMPT_TIMEOUT.as_secs());
/// A payment that is created, collected, closed and refunded in one go takes 4 steps; twice that is a circle.
const STEPS: usize = 8;

/// How far a payment was processed.
#[derive(Debug)]
pub(super) enum Settled {
    /// Nothing is owed.
    Done(Payment),
    /// The customer, the bank, or the rest of the work has to come first.
    Waiting(Payment),
    /// The gateway did not do it.
    Stopped(Payment, GatewayError),
}

/// The result of one step.
enum Step {
    /// The payment has moved: it may owe something else now.
    Moved(Payment),
    /// The intent that this process has just made can be confirmed without asking what became of it.
    Made(Payment, String),
    Waits(Payment),
    Failed(Payment, GatewayError),
}

impl Payments {
    pub(super) async fn settle(
        &self,
        payment: Payment,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<Settled, PaymentsError> {
        let mut payment = payment;
        let mut just_made = None;
        for _ in 0..STEPS {
            let work = payment.owes(context.now);
            if !matches!(work, Work::Nothing | Work::Expire) && !invocation.has(ONE_CALL) {
                return Ok(Settled::Waiting(payment));
            }
            let step = match work {
                Work::Nothing => return Ok(Settled::Done(payment)),
                Work::Expire => {
                    Step::Moved(self.record(payment, &PaymentInput::DeadlineExpired, context).await?)
                }
                Work::Create(charge) => self.create(payment, &charge, context, invocation).await?,
                Work::Collect { intent_id } => {
                    let made = just_made.take().is_some_and(|made: String| made == intent_id);
                    self.collect(payment, &intent_id, made, context, invocation).await?
                }
                Work::Close { intent_id } => self.close(payment, &intent_id, context, invocation).await?,
                Work::Refund { intent_id } => self.refund(payment, &intent_id, context, invocation).await?,
            };
            payment = match step {
                Step::Moved(payment) => payment,
                Step::Made(payment, intent_id) => {
                    just_made = Some(intent_id);
                    payment
                }
                Step::Waits(payment) => return Ok(Settled::Waiting(payment)),
                Step::Failed(payment, error) => return Ok(Settled::Stopped(payment, error)),
            };
        }
        Ok(Settled::Waiting(payment))
    }

    /// Makes an intent, unconfirmed, and stores its id: no money can move before that.
    async fn create(
        &self,
        payment: Payment,
        charge: &Charge,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<Step, PaymentsError> {
        let intent = match self.gateway.create(&payment, charge, invocation.patience()).await {
            Ok(intent) => intent,
            Err(error) if error.keeps_key() => {
                // Whatever it made is unconfirmed and unknown to the customer: it takes no money, ever.
                return self.spend_key(payment, Operation::Create, error, context).await;
            }
            Err(GatewayError::Declined { code }) => {
                tracing::warn!(code, "the gateway makes no intent with this payment method");
                let refused = PaymentInput::IntentRefused { code };
                return Ok(Step::Moved(self.record(payment, &refused, context).await?));
            }
            Err(error) => return Ok(Step::Failed(payment, error)),
        };
        let made = PaymentInput::IntentCreated { id: intent.id.clone() };
        let payment = self.record(payment, &made, context).await?;
        if payment.intent.as_ref().is_some_and(|ours| ours.id == intent.id) {
            return Ok(Step::Made(payment, intent.id));
        }
        // The order was undone meanwhile, or another worker's intent was stored first. This intent is not
        // confirmed and its id is stored nowhere, so cancelling it is only a clean-up.
        if let Err(error) = self.gateway.cancel(&intent.id, invocation.patience()).await {
            tracing::warn!(intent_id = intent.id, %error, "an unused intent stays open, unconfirmed");
        }
        Ok(Step::Moved(payment))
    }

    /// Confirms the intent unless that was done, and records what became of it.
    async fn collect(
        &self,
        payment: Payment,
        intent_id: &str,
        just_made: bool,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<Step, PaymentsError> {
        if !just_made {
            let state = match self.gateway.retrieve(intent_id, invocation.patience()).await {
                Ok(intent) => intent.state(),
                Err(error) => return Ok(Step::Failed(payment, error)),
            };
            if state != IntentState::Unconfirmed {
                return self.observe(payment, intent_id, state, context).await;
            }
            if !invocation.has(ONE_CALL) {
                return Ok(Step::Waits(payment));
            }
        }
        let error = match self.gateway.confirm(&payment, intent_id, invocation.patience()).await {
            Ok(intent) => return self.observe(payment, intent_id, intent.state(), context).await,
            Err(GatewayError::Declined { code }) => {
                return self.observe(payment, intent_id, IntentState::Declined { code }, context).await;
            }
            Err(error) if error.keeps_key() || !error.is_retryable() => error,
            Err(error) => return Ok(Step::Failed(payment, error)),
        };
        if !invocation.has(ONE_CALL) {
            return Ok(Step::Failed(payment, error));
        }
        // It failed or was refused: only the intent shows whether anything has happened.
        match (
            self.gateway.retrieve(intent_id, invocation.patience()).await.map(|intent| intent.state()),
            error,
        ) {
            // Not a decline: that is about the card, and this is not.
            (Ok(IntentState::Unconfirmed), error) => {
                self.spend_key(payment, Operation::Confirm, error, context).await
            }
            (Ok(state), _) => self.observe(payment, intent_id, state, context).await,
            (Err(error), _) => Ok(Step::Failed(payment, error)),
        }
    }

    /// Cancels the intent. When it turns out to have taken money, that is what is recorded.
    async fn close(
        &self,
        payment: Payment,
        intent_id: &str,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<Step, PaymentsError> {
        let canceled = self.gateway.cancel(intent_id, invocation.patience()).await;
        let intent = match canceled {
            // Refused: the intent has taken money, was closed before, or is being processed. Reading it tells
            // which.
            Err(error) if !error.is_retryable() || error.keeps_key() => {
                if !invocation.has(ONE_CALL) {
                    return Ok(Step::Failed(payment, error));
                }
                self.gateway.retrieve(intent_id, invocation.patience()).await
            }
            answer => answer,
        };
        let state = match intent.as_ref().map(IntentObject::state) {
            Ok(state @ (IntentState::Succeeded | IntentState::Canceled)) => state,
            // Still open. The one who waits is not made to wait longer; what it may take, is refunded.
            _ => {
                let payment = self.record(payment, &PaymentInput::DeadlineExpired, context).await?;
                return Ok(match intent {
                    Ok(_) => Step::Waits(payment),
                    Err(error) => Step::Failed(payment, error),
                });
            }
        };
        self.observe(payment, intent_id, state, context).await
    }

    async fn refund(
        &self,
        payment: Payment,
        intent_id: &str,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<Step, PaymentsError> {
        let error = match self.gateway.refund(&payment, intent_id, invocation.patience()).await {
            // It was for all that was left.
            Ok(state) if state.is_accepted() => {
                let refunded = PaymentInput::Refunded { amount: payment.total() };
                return Ok(Step::Moved(self.record(payment, &refunded, context).await?));
            }
            // The bank did not take it back. Trying again is a new refund.
            Ok(_) => None,
            Err(error) if error.keeps_key() || !error.is_retryable() => Some(error),
            Err(error) => return Ok(Step::Failed(payment, error)),
        };
        if !invocation.has(ONE_CALL) {
            return Ok(unfinished(payment, error));
        }
        match (self.gone_back(&payment, intent_id, invocation).await, error) {
            (Ok(gone_back), _) if gone_back >= payment.total() => {
                let refunded = PaymentInput::Refunded { amount: payment.total() };
                Ok(Step::Moved(self.record(payment, &refunded, context).await?))
            }
            // A refusal is kept under the key, too: what it was for (a dispute) may be over by the next try.
            (Ok(_), error) => {
                let n = payment.attempts.refund;
                let spent = PaymentInput::IdempotencyKeyExhausted { operation: Operation::Refund, n };
                let payment = self.record(payment, &spent, context).await?;
                Ok(unfinished(payment, error))
            }
            (Err(error), _) => Ok(Step::Failed(payment, error)),
        }
    }

    /// The refunded amount in minor units. A charge's own sum may still count refunds that failed.
    async fn gone_back(
        &self,
        payment: &Payment,
        intent_id: &str,
        invocation: Invocation,
    ) -> Result<i64, GatewayError> {
        if payment.failed_refunds.is_empty() {
            return Ok(self.gateway.retrieve(intent_id, invocation.patience()).await?.refunded());
        }
        let refunds = self.gateway.refunds(intent_id, invocation.patience()).await?;
        Ok(refunds.accepted(&payment.failed_refunds))
    }

    /// Nothing has happened, and the idempotency key would return the same failure: the next try uses a new
    /// key.
    async fn spend_key(
        &self,
        payment: Payment,
        operation: Operation,
        error: GatewayError,
        context: EventContext<'_>,
    ) -> Result<Step, PaymentsError> {
        let spent = PaymentInput::IdempotencyKeyExhausted { operation, n: payment.attempts.of(operation) };
        Ok(Step::Failed(self.record(payment, &spent, context).await?, error))
    }

    async fn observe(
        &self,
        payment: Payment,
        intent_id: &str,
        state: IntentState,
        context: EventContext<'_>,
    ) -> Result<Step, PaymentsError> {
        let observed = PaymentInput::IntentObserved { intent_id: intent_id.to_owned(), state };
        let payment = self.record(payment, &observed, context).await?;
        Ok(match payment.status {
            Status::Pending => Step::Waits(payment),
            _ => Step::Moved(payment),
        })
    }

    /// Records the fact, and answers the task tokens as soon as there is a result: before the next call,
    /// which may be slow.
    async fn record(
        &self,
        payment: Payment,
        input: &PaymentInput,
        context: EventContext<'_>,
    ) -> Result<Payment, PaymentsError> {
        let order_id = payment.order_id.clone();
        let told = payment.verdict();
        let payment = handler::record(&self.store, &order_id, Some(payment), input, context).await?;
        if payment.verdict() != told {
            self.answers.tell(&payment).await?;
        }
        Ok(payment)
    }
}

fn unfinished(payment: Payment, error: Option<GatewayError>) -> Step {
    match error {
        Some(error) => Step::Failed(payment, error),
        None => Step::Waits(payment),
    }
}
