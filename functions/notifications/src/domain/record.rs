//! A notification, its final result, and the event that reports it.

use contracts::{
    AccountMessage, Envelope, NewEvent, NotificationId, OrderId,
    events::{Channel, NotificationFailed, NotificationSent, Undelivered},
};
use jiff::Timestamp;

/// What a customer is notified of.
#[derive(Debug, Clone, Copy)]
pub enum About<'a> {
    Event(&'a Envelope),
    /// The account, which is no other context's matter: no event reports the result.
    Account(&'a AccountMessage),
}

/// A notification on one channel.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    pub about: About<'a>,
    pub channel: Channel,
}

/// A service that sends messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    Ses,
    /// A server that takes e-mails while SES is not called.
    Smtp,
    Sns,
}

impl Provider {
    /// The provider as it is in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ses => "ses",
            Self::Smtp => "smtp",
            Self::Sns => "sns",
        }
    }

    /// The provider of this name in records.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Ses, Self::Smtp, Self::Sns].into_iter().find(|provider| provider.as_str() == name)
    }

    pub const fn channel(self) -> Channel {
        match self {
            Self::Ses | Self::Smtp => Channel::Email,
            Self::Sns => Channel::Sms,
        }
    }
}

/// The final result of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The provider accepted it under this id.
    Sent { by: Provider, provider_id: String },
    /// No retry can succeed.
    Failed(Undelivered),
    /// All tries that the queue allows have failed. An operator may redrive it.
    GivenUp(Undelivered),
}

impl Notification<'_> {
    /// Identifies what it is about.
    pub fn id(&self) -> &str {
        match self.about {
            About::Event(event) => event.event_id.as_str(),
            About::Account(message) => message.message_id.as_str(),
        }
    }

    /// The event that reports the result, with the number `sequence` for this notification. It holds no
    /// personal data. `None` for a notification about the account.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn event(
        &self,
        outcome: &DeliveryOutcome,
        sequence: u64,
        now: Timestamp,
    ) -> Result<Option<Envelope>, serde_json::Error> {
        let About::Event(about) = self.about else { return Ok(None) };
        let subject = NotificationId::derive(&about.event_id, self.channel);
        let new = NewEvent {
            source: "notifications",
            subject: subject.as_str(),
            sequence,
            occurred_at: now,
            correlation_id: &about.correlation_id,
            causation_id: about.event_id.as_str(),
            user_id: about.metadata.user_id.as_ref(),
        };
        let order_id = OrderId::try_from(about.subject.as_str()).ok();
        let (about, about_type, channel) = (about.event_id.clone(), about.event_type.clone(), self.channel);
        let event = match outcome {
            DeliveryOutcome::Sent { by, .. } => Envelope::new(
                new,
                &NotificationSent { about, about_type, order_id, channel, sent_by: by.channel() },
            ),
            DeliveryOutcome::Failed(reason) | DeliveryOutcome::GivenUp(reason) => Envelope::new(
                new,
                &NotificationFailed { about, about_type, order_id, channel, reason: *reason },
            ),
        };
        event.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_found_by_its_name_in_records() {
        for provider in [Provider::Ses, Provider::Smtp, Provider::Sns] {
            assert_eq!(Provider::named(provider.as_str()), Some(provider));
        }
        assert_eq!(Provider::named("fax"), None);
    }
}
