use contracts::{
    Envelope, EventId, NewEvent, NotificationId, OrderId,
    events::{Channel, NotificationFailed, NotificationSent, Undelivered},
};
use jiff::Timestamp;

/// One event to be told through one channel.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    pub about: &'a Envelope,
    pub channel: Channel,
}

/// What became of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The provider took it, under this id of its own.
    Sent { by: Channel, provider_id: String },
    /// There is nothing to try again.
    Failed(Undelivered),
    /// Tried as often as its queue allows. Somebody may move it back there.
    GivenUp(Undelivered),
}

impl Notification<'_> {
    pub fn about_id(&self) -> &EventId {
        &self.about.event_id
    }

    /// The event that says how it ended: the `sequence`-th about this notification. It holds no personal data.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn event(
        &self,
        ending: &Ending,
        sequence: u64,
        now: Timestamp,
    ) -> Result<Envelope, serde_json::Error> {
        let about = self.about;
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
        match ending {
            Ending::Sent { by, .. } => {
                Envelope::new(new, &NotificationSent { about, about_type, order_id, channel, sent_by: *by })
            }
            Ending::Failed(reason) | Ending::GivenUp(reason) => Envelope::new(
                new,
                &NotificationFailed { about, about_type, order_id, channel, reason: *reason },
            ),
        }
    }
}
