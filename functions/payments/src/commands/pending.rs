//! Runs the pending actions of a payment at the gateway, one call after the other, until none is left or the
//! next one must wait. Each answer is recorded before the next call.

use super::payments::{Invocation, ONE_CALL, Payments, PaymentsError};
use crate::{
    domain::{Charge, EventContext, IntentState, Operation, Payment, PaymentInput, PendingAction, Status},
    gateway::{GatewayError, IntentObject},
};

/// The longest sequence is 4 steps: create, confirm, cancel and refund. Twice as many is a loop.
const STEPS: usize = 8;

/// How far the pending actions have come.
#[derive(Debug)]
pub(super) enum PendingOutcome {
    /// Nothing is pending.
    Done(Payment),
    /// The customer or the bank must act first, or the invocation has no time for the next call.
    Waiting(Payment),
    /// The gateway did not run the action.
    Blocked(Payment, GatewayError),
    /// An operator has paused payments, and the action would start one.
    Paused(Payment),
}

/// The result of one step.
enum StepOutcome {
    NothingPending(Payment),
    /// The payment has changed, so another action may be pending.
    Changed(Payment),
    /// This process has just created the intent, so it can confirm it without reading its state first.
    IntentCreated(Payment, String),
    Waiting(Payment),
    Failed(Payment, GatewayError),
    Paused(Payment),
}

impl Payments {
    pub(super) async fn run_pending(
        &self,
        payment: Payment,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<PendingOutcome, PaymentsError> {
        let mut payment = payment;
        let mut just_made = None;
        for _ in 0..STEPS {
            let action = payment.pending_action(context.now);
            // No call is begun that the invocation may not be able to record. Money could move, and only the next
            // message would find out.
            if action.calls_gateway() && !invocation.has(ONE_CALL) {
                return Ok(PendingOutcome::Waiting(payment));
            }
            payment = match self.run_action(payment, action, just_made.take(), context, invocation).await? {
                StepOutcome::NothingPending(payment) => return Ok(PendingOutcome::Done(payment)),
                StepOutcome::Changed(payment) => payment,
                StepOutcome::IntentCreated(payment, intent_id) => {
                    just_made = Some(intent_id);
                    payment
                }
                StepOutcome::Waiting(payment) => return Ok(PendingOutcome::Waiting(payment)),
                StepOutcome::Failed(payment, error) => return Ok(PendingOutcome::Blocked(payment, error)),
                StepOutcome::Paused(payment) => return Ok(PendingOutcome::Paused(payment)),
            };
        }
        Ok(PendingOutcome::Waiting(payment))
    }

    /// Runs one action. `just_made` is the intent that the action before it has created.
    async fn run_action(
        &self,
        payment: Payment,
        action: PendingAction,
        just_made: Option<String>,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<StepOutcome, PaymentsError> {
        match action {
            PendingAction::None => Ok(StepOutcome::NothingPending(payment)),
            PendingAction::Expire => {
                Ok(StepOutcome::Changed(self.record(payment, &PaymentInput::DeadlineExpired, context).await?))
            }
            PendingAction::CreateIntent(charge) => self.create(payment, &charge, context, invocation).await,
            PendingAction::Confirm { intent_id } => {
                let just_made = just_made.is_some_and(|made| made == intent_id);
                self.confirm(payment, &intent_id, just_made, context, invocation).await
            }
            PendingAction::CancelIntent { intent_id } => {
                self.cancel(payment, &intent_id, context, invocation).await
            }
            PendingAction::Refund { intent_id } => {
                self.refund(payment, &intent_id, context, invocation).await
            }
        }
    }

    /// Creates an unconfirmed intent and stores its id. No money can move before that.
    async fn create(
        &self,
        payment: Payment,
        charge: &Charge,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<StepOutcome, PaymentsError> {
        if !self.switch.is_on(context.now).await {
            return Ok(StepOutcome::Paused(payment));
        }
        let intent = match self.gateway.create(&payment, charge, invocation.max_wait()).await {
            Ok(intent) => intent,
            Err(error) if error.is_cached_under_key() => {
                // An intent that was created nevertheless is unconfirmed and unknown to the customer, so it can never
                // take money.
                return self.rotate_idempotency_key(payment, Operation::Create, error, context).await;
            }
            // About the card or the payment method. No other try can succeed, so the saga gets the result.
            Err(GatewayError::Declined { code }) => {
                tracing::warn!(code, "the gateway declined the payment method");
                let refused = PaymentInput::IntentRefused { code };
                return Ok(StepOutcome::Changed(self.record(payment, &refused, context).await?));
            }
            Err(error) => return Ok(StepOutcome::Failed(payment, error)),
        };
        // The id is stored before the intent is confirmed. So no money can move under an id that is not known
        // here.
        let made = PaymentInput::IntentCreated { id: intent.id.clone() };
        let payment = self.record(payment, &made, context).await?;
        if payment.intent.as_ref().is_some_and(|ours| ours.id == intent.id) {
            return Ok(StepOutcome::IntentCreated(payment, intent.id));
        }
        // The order was undone meanwhile, or another worker's intent was stored first. This intent is not
        // confirmed and its id is stored nowhere, so cancelling it is only a clean-up.
        if let Err(error) = self.gateway.cancel(&intent.id, invocation.max_wait()).await {
            tracing::warn!(intent_id = intent.id, %error, "an unused intent could not be cancelled; it stays unconfirmed");
        }
        Ok(StepOutcome::Changed(payment))
    }

    /// Confirms the intent, unless that was done, and records its state.
    async fn confirm(
        &self,
        payment: Payment,
        intent_id: &str,
        just_made: bool,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<StepOutcome, PaymentsError> {
        // Another process may have confirmed it and died before it recorded the answer. A second confirmation
        // would be refused, and say less than the intent's state.
        if !just_made {
            let state = match self.gateway.retrieve(intent_id, invocation.max_wait()).await {
                Ok(intent) => intent.state(),
                Err(error) => return Ok(StepOutcome::Failed(payment, error)),
            };
            if state != IntentState::Unconfirmed {
                return self.observe(payment, intent_id, state, context).await;
            }
            if !invocation.has(ONE_CALL) {
                return Ok(StepOutcome::Waiting(payment));
            }
        }
        // Asked only here, so that a confirmation which took effect is recorded also while payments are paused.
        if !self.switch.is_on(context.now).await {
            return Ok(StepOutcome::Paused(payment));
        }
        let error = match self.gateway.confirm(&payment, intent_id, invocation.max_wait()).await {
            Ok(intent) => return self.observe(payment, intent_id, intent.state(), context).await,
            Err(GatewayError::Declined { code }) => {
                return self.observe(payment, intent_id, IntentState::Declined { code }, context).await;
            }
            Err(error) if error.is_cached_under_key() || !error.is_retryable() => error,
            // No answer, or not called. The next try reads the intent first, and then repeats the call with
            // the same key.
            Err(error) => return Ok(StepOutcome::Failed(payment, error)),
        };
        self.check_confirmation(payment, intent_id, error, context, invocation).await
    }

    /// Finds out whether a confirmation took effect that failed or was refused. Only the intent shows that.
    async fn check_confirmation(
        &self,
        payment: Payment,
        intent_id: &str,
        error: GatewayError,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<StepOutcome, PaymentsError> {
        if !invocation.has(ONE_CALL) {
            return Ok(StepOutcome::Failed(payment, error));
        }
        match self.gateway.retrieve(intent_id, invocation.max_wait()).await.map(|intent| intent.state()) {
            // This is not a decline, since the error is not about the card.
            Ok(IntentState::Unconfirmed) => {
                self.rotate_idempotency_key(payment, Operation::Confirm, error, context).await
            }
            Ok(state) => self.observe(payment, intent_id, state, context).await,
            Err(error) => Ok(StepOutcome::Failed(payment, error)),
        }
    }

    /// Cancels the intent. If it has taken money already, records that.
    async fn cancel(
        &self,
        payment: Payment,
        intent_id: &str,
        context: EventContext<'_>,
        invocation: Invocation,
    ) -> Result<StepOutcome, PaymentsError> {
        let canceled = self.gateway.cancel(intent_id, invocation.max_wait()).await;
        let intent = match canceled {
            // Refused: the intent has taken money, was cancelled before, or is being processed. Its state shows
            // which.
            Err(error) if !error.is_retryable() || error.is_cached_under_key() => {
                if !invocation.has(ONE_CALL) {
                    return Ok(StepOutcome::Failed(payment, error));
                }
                self.gateway.retrieve(intent_id, invocation.max_wait()).await
            }
            answer => answer,
        };
        let state = match intent.as_ref().map(IntentObject::state) {
            Ok(state @ (IntentState::Succeeded | IntentState::Canceled)) => state,
            // The intent is still open, or the gateway does not say. The saga does not wait longer for it.
            // Money that it takes later is refunded.
            _ => {
                let payment = self.record(payment, &PaymentInput::DeadlineExpired, context).await?;
                return Ok(match intent {
                    Ok(_) => StepOutcome::Waiting(payment),
                    Err(error) => StepOutcome::Failed(payment, error),
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
    ) -> Result<StepOutcome, PaymentsError> {
        let error = match self.gateway.refund(&payment, intent_id, invocation.max_wait()).await {
            // The refund was for the whole rest.
            Ok(state) if state.is_accepted() => {
                let refunded = PaymentInput::Refunded { amount: payment.total() };
                return Ok(StepOutcome::Changed(self.record(payment, &refunded, context).await?));
            }
            // The bank did not accept the refund. A repeat with this key would return the same answer, so the
            // next try is a new refund.
            Ok(_) => None,
            Err(error) if error.is_cached_under_key() || !error.is_retryable() => Some(error),
            Err(error) => return Ok(StepOutcome::Failed(payment, error)),
        };
        if !invocation.has(ONE_CALL) {
            return Ok(unfinished(payment, error));
        }
        match (self.refunded_amount(&payment, intent_id, invocation).await, error) {
            (Ok(refunded_amount), _) if refunded_amount >= payment.total() => {
                let refunded = PaymentInput::Refunded { amount: payment.total() };
                Ok(StepOutcome::Changed(self.record(payment, &refunded, context).await?))
            }
            // The gateway caches a refusal under the key, too. Its reason (a dispute) may be over at the next try.
            (Ok(_), error) => {
                let n = payment.attempts.refund;
                let exhausted = PaymentInput::IdempotencyKeyExhausted { operation: Operation::Refund, n };
                let payment = self.record(payment, &exhausted, context).await?;
                Ok(unfinished(payment, error))
            }
            (Err(error), _) => Ok(StepOutcome::Failed(payment, error)),
        }
    }

    /// The refunded amount in minor units.
    async fn refunded_amount(
        &self,
        payment: &Payment,
        intent_id: &str,
        invocation: Invocation,
    ) -> Result<i64, GatewayError> {
        // The charge's own sum costs one call, but it may still count refunds that have failed. Then each
        // refund is read.
        if payment.failed_refunds.is_empty() {
            return Ok(self.gateway.retrieve(intent_id, invocation.max_wait()).await?.refunded());
        }
        let refunds = self.gateway.refunds(intent_id, invocation.max_wait()).await?;
        Ok(refunds.accepted(&payment.failed_refunds))
    }

    /// The call had no effect, and its idempotency key would return the same failure. The next try uses a new
    /// key.
    async fn rotate_idempotency_key(
        &self,
        payment: Payment,
        operation: Operation,
        error: GatewayError,
        context: EventContext<'_>,
    ) -> Result<StepOutcome, PaymentsError> {
        let exhausted =
            PaymentInput::IdempotencyKeyExhausted { operation, n: payment.attempts.of(operation) };
        Ok(StepOutcome::Failed(self.record(payment, &exhausted, context).await?, error))
    }

    async fn observe(
        &self,
        payment: Payment,
        intent_id: &str,
        state: IntentState,
        context: EventContext<'_>,
    ) -> Result<StepOutcome, PaymentsError> {
        // Stripe's answer is one more input. A webhook may have brought the same or a newer state meanwhile,
        // and the payment's item decides.
        let observed = PaymentInput::IntentObserved { intent_id: intent_id.to_owned(), state };
        let payment = self.record(payment, &observed, context).await?;
        Ok(match payment.status {
            Status::Pending => StepOutcome::Waiting(payment),
            _ => StepOutcome::Changed(payment),
        })
    }

    /// Records the input. When it brings a result, sends that to the task tokens.
    // Before the next call, which may be slow.
    async fn record(
        &self,
        payment: Payment,
        input: &PaymentInput,
        context: EventContext<'_>,
    ) -> Result<Payment, PaymentsError> {
        let order_id = payment.order_id.clone();
        let before = payment.step_result();
        let payment = self.recorder.apply(&order_id, Some(payment), input, context).await?;
        // A process that dies here leaves the result unsent. Then the message is delivered again, and
        // `advance` sends it.
        if payment.step_result() != before {
            self.recorder.send_result(&payment).await?;
        }
        Ok(payment)
    }
}

fn unfinished(payment: Payment, error: Option<GatewayError>) -> StepOutcome {
    match error {
        Some(error) => StepOutcome::Failed(payment, error),
        None => StepOutcome::Waiting(payment),
    }
}
