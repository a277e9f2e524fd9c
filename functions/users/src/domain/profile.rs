//! The profile: who the person is, how that changes, and what is left when it is erased.

use contracts::{
    CorrelationId, Envelope, EventPayload, NewEvent, UserId,
    events::{Channel, NotificationPreferences, UserDeleted, UserRestored, UserSuspended, UserUpdated},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Email, Name, Phone};

/// A person's profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub user_id: UserId,
    pub email: Email,
    pub name: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
    pub notification_preferences: NotificationPreferences,
    /// Whether the user has shown that the address is theirs.
    #[serde(default)]
    pub email_verified: bool,
    /// Whether the user has shown that the number is theirs.
    #[serde(default)]
    pub phone_verified: bool,
    /// Since when the account is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Timestamp>,
    /// Counts the changes, from 1: the sequence of this user's events.
    pub version: u64,
}

/// A change that a person requests; absent fields stay unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    pub name: Option<Name>,
    /// `Some(None)` takes the number away.
    pub phone: Option<Option<Phone>>,
    pub by_email: Option<bool>,
    pub by_sms: Option<bool>,
}

/// A changed profile, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedProfile {
    pub profile: Profile,
    pub event: Envelope,
}

/// A suspended or restored account, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    pub profile: Profile,
    pub events: Vec<Envelope>,
    /// The version of the profile that was suspended or restored.
    pub decided_on: u64,
}

/// Replaces the profile of a deleted person, and holds no personal data.
// The item is not deleted, because it answers a repeated request, makes a concurrent change fail, and has the
// outbox of the last event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    pub user_id: UserId,
    pub version: u64,
    pub erased_at: Timestamp,
}

/// An erasure, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    pub erased: Erased,
    /// The account's key, which is given free.
    pub email: Email,
    pub event: Envelope,
}

/// The account is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspended;

impl Profile {
    /// Checks that the account is not suspended.
    ///
    /// # Errors
    /// When it is.
    pub fn check_active(&self) -> Result<(), Suspended> {
        if self.suspended_at.is_some() { Err(Suspended) } else { Ok(()) }
    }

    /// Applies the change; `None` when the profile has these values already.
    ///
    /// # Errors
    /// When the event has no JSON form.
    pub fn change(
        &self,
        change: &ProfileChange,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<Option<ChangedProfile>, serde_json::Error> {
        let ProfileChange { name, phone, by_email, by_sms } = change.clone();
        let NotificationPreferences { email, sms } = self.notification_preferences;
        let mut profile = Self {
            name: name.unwrap_or_else(|| self.name.clone()),
            phone: phone.unwrap_or_else(|| self.phone.clone()),
            notification_preferences: NotificationPreferences {
                email: by_email.unwrap_or(email),
                sms: by_sms.unwrap_or(sms),
            },
            ..self.clone()
        };
        profile.phone_verified &= profile.phone == self.phone;
        if profile == *self {
            return Ok(None);
        }
        profile.next_version(now, correlation_id).map(Some)
    }

    /// Applies the proof that the user reads the messages to `to`: the number is verified, or the address is the
    /// account's and verified. `None` when the number is not the account's any more.
    ///
    /// # Errors
    /// When the event has no JSON form.
    pub fn confirm(
        &self,
        channel: Channel,
        to: &str,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<Option<ChangedProfile>, serde_json::Error> {
        let confirmed = match channel {
            Channel::Email => {
                let email = to.parse().ok();
                email.map(|email| Self { email, email_verified: true, ..self.clone() })
            }
            Channel::Sms => {
                let is_current = self.phone.as_ref().is_some_and(|phone| phone.as_str() == to);
                is_current.then(|| Self { phone_verified: true, ..self.clone() })
            }
        };
        confirmed.map(|profile| profile.next_version(now, correlation_id)).transpose()
    }

    /// The next version, with the event that reports it.
    fn next_version(
        mut self,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<ChangedProfile, serde_json::Error> {
        self.version += 1;
        let event = event(&self.user_id, self.version, &self.updated(), now, correlation_id)?;
        Ok(ChangedProfile { profile: self, event })
    }

    fn updated(&self) -> UserUpdated {
        UserUpdated {
            user_id: self.user_id.clone(),
            email: self.email.as_str().to_owned(),
            name: self.name.as_str().to_owned(),
            phone: self.phone.as_ref().map(|phone| phone.as_str().to_owned()),
            notification_preferences: self.notification_preferences,
            email_verified: self.email_verified,
            phone_verified: self.phone_verified,
        }
    }

    /// Suspends or restores the account; `None` when it is so already.
    ///
    /// # Errors
    /// When an event has no JSON form.
    pub fn set_suspended(
        &self,
        suspended: bool,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<Option<Suspension>, serde_json::Error> {
        if self.suspended_at.is_some() == suspended {
            return Ok(None);
        }
        let decided_on = self.version;
        let profile =
            Self { suspended_at: suspended.then_some(now), version: decided_on + 2, ..self.clone() };
        let (user_id, version) = (&profile.user_id, profile.version);
        // What the outbox holds is published again for a new consumer, which must learn the person's data, too.
        let data = event(user_id, version - 1, &profile.updated(), now, correlation_id)?;
        let change = if suspended {
            event(user_id, version, &UserSuspended { user_id: user_id.clone() }, now, correlation_id)?
        } else {
            event(user_id, version, &UserRestored { user_id: user_id.clone() }, now, correlation_id)?
        };
        Ok(Some(Suspension { events: vec![data, change], profile, decided_on }))
    }

    /// When the account was registered, by its id (UUID version 7). `None` for an id that holds no time.
    pub fn registered_at(&self) -> Option<Timestamp> {
        let id = Uuid::parse_str(self.user_id.as_str().strip_prefix("usr_")?).ok()?;
        let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
        Timestamp::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?).ok()
    }

    /// The erased profile, and the event by which the other contexts erase their data.
    ///
    /// # Errors
    /// When the event has no JSON form.
    pub fn erase(
        &self,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<Erasure, serde_json::Error> {
        let erased = Erased { user_id: self.user_id.clone(), version: self.version + 1, erased_at: now };
        let deleted = UserDeleted { user_id: self.user_id.clone() };
        let event = event(&erased.user_id, erased.version, &deleted, now, correlation_id)?;
        Ok(Erasure { erased, email: self.email.clone(), event })
    }
}

/// An event about a user.
pub(super) fn event<P: EventPayload>(
    user_id: &UserId,
    version: u64,
    payload: &P,
    now: Timestamp,
    correlation_id: &CorrelationId,
) -> Result<Envelope, serde_json::Error> {
    let new = NewEvent {
        source: "users",
        subject: user_id.as_str(),
        sequence: version,
        occurred_at: now,
        correlation_id,
        causation_id: correlation_id.as_str(),
        user_id: Some(user_id),
    };
    Envelope::new(new, payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anna() -> Profile {
        Profile {
            user_id: UserId::generate(),
            email: "anna@example.com".parse().unwrap(),
            name: "Anna".parse().unwrap(),
            phone: Some("+14155550123".parse().unwrap()),
            notification_preferences: NotificationPreferences { email: true, sms: true },
            email_verified: true,
            phone_verified: false,
            suspended_at: None,
            version: 3,
        }
    }

    fn change(profile: &Profile, wanted: &ProfileChange) -> Option<ChangedProfile> {
        profile.change(wanted, Timestamp::UNIX_EPOCH, &CorrelationId::generate()).unwrap()
    }

    fn confirm(profile: &Profile, channel: Channel, to: &str) -> Option<ChangedProfile> {
        profile.confirm(channel, to, Timestamp::UNIX_EPOCH, &CorrelationId::generate()).unwrap()
    }

    #[test]
    fn a_number_is_verified_until_the_user_gives_another_one() {
        let ChangedProfile { profile, event } = confirm(&anna(), Channel::Sms, "+14155550123").unwrap();
        assert!(profile.phone_verified && event.decode::<UserUpdated>().unwrap().phone_verified);
        let renamed = ProfileChange { name: Some("Ben".parse().unwrap()), ..ProfileChange::default() };
        assert!(change(&profile, &renamed).unwrap().profile.phone_verified);
        let moved = ProfileChange { phone: Some(Some("+14155550199".parse().unwrap())), ..renamed };
        let moved = change(&profile, &moved).unwrap().profile;
        assert!(!moved.phone_verified);
        assert_eq!(confirm(&moved, Channel::Sms, "+14155550123"), None);
    }

    #[test]
    fn a_confirmed_address_is_that_of_the_account() {
        let before = Profile { email_verified: false, ..anna() };
        let ChangedProfile { profile, event } = confirm(&before, Channel::Email, "new@example.com").unwrap();
        let updated: UserUpdated = event.decode().unwrap();
        assert_eq!((profile.email.as_str(), updated.email.as_str()), ("new@example.com", "new@example.com"));
        assert!(profile.email_verified && updated.email_verified);
        assert_eq!((profile.version, event.sequence), (before.version + 1, before.version + 1));
    }

    #[test]
    fn absent_fields_stay_and_the_event_holds_all_fields() {
        let profile = anna();
        let wanted = ProfileChange {
            name: Some("Anna B".parse().unwrap()),
            by_sms: Some(false),
            ..ProfileChange::default()
        };
        let ChangedProfile { profile: after, event } = change(&profile, &wanted).unwrap();
        assert_eq!((after.name.as_str(), &after.phone, after.version), ("Anna B", &profile.phone, 4));
        assert_eq!(after.notification_preferences, NotificationPreferences { email: true, sms: false });
        assert_eq!((event.subject.as_str(), event.sequence), (profile.user_id.as_str(), 4));
        let updated: UserUpdated = event.decode().unwrap();
        assert_eq!((updated.email.as_str(), updated.name.as_str()), ("anna@example.com", "Anna B"));
        assert_eq!(updated.phone.as_deref(), Some("+14155550123"));
        assert_eq!(updated.notification_preferences, after.notification_preferences);
    }

    #[test]
    fn a_phone_number_can_be_removed() {
        let after =
            change(&anna(), &ProfileChange { phone: Some(None), ..ProfileChange::default() }).unwrap();
        assert_eq!(after.profile.phone, None);
        assert_eq!(after.event.decode::<UserUpdated>().unwrap().phone, None);
    }

    #[test]
    fn a_change_to_the_current_values_changes_nothing() {
        let same = ProfileChange {
            name: Some("Anna".parse().unwrap()),
            by_email: Some(true),
            ..ProfileChange::default()
        };
        assert_eq!(change(&anna(), &same), None);
        assert_eq!(change(&anna(), &ProfileChange::default()), None);
    }

    #[test]
    fn a_suspension_and_its_end_say_also_who_the_person_is() {
        let (profile, correlation) = (anna(), CorrelationId::generate());
        let change = |profile: &Profile, suspended| {
            profile.set_suspended(suspended, Timestamp::UNIX_EPOCH, &correlation).unwrap()
        };
        assert_eq!(change(&profile, false), None);
        let Suspension { profile: suspended, events, decided_on } = change(&profile, true).unwrap();
        assert_eq!((decided_on, suspended.version), (3, 5));
        assert!(profile.check_active().is_ok() && suspended.check_active().is_err());
        let published = |events: &[Envelope]| {
            events.iter().map(|event| (event.event_type.clone(), event.sequence)).collect::<Vec<_>>()
        };
        assert_eq!(published(&events), [("user.updated".to_owned(), 4), ("user.suspended".to_owned(), 5)]);
        assert_eq!(change(&suspended, true), None);
        let Suspension { profile: restored, events, .. } = change(&suspended, false).unwrap();
        assert_eq!(published(&events), [("user.updated".to_owned(), 6), ("user.restored".to_owned(), 7)]);
        assert_eq!(restored, Profile { version: 7, ..profile });
    }

    #[test]
    fn an_account_was_registered_when_its_id_was_made() {
        let now = Timestamp::now();
        let registered = anna().registered_at().unwrap();
        assert!((now - registered).total(jiff::Unit::Second).unwrap().abs() < 60.0);
        let user_id = UserId::try_from("usr_0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(Profile { user_id, ..anna() }.registered_at(), None);
    }

    #[test]
    fn an_erased_profile_holds_no_personal_data() {
        let profile = anna();
        let Erasure { erased, event, .. } =
            profile.erase(Timestamp::UNIX_EPOCH, &CorrelationId::generate()).unwrap();
        assert_eq!((erased.version, event.sequence, event.event_type.as_str()), (4, 4, "user.deleted"));
        let left =
            format!("{} {}", serde_json::to_string(&erased).unwrap(), serde_json::to_string(&event).unwrap());
        assert!(!["anna", "Anna", "+1415"].iter().any(|personal| left.contains(personal)), "{left}");
    }
}
