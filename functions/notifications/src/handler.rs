//! Decides whether and how a notification is delivered, delivers it, and records the outcome: exactly once where
//! the provider allows it.

mod account;
mod confirmation;

use aws_lambda_events::sqs::SqsMessage;
use contracts::{
    DecodeError, Envelope, InvalidId, OrderId, SmsCountries, UserId,
    events::{Channel, Undelivered},
    metrics,
};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    dynamodb::TableError,
    error::error_chain,
    sqs::MessageError,
    switch::FeatureSwitch,
    telemetry::{self, Outcome},
};
use uuid::Uuid;

use crate::{
    domain::{
        About, Contact, DeliveryOutcome, EmailMessage, Notification, OrderUpdate, Provider, StoredContact,
        order_email, status_email, text,
    },
    email_gate::{Admitted, EmailGate},
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

/// A message that is sent later than this after its event is counted as late.
// Longer than the pause of a breaker, and than the delay of a message that its provider throttles.
const LATE: SignedDuration = SignedDuration::from_mins(5);

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
    /// It is sent once more, so that it ends with a record.
    #[error("the message was sent, and it could neither be recorded nor put back to be recorded later")]
    Unrecorded(#[source] QueueError),
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
            Self::Busy | Self::Unrecorded(_) => true,
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
    pub email: EmailGate,
    pub sms_sender: SmsSender,
    pub sms_guard: ProviderGuard,
    /// While it is off, no SMS are sent.
    pub sms_switch: FeatureSwitch,
    pub sms_countries: SmsCountries,
    pub recipients: RecipientBudget,
    /// How long an order may take before its customer is told that it was received.
    pub confirmation_delay: SignedDuration,
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
            // Not retried: an operator decides when SMS are sent again, and the news is old by then.
            NotSent::SwitchedOff => Self::Finished(DeliveryOutcome::Failed(Undelivered::Provider)),
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
        if let (Channel::Email, OrderUpdate::Received { .. }) = (notification.channel, update)
            && !self.confirmation_is_due(notification, event, message, clock).await?
        {
            return Ok(());
        }
        let Some(contact) = self.contact(user).await? else {
            // An earlier try may have begun it.
            return Ok(self.store.abandon(notification).await?);
        };
        match notification.channel {
            Channel::Email => {
                let gets_sms = self.sms_number(&contact).is_some();
                if update.ends_order() && (contact.wants_email || gets_sms) {
                    self.supersede_confirmation(&order_id, clock).await?;
                }
                if matches!(update, OrderUpdate::Received { .. }) && gets_sms {
                    self.queues.forward_to_sms(message).await?;
                }
                let email = order_email(contact.name(), &order_id, update)?;
                Box::pin(self.send_email(notification, message, user, &contact, &email, clock)).await
            }
            Channel::Sms => {
                let Some(to) = self.sms_number(&contact) else { return Ok(()) };
                let text = text(&order_id, update)?;
                let email = status_email(contact.name(), &order_id, &text)?;
                let sms = SmsWithFallback { message, user, contact: &contact, to, text, email };
                Box::pin(self.send_sms(notification, message, &sms, clock)).await
            }
        }
    }

    /// The number that gets the contact's SMS.
    fn sms_number<'a>(&self, contact: &'a Contact) -> Option<&'a str> {
        contact.phone().filter(|number| self.sms_countries.include(number))
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
        // It gets no e-mail, and takes no token of the rate.
        if contact.is_suppressed() {
            let suppressed = DeliveryOutcome::Failed(Undelivered::Suppressed);
            let attempt = async { AttemptOutcome::Finished(suppressed) };
            return self.with_lease(notification, message, clock, attempt).await;
        }
        // The budget is asked before the rate: messages that are dropped must not delay those of other customers.
        if !self.admits(message, contact, clock).await {
            return Ok(());
        }
        // The rate is waited for before the lease, so that a message that is postponed was never leased.
        match self.email.acquire(clock).await {
            Ok(provider) => {
                let attempt = try_email(provider, user, &contact.email, email, clock);
                self.with_lease(notification, message, clock, attempt).await
            }
            Err(not_sent) => self.postpone(notification, message, not_sent).await,
        }
    }

    /// Whether an e-mail may go to the contact's address.
    async fn admits(&self, message: &SqsMessage, contact: &Contact, clock: &Clock) -> bool {
        contact.email_verified || self.recipients.admits(message, &contact.email, clock.now()).await
    }

    async fn send_sms(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        sms: &SmsWithFallback<'_>,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        let closed = match self.acquire_sms(clock).await {
            Ok(()) => None,
            // The message is not postponed: an e-mail replaces the SMS while its provider is down or SMS are off.
            Err(not_sent @ (NotSent::CircuitOpen(_) | NotSent::SwitchedOff)) => Some(not_sent),
            Err(not_sent) => return self.postpone(notification, message, not_sent).await,
        };
        let attempt = async {
            let not_sent = match closed {
                Some(not_sent) => not_sent,
                None => match self.sms_guard.send(clock, || self.sms_sender.send(sms.to, &sms.text)).await {
                    Ok(provider_id) => {
                        return AttemptOutcome::Finished(DeliveryOutcome::Sent {
                            by: Provider::Sns,
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

    /// Waits until an SMS may be sent, unless an operator has turned SMS off.
    async fn acquire_sms(&self, clock: &Clock) -> Result<(), NotSent> {
        if !self.sms_switch.is_on(clock.now()).await {
            return Err(NotSent::SwitchedOff);
        }
        self.sms_guard.acquire(clock).await
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
        match self.email.acquire(clock).await {
            Ok(provider) => try_email(provider, sms.user, &sms.contact.email, &sms.email, clock).await,
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
        record_attempt(notification.channel, &attempt, clock);
        match attempt {
            AttemptOutcome::Finished(outcome) => {
                count_outcome(notification, &outcome, clock.now());
                let recorded =
                    self.store.record_outcome(notification, &outcome, published, clock.now()).await;
                self.or_record_later(notification, message, &outcome, recorded).await
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

    /// Records a message that was sent before. While the table does not answer, the message goes back to its queue.
    ///
    /// # Errors
    /// When it could neither be recorded nor put back, and must be retried.
    pub async fn record_sent(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        outcome: &DeliveryOutcome,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        let recorded = async {
            let published = self.store.published_count(notification).await?;
            self.store.record_outcome(notification, outcome, published, clock.now()).await
        };
        self.or_record_later(notification, message, outcome, recorded.await).await
    }

    /// The result of recording an outcome. While the table does not answer, a message that was sent goes back to its queue,
    /// which brings it again to be recorded.
    async fn or_record_later(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        outcome: &DeliveryOutcome,
        recorded: Result<(), TableError>,
    ) -> Result<(), NotifyError> {
        match (recorded, outcome) {
            (Err(error), DeliveryOutcome::Sent { by, provider_id }) => {
                tracing::warn!(
                    error = error_chain(&error),
                    "the message was sent, but this could not be recorded yet"
                );
                let put_back = self.queues.requeue_sent(notification, message, *by, provider_id).await;
                put_back.map_err(NotifyError::Unrecorded)
            }
            (recorded, _) => Ok(recorded?),
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
            NotSent::SwitchedOff => {
                tracing::warn!("SMS are switched off, the message is dropped");
                Ok(())
            }
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
}

/// Sends an e-mail by the provider that admitted it.
async fn try_email(
    provider: Admitted<'_>,
    user: &UserId,
    to: &str,
    email: &EmailMessage,
    clock: &Clock,
) -> AttemptOutcome {
    provider.send(clock, user, to, email).await.map_or_else(AttemptOutcome::from, AttemptOutcome::Finished)
}

/// Records the metric of one attempt.
fn record_attempt(channel: Channel, attempt: &AttemptOutcome, clock: &Clock) {
    let (by, outcome) = match attempt {
        AttemptOutcome::Finished(DeliveryOutcome::Sent { by, .. }) => (by.channel(), Outcome::Ok),
        AttemptOutcome::Finished(_) => (channel, Outcome::Refused),
        AttemptOutcome::Postponed(_) | AttemptOutcome::Failed(_) | AttemptOutcome::Unknown(_) => {
            (channel, Outcome::Error)
        }
    };
    telemetry::record(by.as_str(), outcome, clock.elapsed());
}

/// Counts what came of a message.
pub fn count_outcome(notification: Notification<'_>, outcome: &DeliveryOutcome, now: Timestamp) {
    let DeliveryOutcome::Sent { by, .. } = outcome else {
        telemetry::emit_by(&metrics::NOTIFICATIONS_FAILED, notification.channel.as_str(), 1);
        return;
    };
    let channel = by.channel().as_str();
    telemetry::emit_by(&metrics::NOTIFICATIONS_SENT, channel, 1);
    if *by == Provider::Smtp {
        telemetry::emit(&metrics::EMAILS_BY_SMTP, 1);
    }
    if let About::Event(event) = notification.about
        && now.duration_since(event.occurred_at) > LATE
    {
        telemetry::emit_by(&metrics::NOTIFICATIONS_LATE, channel, 1);
    }
}
