//! Notifies a customer: exactly once where the provider allows it.

use aws_lambda_events::sqs::SqsMessage;
use contracts::{
    OrderId, UserId,
    events::{Channel, Undelivered},
};
use jiff::SignedDuration;
use lambda_kit::{
    command::chain,
    telemetry::{self, Outcome},
};
use uuid::Uuid;

use super::{Notifier, NotifyError};
use crate::{
    domain::{Contact, Ending, Letter, News, Notification, Person, compose, status_letter, text, welcome},
    gate::{Clock, NotSent},
    provider::SendError,
    store::Lease,
};

/// Older events are not sent: they were sent then, and their records expire at some time (`store`). So
/// history that is republished for another consumer notifies no customer. Redriven dead letters are not so
/// old: 28 days at most.
const NEWS: SignedDuration = SignedDuration::from_hours(60 * 24);

/// The result of one try.
enum Try {
    Ended(Ending),
    /// Certainly not sent. Retried after this delay, without counting as a try.
    Later(SignedDuration),
    /// Not sent, surely.
    Failed(SendError),
    /// The provider did not answer, so the result is unknown.
    Unknown(SendError),
}

impl From<NotSent> for Try {
    fn from(not_sent: NotSent) -> Self {
        match not_sent {
            NotSent::Closed(open) => Self::Later(open.put_back()),
            NotSent::Crowded(wait) => Self::Later(wait),
            NotSent::Failed(SendError::Invalid(code)) => {
                tracing::warn!(code, "there is no such address");
                Self::Ended(Ending::Failed(Undelivered::InvalidAddress))
            }
            NotSent::Failed(error) if error.is_uncertain() => Self::Unknown(error),
            NotSent::Failed(error) => Self::Failed(error),
        }
    }
}

/// A text message, and the e-mail that replaces it.
struct Text<'a> {
    user: &'a UserId,
    contact: &'a Contact,
    to: &'a str,
    text: String,
    letter: Letter,
}

impl Notifier {
    pub(super) async fn welcome(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        user: &UserId,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        let Some(contact) = self.contact(user).await? else { return Ok(()) };
        let letter = welcome()?;
        self.write(notification, message, user, &contact, &letter, clock).await
    }

    pub(super) async fn tell(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        news: &News,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        let order_id = OrderId::try_from(notification.about.subject.as_str())?;
        tracing::Span::current().record("order_id", order_id.as_str());
        let user = notification.about.metadata.user_id.as_ref().ok_or(NotifyError::NoUser)?;
        let Some(contact) = self.contact(user).await? else { return Ok(()) };
        match notification.channel {
            Channel::Email => {
                let letter = compose(&contact.name, &order_id, news)?;
                Box::pin(self.write(notification, message, user, &contact, &letter, clock)).await
            }
            Channel::Sms => {
                let Some(to) = contact.phone() else { return Ok(()) };
                let text = text(&order_id, news)?;
                let letter = status_letter(&contact.name, &order_id, &text)?;
                let text = Text { user, contact: &contact, to, text, letter };
                Box::pin(self.text(notification, message, &text, clock)).await
            }
        }
    }

    /// The contact of an event's user, if the user still exists.
    async fn contact(&self, user_id: &UserId) -> Result<Option<Contact>, NotifyError> {
        tracing::Span::current().record("user_id", user_id.as_str());
        match self.store.person(user_id).await?.ok_or(NotifyError::UnknownUser)? {
            Person::Known(contact) => Ok(Some(contact)),
            Person::Erased => {
                tracing::info!("the customer is erased");
                Ok(None)
            }
        }
    }

    async fn write(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        user: &UserId,
        contact: &Contact,
        letter: &Letter,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        if !contact.wants_email {
            return Ok(());
        }
        if !contact.is_suppressed()
            && let Err(not_sent) = self.email.enter(clock).await
        {
            return self.later(notification, message, not_sent).await;
        }
        self.once(notification, message, clock, self.mail(user, contact, letter, clock)).await
    }

    /// Sends the e-mail after the gate was entered.
    async fn mail(&self, user: &UserId, contact: &Contact, letter: &Letter, clock: &Clock) -> Try {
        if contact.is_suppressed() {
            return Try::Ended(Ending::Failed(Undelivered::Suppressed));
        }
        match self.email.send(clock, || self.mailer.send(user, &contact.email, letter)).await {
            Ok(provider_id) => Try::Ended(Ending::Sent { by: Channel::Email, provider_id }),
            Err(not_sent) => not_sent.into(),
        }
    }

    async fn text(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        text: &Text<'_>,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        let open = match self.sms.enter(clock).await {
            Ok(()) => None,
            Err(NotSent::Closed(open)) => Some(NotSent::Closed(open)),
            Err(not_sent) => return self.later(notification, message, not_sent).await,
        };
        let tried = async {
            let not_sent = match open {
                Some(open) => open,
                None => match self.sms.send(clock, || self.texter.send(text.to, &text.text)).await {
                    Ok(provider_id) => return Try::Ended(Ending::Sent { by: Channel::Sms, provider_id }),
                    // A throttling provider is waited for; it is no reason to send an e-mail instead.
                    Err(not_sent @ NotSent::Crowded(_)) => return not_sent.into(),
                    Err(not_sent) => not_sent,
                },
            };
            self.instead(text, not_sent, clock).await
        };
        self.once(notification, message, clock, tried).await
    }

    /// Sends the same text by e-mail. A customer who gets e-mails gets this event's own one, which says more,
    /// so it is not sent twice.
    async fn instead(&self, text: &Text<'_>, not_sent: NotSent, clock: &Clock) -> Try {
        let reason = match &not_sent {
            NotSent::Failed(SendError::Invalid(_)) => Undelivered::InvalidAddress,
            NotSent::Failed(error) if error.is_uncertain() => Undelivered::Uncertain,
            _ => Undelivered::Provider,
        };
        tracing::warn!(?not_sent, "no text message: the customer is told by e-mail");
        if text.contact.wants_email {
            return Try::Ended(Ending::Failed(reason));
        }
        if text.contact.is_suppressed() {
            return not_sent.into();
        }
        match self.email.enter(clock).await {
            Ok(()) => self.mail(text.user, text.contact, &text.letter, clock).await,
            Err(not_sent) => not_sent.into(),
        }
    }

    /// Holds the message's lease during one try, and records the result.
    async fn once(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        clock: &Clock,
        tried: impl Future<Output = Try>,
    ) -> Result<(), NotifyError> {
        if clock.now().duration_since(notification.about.occurred_at) > NEWS {
            tracing::info!("an event that is no news any more");
            return Ok(());
        }
        let holder = Uuid::now_v7().to_string();
        let told = match self.store.lease(notification, &holder, clock.now()).await? {
            Lease::Held { told } => told,
            Lease::Done => return Ok(()),
            Lease::Busy => return Err(NotifyError::Busy),
            Lease::Uncertain => return Err(NotifyError::Uncertain),
        };
        let tried = Box::pin(tried).await;
        self.measure(notification.channel, &tried, clock);
        match tried {
            Try::Ended(ending) => {
                let ended = self.store.end(notification, &ending, told, clock.now()).await;
                match (ended, &ending) {
                    (Err(error), Ending::Sent { .. }) => {
                        // The customer has the message. Returning an error here would retry the event and
                        // send it again.
                        tracing::error!(error = chain(&error), "a message went out and is not recorded");
                    }
                    (ended, _) => ended?,
                }
                Ok(())
            }
            Try::Later(delay) => {
                self.store.release(notification).await?;
                self.put_back(notification, message, delay).await
            }
            Try::Failed(error) => {
                self.store.release(notification).await?;
                Err(error.into())
            }
            Try::Unknown(error) => Err(error.into()),
        }
    }

    /// Nothing was leased or sent.
    async fn later(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        not_sent: NotSent,
    ) -> Result<(), NotifyError> {
        match not_sent {
            NotSent::Closed(open) => self.put_back(notification, message, open.put_back()).await,
            NotSent::Crowded(wait) => self.put_back(notification, message, wait).await,
            NotSent::Failed(error) => Err(error.into()),
        }
    }

    /// If this process ends before it deletes the message here, the event is delivered twice, and the lease
    /// handles that like any repeat.
    async fn put_back(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        delay: SignedDuration,
    ) -> Result<(), NotifyError> {
        self.queues.put_back(notification.channel, message, delay).await?;
        tracing::info!(seconds = delay.as_secs(), "the message waits for the provider");
        Ok(())
    }

    fn measure(&self, channel: Channel, tried: &Try, clock: &Clock) {
        let (by, outcome) = match tried {
            Try::Ended(Ending::Sent { by, .. }) => (*by, Outcome::Ok),
            Try::Ended(_) => (channel, Outcome::Refused),
            Try::Later(_) | Try::Failed(_) | Try::Unknown(_) => (channel, Outcome::Error),
        };
        telemetry::record(by.as_str(), outcome, clock.elapsed());
    }
}
