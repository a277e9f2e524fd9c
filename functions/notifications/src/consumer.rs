//! Handles each message of the queues: stores a contact, or notifies a customer or user. Delays the retry of those that
//! fail.

use std::time::Instant;

use aws_lambda_events::sqs::SqsMessage;
use contracts::{
    AccountMessage, Envelope, EventPayload,
    events::{Channel, OrderCreated, Undelivered, UserDeleted, UserRegistered, UserUpdated},
};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    error::error_chain,
    limits::NOTIFICATION_RECEIVES,
    sqs::{self, EventTypes, MessageError, joined},
    telemetry::{self, Outcome},
};
use tracing::Instrument;

use crate::{
    domain::{About, Contact, DeliveryOutcome, Notification, OrderUpdate},
    feedback,
    handler::{Notifier, NotifyError, count_outcome},
    provider_guard::Clock,
    queue::{receives, sent},
    store::LEASE_SECONDS,
};

/// The delay of the first retry in seconds, and the factor for each further one.
// Five tries take about five minutes. If a provider is down for longer, its breaker opens, and waiting for that
// uses up no tries.
const FIRST_PAUSE_SECONDS: i64 = 2;
const PAUSE_FACTOR: i64 = 5;

/// The events that only the e-mail queue receives: those with contact data, and the one whose notification waits.
const EMAIL_ONLY_TYPES: [&str; 4] =
    [UserRegistered::TYPE, UserUpdated::TYPE, UserDeleted::TYPE, OrderCreated::TYPE];

/// The event types of the e-mail queue's subscription (infra/notifications.yaml).
pub const EMAIL_EVENT_TYPES: EventTypes =
    &joined::<{ EMAIL_ONLY_TYPES.len() + OrderUpdate::TYPES.len() }>(&EMAIL_ONLY_TYPES, &OrderUpdate::TYPES);

/// Those of the SMS queue's subscription.
pub const SMS_EVENT_TYPES: EventTypes = &OrderUpdate::TYPES;

/// Those that the SMS queue holds: the e-mail queue's consumer forwards `order.created` (`confirmation`).
const SMS_QUEUE_TYPES: EventTypes =
    &joined::<{ OrderUpdate::TYPES.len() + 1 }>(&OrderUpdate::TYPES, &[OrderCreated::TYPE]);

/// The queue that a message came from.
enum Source {
    Events(Channel),
    Codes,
    Feedback,
}

impl Source {
    fn of(message: &SqsMessage) -> Self {
        // One function receives from all queues. Only the ARN says from which one a message is.
        let queue = message.event_source_arn.as_deref().unwrap_or_default();
        match () {
            () if queue.ends_with("-notifications-sms") => Self::Events(Channel::Sms),
            () if queue.ends_with("-notifications-codes") => Self::Codes,
            () if queue.ends_with("-notifications-feedback") => Self::Feedback,
            () => Self::Events(Channel::Email),
        }
    }
}

impl Notifier {
    /// Handles one message of any of the queues, received at `now`.
    ///
    /// # Errors
    /// When it must be retried.
    pub async fn message(&self, message: SqsMessage, now: Timestamp) -> Result<(), MessageError> {
        let clock = Clock::start(now);
        match Source::of(&message) {
            Source::Events(channel) => {
                let types = match channel {
                    Channel::Email => EMAIL_EVENT_TYPES,
                    Channel::Sms => SMS_QUEUE_TYPES,
                };
                sqs::one_event(types, &message, |event| self.event(channel, &message, event, clock)).await
            }
            Source::Codes => self.account_message(&message, clock).await,
            Source::Feedback => {
                let body = message.body.as_deref().unwrap_or_default();
                feedback::handle(&self.store, body, now).await.map_err(MessageError::handler)
            }
        }
    }

    async fn event(
        &self,
        channel: Channel,
        message: &SqsMessage,
        event: Envelope,
        clock: Clock,
    ) -> Result<(), MessageError> {
        let notification = Notification { about: About::Event(&event), channel };
        if let Some(outcome) = sent(message) {
            return Ok(self.record_sent(notification, message, &outcome, &clock).await?);
        }
        // Boxed, because futures nested this deep do not fit on a small stack.
        let handled = Box::pin(self.handle(notification, &event, message, &clock)).await;
        self.settle(notification, message, handled, &clock).await
    }

    /// Handles a message about an account.
    async fn account_message(&self, message: &SqsMessage, clock: Clock) -> Result<(), MessageError> {
        let about = serde_json::from_str(message.body.as_deref().unwrap_or_default());
        let about: AccountMessage = about.map_err(|_| NotifyError::Message)?;
        let span = tracing::info_span!(
            "account_message",
            kind = about.content.kind(),
            correlation_id = about.correlation_id.as_str(),
            user_id = about.user_id.as_str(),
        );
        let started = Instant::now();
        let handled = async {
            // A request for an address that no account has.
            let Some(recipient) = &about.recipient else { return Ok(()) };
            let notification = Notification { about: About::Account(&about), channel: recipient.channel() };
            if let Some(outcome) = sent(message) {
                return Ok(self.record_sent(notification, message, &outcome, &clock).await?);
            }
            let handled = self.notify_account(notification, message, &about, recipient, &clock);
            self.settle(notification, message, Box::pin(handled).await, &clock).await
        };
        let handled = handled.instrument(span).await;
        let outcome = if handled.is_ok() { Outcome::Ok } else { Outcome::Error };
        telemetry::record("account_message", outcome, started.elapsed());
        handled
    }

    /// Delays the retry of a message that failed, or gives it up after its last try.
    async fn settle(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        handled: Result<(), NotifyError>,
        clock: &Clock,
    ) -> Result<(), MessageError> {
        let Err(error) = handled else { return Ok(()) };
        let receives = receives(message);
        // SQS moves the message to the dead-letter queue after this failure, so this is the last time to
        // publish that the customer was not notified.
        if receives >= NOTIFICATION_RECEIVES {
            self.give_up(notification, &error, clock).await;
        } else if let Err(failure) =
            self.queues.delay_retry(notification, message, pause(receives, &error)).await
        {
            // It is retried anyway, after the queue's own visibility timeout.
            tracing::warn!(error = error_chain(&failure), "the retry could not be delayed");
        }
        Err(error.into())
    }

    async fn handle(
        &self,
        notification: Notification<'_>,
        event: &Envelope,
        message: &SqsMessage,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        match (event.event_type.as_str(), notification.channel) {
            (UserRegistered::TYPE, Channel::Email) => {
                let user: UserRegistered = event.decode().map_err(|_| NotifyError::Contact)?;
                let user_id = user.user_id.clone();
                Ok(self.store.save_contact(&user_id, &Contact::registered(user, event.sequence)).await?)
            }
            (UserUpdated::TYPE, Channel::Email) => {
                let user: UserUpdated = event.decode().map_err(|_| NotifyError::Contact)?;
                let user_id = user.user_id.clone();
                Ok(self.store.save_contact(&user_id, &Contact::updated(user, event.sequence)).await?)
            }
            (UserDeleted::TYPE, Channel::Email) => {
                let UserDeleted { user_id } = event.decode().map_err(|_| NotifyError::Contact)?;
                Ok(self.store.erase(&user_id, clock.now().as_second()).await?)
            }
            _ => match OrderUpdate::from_event(event)? {
                Some(update) => {
                    Box::pin(self.notify_order_update(notification, event, message, &update, clock)).await
                }
                None => Ok(()),
            },
        }
    }

    /// Records that the customer was not notified, before the event goes to the dead-letter queue.
    async fn give_up(&self, notification: Notification<'_>, error: &NotifyError, clock: &Clock) {
        let reason = match error {
            // Another try is running and will record the result.
            NotifyError::Busy => return,
            NotifyError::Uncertain | NotifyError::Unrecorded(_) => Undelivered::Uncertain,
            NotifyError::Send(error) if error.is_uncertain() => Undelivered::Uncertain,
            _ => Undelivered::Provider,
        };
        let ended = match self.store.published_count(notification).await {
            Ok(published) => {
                let given_up = DeliveryOutcome::GivenUp(reason);
                count_outcome(notification, &given_up, clock.now());
                self.store.record_outcome(notification, &given_up, published, clock.now()).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::error!(
                error = error_chain(&error),
                "the message was given up, but this could not be recorded"
            );
        }
    }
}

fn pause(receives: u32, error: &NotifyError) -> SignedDuration {
    let pause = FIRST_PAUSE_SECONDS.saturating_mul(PAUSE_FACTOR.saturating_pow(receives.saturating_sub(1)));
    // A retry before the end of the lease would be refused, and would use up a receive.
    let least = if error.waits_for_a_lease() { LEASE_SECONDS } else { 0 };
    SignedDuration::from_secs(pause.max(least))
}
