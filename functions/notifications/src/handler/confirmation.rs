//! When customers are told that an order was received: only if it has not ended after a while, because most orders end
//! within seconds, and their customers are told that.
//!
//! The event waits in the e-mail queue. The notification of the order's end marks it as superseded. When it is due and
//! not superseded, it is forwarded to the SMS queue, if the customer gets SMS, and sent by e-mail.

use aws_lambda_events::sqs::SqsMessage;
use contracts::{Envelope, EventId, OrderId};
use jiff::SignedDuration;

use super::{Notifier, NotifyError};
use crate::{domain::Notification, provider_guard::Clock};

/// The source and the number of `order.created`, an order's first event.
const CREATED: (&str, u64) = ("orders", 1);

impl Notifier {
    /// Whether an order's customer must be told now that it was received. Defers the event when it is not due yet.
    pub(super) async fn confirmation_is_due(
        &self,
        notification: Notification<'_>,
        event: &Envelope,
        message: &SqsMessage,
        clock: &Clock,
    ) -> Result<bool, NotifyError> {
        let wait = self.confirmation_delay - clock.now().duration_since(event.occurred_at);
        if wait > SignedDuration::ZERO {
            // The clock of another machine may be behind, but never by so much that the event waits longer.
            self.queues.defer(message, wait.min(self.confirmation_delay)).await?;
            return Ok(false);
        }
        Ok(!self.store.is_superseded(notification).await?)
    }

    /// Makes the confirmation of an order that has ended unnecessary.
    pub(super) async fn supersede_confirmation(
        &self,
        order_id: &OrderId,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        let (source, sequence) = CREATED;
        let created = EventId::derive(source, order_id.as_str(), sequence);
        Ok(self.store.supersede(&created, clock.now()).await?)
    }
}
