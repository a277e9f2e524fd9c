//! What notifications does with each event: keep a contact, or tell a customer.

use std::time::Instant;

use contracts::{
    Envelope, EventPayload, InvalidId, OrderId, UserId,
    events::{OrderCancelled, OrderCompleted, PaymentRefunded, RefundCause, UserRegistered},
};
use jiff::SignedDuration;
use lambda_kit::{
    breaker::{Breaker, Guarded, Open},
    command::chain,
    dynamodb::TableError,
    sqs::MessageError,
    telemetry::{self, Outcome},
};
use uuid::Uuid;

use crate::{
    domain::{Contact, Message, News, compose},
    email::{MailError, Mailer},
    queue::{OwnQueue, QueueError},
    store::{LEASE_SECONDS, Lease, Store},
};

/// Why an event comes again.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    /// Without the reader's own words, which quote what they cannot read.
    #[error("the contact data cannot be read")]
    Contact,
    #[error("nobody to tell: the event names no user")]
    NoUser,
    /// `user.registered` was overtaken by the order, and is on its way.
    #[error("the user is not known yet")]
    UnknownUser,
    #[error("another try is at this e-mail")]
    Busy,
    #[error("notifications do not listen to {0}")]
    Type(String),
    #[error("the subject is not an order or a user")]
    Subject(#[from] InvalidId),
    #[error("the e-mail cannot be written")]
    Render,
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl From<NotifyError> for MessageError {
    fn from(error: NotifyError) -> Self {
        Self::handler(error)
    }
}

/// Tells customers by e-mail.
#[derive(Debug, Clone)]
pub struct Notifier {
    store: Store,
    mailer: Mailer,
    breaker: Breaker,
    queue: OwnQueue,
}

impl Notifier {
    pub const fn new(store: Store, mailer: Mailer, breaker: Breaker, queue: OwnQueue) -> Self {
        Self { store, mailer, breaker, queue }
    }

    /// Handles one event; `now` in Unix seconds.
    ///
    /// # Errors
    /// When it must come again.
    pub async fn handle(&self, event: Envelope, now: i64) -> Result<(), MessageError> {
        let news = match event.event_type.as_str() {
            UserRegistered::TYPE => return Ok(self.remember(&event).await?),
            OrderCompleted::TYPE => News::Completed { total: event.decode::<OrderCompleted>()?.total },
            OrderCancelled::TYPE => News::Cancelled { reason: event.decode::<OrderCancelled>()?.reason },
            PaymentRefunded::TYPE => {
                let PaymentRefunded { amount, cause, .. } = event.decode()?;
                match cause {
                    // The e-mail about the cancelled order says it.
                    RefundCause::OrderCancelled => return Ok(()),
                    RefundCause::LatePayment => News::LatePaymentReturned { amount },
                    RefundCause::ByStaff => News::Returned { amount },
                }
            }
            other => Err(NotifyError::Type(other.to_owned()))?,
        };
        Ok(self.tell(&event, &news, now).await?)
    }

    async fn remember(&self, event: &Envelope) -> Result<(), NotifyError> {
        let user = event.decode::<UserRegistered>().map_err(|_| NotifyError::Contact)?;
        let user_id = user.user_id.clone();
        Ok(self.store.remember(&user_id, &Contact::of(user, event.sequence)).await?)
    }

    /// Once, as far as that can be had: a try that ends between sending and recording is repeated after its lease.
    async fn tell(&self, event: &Envelope, news: &News, now: i64) -> Result<(), NotifyError> {
        if let Some(open) = self.breaker.refuses().await {
            return self.later(event, open).await;
        }
        let order_id = OrderId::try_from(event.subject.as_str())?;
        let user_id = event.metadata.user_id.as_ref().ok_or(NotifyError::NoUser)?;
        let contact = self.contact(&order_id, user_id).await?;
        if !contact.wants_email {
            tracing::info!("the customer wants no e-mail");
            return Ok(());
        }
        let message = compose(&contact.name, &order_id, news).map_err(|_| NotifyError::Render)?;
        match self.store.lease(&event.event_id, &Uuid::now_v7().to_string(), now).await? {
            Lease::Held => self.send(event, &contact, &message, now).await,
            Lease::Done => Ok(()),
            Lease::Busy => Err(NotifyError::Busy),
        }
    }

    /// Nothing was sent: the event goes back until the provider may be there again, and no lease of ours is in its
    /// way. Should it come twice, because we end before it is taken out here, the lease sees to it as to any repeat.
    async fn later(&self, event: &Envelope, open: Open) -> Result<(), NotifyError> {
        let delay = open.retry_after.max(SignedDuration::from_secs(LEASE_SECONDS));
        self.queue.put_back(event, delay).await?;
        tracing::info!(seconds = delay.as_secs(), "the e-mail waits for the provider");
        Ok(())
    }

    async fn contact(&self, order_id: &OrderId, user_id: &UserId) -> Result<Contact, NotifyError> {
        let span = tracing::Span::current();
        span.record("order_id", order_id.as_str());
        span.record("user_id", user_id.as_str());
        self.store.contact(user_id).await?.ok_or(NotifyError::UnknownUser)
    }

    async fn send(
        &self,
        event: &Envelope,
        contact: &Contact,
        message: &Message,
        now: i64,
    ) -> Result<(), NotifyError> {
        let started = Instant::now();
        let sent = self.breaker.guard(self.mailer.send(&contact.email, message), MailError::is_outage).await;
        let sent = match sent {
            // Somebody else took the last probe's slot since we looked.
            Err(Guarded::Open(open)) => return self.later(event, open).await,
            Err(Guarded::Call(error)) => Err(error),
            Ok(id) => Ok(id),
        };
        let outcome = if sent.is_ok() { Outcome::Ok } else { Outcome::Error };
        telemetry::record("email", outcome, started.elapsed());
        if let Err(error) = self.store.sent(&event.event_id, &sent?, now).await {
            // The customer has the e-mail. If this failed, the event would come again and so would the e-mail.
            tracing::error!(error = chain(&error), "an e-mail went out and is not recorded");
        }
        tracing::info!("e-mail sent");
        Ok(())
    }
}
