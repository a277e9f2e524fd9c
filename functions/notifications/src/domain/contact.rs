//! A customer's contact data, and which messages the customer wants.

use contracts::events::{NotificationPreferences, UserRegistered, UserUpdated};
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
    fn new(
        email: String,
        name: String,
        phone: Option<String>,
        wants: NotificationPreferences,
        sequence: u64,
    ) -> Self {
        let (wants_email, wants_sms) = (wants.email, wants.sms);
        Self { email, name, phone, wants_email, wants_sms, sequence, suppressed: None }
    }

    pub fn registered(user: UserRegistered, sequence: u64) -> Self {
        Self::new(user.email, user.name, user.phone, user.notification_preferences, sequence)
    }

    pub fn updated(user: UserUpdated, sequence: u64) -> Self {
        Self::new(user.email, user.name, user.phone, user.notification_preferences, sequence)
    }

    /// The number for SMS messages, if the customer wants them and has one.
    pub fn phone(&self) -> Option<&str> {
        self.phone.as_deref().filter(|_| self.wants_sms)
    }

    pub fn is_suppressed(&self) -> bool {
        self.suppressed.as_ref() == Some(&self.email)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contact_data_does_not_show_in_logs() {
        let wants = NotificationPreferences { email: true, sms: true };
        let contact =
            Contact::new("anna@example.com".to_owned(), "Anna".to_owned(), Some("+1".to_owned()), wants, 1);
        assert_eq!(format!("{contact:?}"), "Contact { sequence: 1, .. }");
    }
}
