//! Decides whether and how a notification is delivered, delivers it, and records the outcome: exactly once where
//! the provider allows it.

mod account;

use aws_lambda_events::sqs::SqsMessage;
use contracts::{
    DecodeError, Envelope, InvalidId, OrderId, SmsCountries, UserId,
    events::{Channel, Undelivered},
};
use jiff::SignedDuration;
use lambda_kit::{
    dynamodb::TableError,
    error::error_chain,
    sqs::MessageError,
    telemetry::{self, Outcome},
};
use uuid::Uuid;

use crate::{
    domain::{
        About, Contact, DeliveryOutcome, EmailMessage, Notification, OrderUpdate, StoredContact, order_email,
        status_email, text,
    },
    email::EmailSender,
    provider::SendError,
    provider_guard::{Clock, NotSent, ProviderGuard},
    queue::{QueueError, Queues},
    recipient_budget::RecipientBudget,
    sms::SmsSender,
    store::{Lease, Store},
};

/// Older events are not sent.
// They were sent then, and their records expire at some time (`store`). So history that is republished for
// another consumer notifies no customer. Redriven dead letters are not so old: 28 days at most.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(60 * 24);

/// Why an event is retried.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Without the parser's error text, which quotes the input.
    #[error("the contact data cannot be read")]
    Contact,
    /// Without the parser's error text, which quotes the input.
    #[error("the message about an account cannot be read")]
    Message,
    #[error("the event names no user")]
    NoUser,
    /// The order's event overtook `user.registered`, which will arrive.
    #[error("the user is not known yet")]
    UnknownUser,
    #[error("another instance is sending this message")]
    Busy,
    #[error("two attempts ended before they recorded whether they sent this message")]
    Uncertain,
    #[error("the event cannot be read")]
    Decode(#[from] DecodeError),
    #[error("the subject is not an order or a user")]
    Subject(#[from] InvalidId),
    #[error("the message cannot be rendered")]
    Render(#[from] askama::Error),
    #[error(transparent)]
    Send(#[from] SendError),
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

impl NotifyError {
    /// Whether a retry is refused as long as the message is leased.
    pub const fn waits_for_a_lease(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Send(error) => error.is_uncertain(),
            _ => false,
        }
    }
}

/// Notifies customers by e-mail and SMS.
#[derive(Debug, Clone)]
pub struct Notifier {
    pub store: Store,
    pub queues: Queues,
    pub email_sender: EmailSender,
    pub email_guard: ProviderGuard,
    pub sms_sender: SmsSender,
    pub sms_guard: ProviderGuard,
    pub sms_countries: SmsCountries,
    pub recipients: RecipientBudget,
    /// The address of the shop's page, for links.
    pub shop_url: Option<String>,
}

/// The result of one attempt.
enum AttemptOutcome {
    Finished(DeliveryOutcome),
    /// Certainly not sent. Retried after this delay, without counting as a try.
    Postponed(SignedDuration),
    /// Not sent, surely.
    Failed(SendError),
    /// The provider did not answer, so the result is unknown.
    Unknown(SendError),
}

impl From<NotSent> for AttemptOutcome {
    fn from(not_sent: NotSent) -> Self {
        match not_sent {
            NotSent::CircuitOpen(open) => Self::Postponed(open.retry_delay()),
            NotSent::RateLimited(wait) => Self::Postponed(wait),
            NotSent::Failed(SendError::Invalid(code)) => {
                tracing::warn!(code, "the provider rejected the address");
                Self::Finished(DeliveryOutcome::Failed(Undelivered::InvalidAddress))
            }
            NotSent::Failed(error) if error.is_uncertain() => Self::Unknown(error),
            NotSent::Failed(error) => Self::Failed(error),
        }
    }
}

/// An SMS, and the e-mail that replaces it.
struct SmsWithFallback<'a> {
    message: &'a SqsMessage,
    user: &'a UserId,
    contact: &'a Contact,
    to: &'a str,
    text: String,
    email: EmailMessage,
}

impl Notifier {
    pub async fn notify_order_update(
        &self,
        notification: Notification<'_>,
        event: &Envelope,
        message: &SqsMessage,
        update: &OrderUpdate,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        let order_id = OrderId::try_from(event.subject.as_str())?;
        tracing::Span::current().record("order_id", order_id.as_str());
        let user = event.metadata.user_id.as_ref().ok_or(NotifyError::NoUser)?;
        let Some(contact) = self.contact(user).await? else { return Ok(()) };
        match notification.channel {
            Channel::Email => {
                let email = order_email(contact.name(), &order_id, update)?;
                Box::pin(self.send_email(notification, message, user, &contact, &email, clock)).await
            }
            Channel::Sms => {
                let to = contact.phone().filter(|number| self.sms_countries.include(number));
                let Some(to) = to else { return Ok(()) };
                let text = text(&order_id, update)?;
                let email = status_email(contact.name(), &order_id, &text)?;
                let sms = SmsWithFallback { message, user, contact: &contact, to, text, email };
                Box::pin(self.send_sms(notification, message, &sms, clock)).await
            }
        }
    }

    /// The contact of an event's user, if the user still exists.
    async fn contact(&self, user_id: &UserId) -> Result<Option<Contact>, NotifyError> {
        tracing::Span::current().record("user_id", user_id.as_str());
        match self.store.contact(user_id).await?.ok_or(NotifyError::UnknownUser)? {
            StoredContact::Known(contact) => Ok(Some(contact)),
            StoredContact::Erased => {
                tracing::info!("the customer was deleted");
                Ok(None)
            }
        }
    }

    async fn send_email(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        user: &UserId,
        contact: &Contact,
        email: &EmailMessage,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        if !contact.wants_email {
            return Ok(());
        }
        // The budget is asked before the rate: messages that are dropped must not delay those of other customers.
        if !contact.is_suppressed() && !self.admits(message, contact, clock).await {
            return Ok(());
        }
        // The rate is waited for before the lease, so that a message that is postponed was never leased. A
        // suppressed address gets no e-mail, and takes no token of the rate.
        if !contact.is_suppressed()
            && let Err(not_sent) = self.email_guard.acquire(clock).await
        {
            return self.postpone(notification, message, not_sent).await;
        }
        self.with_lease(notification, message, clock, self.try_email(user, contact, email, clock)).await
    }

    /// Whether an e-mail may go to the contact's address.
    async fn admits(&self, message: &SqsMessage, contact: &Contact, clock: &Clock) -> bool {
        contact.email_verified || self.recipients.admits(message, &contact.email, clock.now()).await
    }

    /// Sends the e-mail after the guard admitted it, unless the address is suppressed.
    async fn try_email(
        &self,
        user: &UserId,
        contact: &Contact,
        email: &EmailMessage,
        clock: &Clock,
    ) -> AttemptOutcome {
        if contact.is_suppressed() {
            return AttemptOutcome::Finished(DeliveryOutcome::Failed(Undelivered::Suppressed));
        }
        self.try_email_to(user, &contact.email, email, clock).await
    }

    async fn try_email_to(
        &self,
        user: &UserId,
        address: &str,
        email: &EmailMessage,
        clock: &Clock,
    ) -> AttemptOutcome {
        match self.email_guard.send(clock, || self.email_sender.send(user, address, email)).await {
            Ok(provider_id) => {
                AttemptOutcome::Finished(DeliveryOutcome::Sent { by: Channel::Email, provider_id })
            }
            Err(not_sent) => not_sent.into(),
        }
    }

    async fn send_sms(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        sms: &SmsWithFallback<'_>,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        let open = match self.sms_guard.acquire(clock).await {
            Ok(()) => None,
            // The message is not postponed: an e-mail replaces the SMS while its provider is down.
            Err(NotSent::CircuitOpen(open)) => Some(NotSent::CircuitOpen(open)),
            Err(not_sent) => return self.postpone(notification, message, not_sent).await,
        };
        let attempt = async {
            let not_sent = match open {
                Some(open) => open,
                None => match self.sms_guard.send(clock, || self.sms_sender.send(sms.to, &sms.text)).await {
                    Ok(provider_id) => {
                        return AttemptOutcome::Finished(DeliveryOutcome::Sent {
                            by: Channel::Sms,
                            provider_id,
                        });
                    }
                    // A throttling provider is waited for; it is no reason to send an e-mail instead.
                    Err(not_sent @ NotSent::RateLimited(_)) => return not_sent.into(),
                    Err(not_sent) => not_sent,
                },
            };
            self.try_email_instead(sms, not_sent, clock).await
        };
        self.with_lease(notification, message, clock, attempt).await
    }

    /// Sends the same text by e-mail, to a customer who gets no e-mails otherwise.
    async fn try_email_instead(
        &self,
        sms: &SmsWithFallback<'_>,
        not_sent: NotSent,
        clock: &Clock,
    ) -> AttemptOutcome {
        let reason = match &not_sent {
            NotSent::Failed(SendError::Invalid(_)) => Undelivered::InvalidAddress,
            NotSent::Failed(error) if error.is_uncertain() => Undelivered::Uncertain,
            _ => Undelivered::Provider,
        };
        tracing::warn!(?not_sent, "no SMS was sent, falling back to e-mail");
        // The customer gets this event's own e-mail, which says more.
        if sms.contact.wants_email {
            return AttemptOutcome::Finished(DeliveryOutcome::Failed(reason));
        }
        // No other way is left, so the result of the SMS counts: it is retried, unless its number is invalid.
        if sms.contact.is_suppressed() {
            return not_sent.into();
        }
        if !self.admits(sms.message, sms.contact, clock).await {
            return AttemptOutcome::Finished(DeliveryOutcome::Failed(reason));
        }
        match self.email_guard.acquire(clock).await {
            Ok(()) => self.try_email(sms.user, sms.contact, &sms.email, clock).await,
            Err(not_sent) => not_sent.into(),
        }
    }

    /// Holds the message's lease during one attempt, and records the result.
    async fn with_lease(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        clock: &Clock,
        attempt: impl Future<Output = AttemptOutcome>,
    ) -> Result<(), NotifyError> {
        if let About::Event(event) = notification.about
            && clock.now().duration_since(event.occurred_at) > MAX_AGE
        {
            tracing::info!("the event is too old to notify of");
            return Ok(());
        }
        let holder = Uuid::now_v7().to_string();
        let published = match self.store.lease(notification, &holder, clock.now()).await? {
            Lease::Held { published } => published,
            Lease::Done => return Ok(()),
            Lease::Busy => return Err(NotifyError::Busy),
            Lease::Uncertain => return Err(NotifyError::Uncertain),
        };
        let attempt = Box::pin(attempt).await;
        self.record_metric(notification.channel, &attempt, clock);
        match attempt {
            AttemptOutcome::Finished(outcome) => {
                let ended = self.store.record_outcome(notification, &outcome, published, clock.now()).await;
                match (ended, &outcome) {
                    (Err(error), DeliveryOutcome::Sent { .. }) => {
                        // The customer has the message. Returning an error here would retry the event and
                        // send it again.
                        tracing::error!(
                            error = error_chain(&error),
                            "the message was sent, but this could not be recorded"
                        );
                    }
                    (ended, _) => ended?,
                }
                Ok(())
            }
            AttemptOutcome::Postponed(delay) => {
                // The lease is released before the copy is queued. If the function dies in between, the queue
                // delivers this message again, and no lease refuses it. In the other order the copy could meet
                // the lease.
                self.store.release(notification).await?;
                self.requeue(notification, message, delay).await
            }
            AttemptOutcome::Failed(error) => {
                self.store.release(notification).await?;
                Err(error.into())
            }
            // The lease stays, and the attempt stays counted as uncertain: only one more may follow.
            AttemptOutcome::Unknown(error) => Err(error.into()),
        }
    }

    /// Nothing was leased or sent.
    async fn postpone(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        not_sent: NotSent,
    ) -> Result<(), NotifyError> {
        match not_sent {
            NotSent::CircuitOpen(open) => self.requeue(notification, message, open.retry_delay()).await,
            NotSent::RateLimited(wait) => self.requeue(notification, message, wait).await,
            NotSent::Failed(error) => Err(error.into()),
        }
    }

    /// If this process ends before it deletes the message here, the event is delivered twice, and the lease
    /// handles that like any repeat.
    async fn requeue(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        delay: SignedDuration,
    ) -> Result<(), NotifyError> {
        self.queues.requeue(notification, message, delay).await?;
        tracing::info!(seconds = delay.as_secs(), "the message was requeued");
        Ok(())
    }

    fn record_metric(&self, channel: Channel, attempt: &AttemptOutcome, clock: &Clock) {
        let (by, outcome) = match attempt {
            AttemptOutcome::Finished(DeliveryOutcome::Sent { by, .. }) => (*by, Outcome::Ok),
            AttemptOutcome::Finished(_) => (channel, Outcome::Refused),
            AttemptOutcome::Postponed(_) | AttemptOutcome::Failed(_) | AttemptOutcome::Unknown(_) => {
                (channel, Outcome::Error)
            }
        };
        telemetry::record(by.as_str(), outcome, clock.elapsed());
    }
}
