//! The gateway's webhooks about an intent that do not name its order: disputes, and failed refunds. The order
//! is read from the gateway here, because the webhook has no time for that.

use contracts::metrics;
use jiff::SignedDuration;
use lambda_kit::{error::error_chain, telemetry};

use super::{Invocation, Payments, PaymentsError, jittered};
use crate::{
    domain::{EventContext, Payment, PaymentInput},
    gateway::GatewayError,
    queue::{RecordDispute, RecordRefunds},
    recorder::RecorderError,
};

/// The shortest delay of a retry.
// No caller waits for these records.
const RETRY_DELAY: SignedDuration = SignedDuration::from_secs(60);

/// The payment that an intent belongs to.
enum Owner {
    Payment(Box<Payment>),
    /// Not a payment of ours.
    NotOurs,
    /// The gateway cannot be called now; retry after this.
    Later(SignedDuration),
}

impl Payments {
    /// Records a dispute on the payment that it is about. A repeat changes nothing.
    ///
    /// # Errors
    /// When the message has to be delivered again.
    pub async fn dispute(&self, record: RecordDispute, invocation: Invocation) -> Result<(), PaymentsError> {
        let payment = match self.owner(&record.intent_id, invocation).await? {
            Owner::Payment(payment) => *payment,
            Owner::NotOurs => return Ok(()),
            Owner::Later(delay) => {
                let queued = self.recorder.queue.record_dispute(record, delay).await;
                return Ok(queued.map_err(RecorderError::from)?);
            }
        };
        let order_id = payment.order_id.clone();
        let version = payment.version;
        let context = EventContext { now: invocation.now, causation_id: &record.event_id };
        let disputed = PaymentInput::Disputed(record.dispute.clone());
        let payment = self.recorder.apply(&order_id, Some(payment), &disputed, context).await?;
        // Counted and logged by the one that wrote it. A repeat changes nothing, and must not be counted
        // again.
        if payment.version > version {
            let status = record.dispute.status;
            telemetry::emit_by(&metrics::DISPUTES, &status, 1);
            tracing::warn!(
                order_id = order_id.as_str(),
                dispute_id = record.dispute.id,
                reason = record.dispute.reason,
                status,
                "a payment is disputed: answer it in the gateway's dashboard"
            );
        }
        // A refund that the gateway refused while the charge was disputed may be possible now.
        self.advance(payment, 0, context, invocation).await
    }

    /// Records that a refund failed, or which refunds the gateway has. A repeat changes nothing.
    ///
    /// # Errors
    /// When the message has to be delivered again.
    pub async fn refunds(&self, record: RecordRefunds, invocation: Invocation) -> Result<(), PaymentsError> {
        let payment = match self.owner(&record.intent_id, invocation).await? {
            Owner::Payment(payment) => *payment,
            Owner::NotOurs => return Ok(()),
            Owner::Later(delay) => return self.defer_refunds(record, delay).await,
        };
        let (order_id, version) = (payment.order_id.clone(), payment.version);
        let context = EventContext { now: invocation.now, causation_id: &record.event_id };
        let input = match &record.failed {
            Some(failed) => PaymentInput::RefundFailed(failed.clone()),
            None => match self.gateway.refunds(&record.intent_id, invocation.max_wait()).await {
                Ok(refunds) => PaymentInput::Refunded { amount: refunds.accepted(&payment.failed_refunds) },
                Err(error) => {
                    let delay = retry_delay(&error).ok_or(error)?;
                    return self.defer_refunds(record, delay).await;
                }
            },
        };
        let payment = self.recorder.apply(&order_id, Some(payment), &input, context).await?;
        // Only the write raises the alarm, and not a repeat.
        if let Some(failed) = record.failed.filter(|_| payment.version > version) {
            telemetry::emit(&metrics::REFUNDS_FAILED, 1);
            tracing::error!(
                order_id = order_id.as_str(),
                refund_id = failed.id,
                reason = failed.reason,
                "a refund failed at the customer's bank: the customer is owed this money"
            );
        }
        self.advance(payment, 0, context, invocation).await
    }

    async fn defer_refunds(&self, record: RecordRefunds, delay: SignedDuration) -> Result<(), PaymentsError> {
        Ok(self.recorder.queue.record_refunds(record, delay).await.map_err(RecorderError::from)?)
    }

    /// The payment that an intent belongs to.
    async fn owner(&self, intent_id: &str, invocation: Invocation) -> Result<Owner, PaymentsError> {
        let intent = match self.gateway.retrieve(intent_id, invocation.max_wait()).await {
            Ok(intent) => intent,
            Err(error) => return Ok(Owner::Later(retry_delay(&error).ok_or(error)?)),
        };
        let known = match intent.order_id() {
            Some(order_id) => self.recorder.store.get(&order_id).await?,
            None => None,
        };
        // The gateway's account may be used for other things, and an intent of ours may be the one of two
        // that was not stored.
        let ours = known.filter(|known| known.intent.as_ref().is_some_and(|ours| ours.id == intent_id));
        Ok(match ours {
            Some(payment) => Owner::Payment(Box::new(payment)),
            None => {
                tracing::info!(intent_id, "a webhook about no payment of ours");
                Owner::NotOurs
            }
        })
    }
}

/// The delay before the retry of a retryable error.
// The message is sent again instead of failed. A failed message uses up a receive, and after 20 of them it is
// a dead letter.
fn retry_delay(error: &GatewayError) -> Option<SignedDuration> {
    if !error.is_retryable() {
        return None;
    }
    tracing::warn!(
        error = error_chain(error),
        "the gateway cannot be called; the webhook will be recorded later"
    );
    Some(error.retry_after().max(RETRY_DELAY) + jittered(RETRY_DELAY))
}
