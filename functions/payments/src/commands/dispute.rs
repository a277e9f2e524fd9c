//! Disputes. The gateway's webhook names the intent and not the order, so that the gateway is asked for it here: the
//! webhook itself has no time to.

use std::time::Duration;

use jiff::SignedDuration;
use lambda_kit::{
    command::chain,
    telemetry::{self, Outcome},
};

use super::{Invocation, Payments, PaymentsError};
use crate::{
    domain::{Fact, Occasion},
    queue::RecordDispute,
};

/// Nobody waits for a dispute to be recorded.
const AGAIN: SignedDuration = SignedDuration::from_secs(60);

impl Payments {
    /// Records a dispute on the payment that it is about. A repeat changes nothing.
    ///
    /// # Errors
    /// When the message must come again.
    pub async fn dispute(&self, record: RecordDispute, invocation: Invocation) -> Result<(), PaymentsError> {
        let intent = match self.gateway.retrieve(&record.intent_id).await {
            Ok(intent) => intent,
            // Put back instead of failed: the gateway being away is not to spend the message's receives.
            Err(error) if error.is_retryable() => {
                tracing::warn!(error = chain(&error), "a dispute waits for the gateway");
                return Ok(self.queue.record_dispute(record, error.retry_after().max(AGAIN)).await?);
            }
            Err(error) => return Err(error.into()),
        };
        let known = match intent.order_id() {
            Some(order_id) => self.store.get(&order_id).await?,
            None => None,
        };
        let ours =
            known.filter(|known| known.intent.as_ref().is_some_and(|ours| ours.id == record.intent_id));
        let Some(payment) = ours else {
            tracing::info!(intent_id = record.intent_id, "a dispute that is not about a payment of ours");
            return Ok(());
        };
        let order_id = payment.order_id.clone();
        let version = payment.version;
        let occasion = Occasion { now: invocation.now, cause: &record.event_id };
        let disputed = Fact::Disputed(record.dispute.clone());
        let payment = self.store.record(&order_id, Some(payment), &disputed, occasion).await?;
        if payment.version > version {
            let status = record.dispute.status;
            telemetry::record(&format!("dispute.{status}"), Outcome::Ok, Duration::ZERO);
            tracing::warn!(
                order_id = order_id.as_str(),
                dispute_id = record.dispute.id,
                reason = record.dispute.reason,
                status,
                "a payment is disputed: answer it in the gateway's dashboard"
            );
        }
        // A refund that the gateway refused while the charge was disputed may be possible now.
        self.look_after(payment, 0, occasion, invocation).await
    }
}
