//! A customer's contact data, and which messages the customer wants.

use contracts::events::{UserRegistered, UserUpdated};
use serde::{Deserialize, Serialize};

/// A customer's contact data. Personal: never logged, and hidden by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub email: String,
    pub name: String,
    #[serde(default)]
    pub phone: Option<String>,
    pub wants_email: bool,
    #[serde(default)]
    pub wants_sms: bool,
    /// Whether the customer has shown that the address is theirs.
    // Contacts that are older than the verification are not verified.
    #[serde(default)]
    pub email_verified: bool,
    /// Whether the customer has shown that the number is theirs.
    #[serde(default)]
    pub phone_verified: bool,
    /// The sequence of the user's event that this was copied from.
    pub sequence: u64,
    /// The last address that e-mail is stopped for, after a bounce or a complaint.
    // A flag would not do, because a problem of one address says nothing about the next one.
    #[serde(default)]
    pub suppressed: Option<String>,
}

/// A user's contact, as far as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredContact {
    Known(Contact),
    /// The user was deleted and is never notified again.
    Erased,
}

impl std::fmt::Debug for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contact {{ sequence: {}, .. }}", self.sequence)
    }
}

impl Contact {
    pub fn registered(user: UserRegistered, sequence: u64) -> Self {
        let UserRegistered {
            user_id,
            email,
            name,
            phone,
            notification_preferences,
            email_verified,
            phone_verified,
        } = user;
        let user = UserUpdated {
            user_id,
            email,
            name,
            phone,
            notification_preferences,
            email_verified,
            phone_verified,
        };
        Self::updated(user, sequence)
    }

    pub fn updated(user: UserUpdated, sequence: u64) -> Self {
        Self {
            email: user.email,
            name: user.name,
            phone: user.phone,
            wants_email: user.notification_preferences.email,
            wants_sms: user.notification_preferences.sms,
            email_verified: user.email_verified,
            phone_verified: user.phone_verified,
            sequence,
            suppressed: None,
        }
    }

    /// The name for an e-mail: empty while the address is not verified.
    // A stranger could send a text to another person's mailbox by the name of an account.
    pub fn name(&self) -> &str {
        if self.email_verified { &self.name } else { "" }
    }

    /// The number for SMS messages, if the customer wants them and has a verified one.
    pub fn phone(&self) -> Option<&str> {
        self.phone.as_deref().filter(|_| self.wants_sms && self.phone_verified)
    }

    pub fn is_suppressed(&self) -> bool {
        self.suppressed.as_ref() == Some(&self.email)
    }
}

#[cfg(test)]
mod tests {
    use contracts::{UserId, events::NotificationPreferences};

    use super::*;

    fn anna() -> UserRegistered {
        UserRegistered {
            user_id: UserId::generate(),
            email: "anna@example.com".to_owned(),
            name: "Anna".to_owned(),
            phone: Some("+14155550123".to_owned()),
            notification_preferences: NotificationPreferences { email: true, sms: true },
            email_verified: false,
            phone_verified: false,
        }
    }

    #[test]
    fn contact_data_does_not_show_in_logs() {
        assert_eq!(format!("{:?}", Contact::registered(anna(), 1)), "Contact { sequence: 1, .. }");
    }

    #[test]
    fn the_name_and_the_number_are_used_when_their_address_and_number_are_verified() {
        let unverified = Contact::registered(anna(), 1);
        assert_eq!((unverified.name(), unverified.phone()), ("", None));
        let verified = UserRegistered { email_verified: true, phone_verified: true, ..anna() };
        let verified = Contact::registered(verified, 1);
        assert_eq!((verified.name(), verified.phone()), ("Anna", Some("+14155550123")));
    }
}
