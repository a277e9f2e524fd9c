//! Accounts and registration.

use contracts::{
    CorrelationId, Envelope, UserId,
    events::{NotificationPreferences, UserRegistered},
};
use jiff::Timestamp;
use lambda_kit::jwt::Role;
use serde::{Deserialize, Serialize};

use super::{Email, Name, PasswordHash, Phone, Profile, profile::event};

/// All that a login reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub user_id: UserId,
    pub password_hash: PasswordHash,
    pub roles: Vec<Role>,
}

/// The data of a registration.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub email: Email,
    pub name: Name,
    pub phone: Option<Phone>,
}

/// A registration, ready to be stored.
#[derive(Debug, Clone)]
pub struct Registered {
    pub account: Account,
    pub profile: Profile,
    pub event: Envelope,
}

impl NewUser {
    /// The account and profile of a new customer, and the event. Registration never makes an administrator.
    ///
    /// # Errors
    /// When the event has no JSON form.
    pub fn register(
        self,
        user_id: UserId,
        password_hash: PasswordHash,
        now: Timestamp,
        correlation_id: &CorrelationId,
    ) -> Result<Registered, serde_json::Error> {
        // Notifications about orders go to the mailbox, and also to the phone if the customer gave a number.
        let notification_preferences = NotificationPreferences { email: true, sms: self.phone.is_some() };
        let profile = Profile {
            user_id,
            email: self.email,
            name: self.name,
            phone: self.phone,
            notification_preferences,
            email_verified: false,
            phone_verified: false,
            suspended_at: None,
            version: 1,
        };
        let registered = UserRegistered {
            user_id: profile.user_id.clone(),
            email: profile.email.as_str().to_owned(),
            name: profile.name.as_str().to_owned(),
            phone: profile.phone.as_ref().map(|phone| phone.as_str().to_owned()),
            notification_preferences,
            email_verified: false,
            phone_verified: false,
        };
        let event = event(&profile.user_id, profile.version, &registered, now, correlation_id)?;
        // A role is granted by an operator only (`cargo ops users grant-admin`).
        let account = Account { user_id: profile.user_id.clone(), password_hash, roles: vec![] };
        Ok(Registered { account, profile, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(phone: Option<&str>) -> Registered {
        let user = NewUser {
            email: "anna@example.com".parse().unwrap(),
            name: "Anna".parse().unwrap(),
            phone: phone.map(|phone| phone.parse().unwrap()),
        };
        let correlation = CorrelationId::generate();
        user.register(UserId::generate(), PasswordHash::dummy(), Timestamp::UNIX_EPOCH, &correlation).unwrap()
    }

    #[test]
    fn registering_makes_a_customer_and_says_so_in_an_event_about_the_user() {
        let Registered { account, profile, event } = register(Some("+14155550123"));
        assert_eq!(account.roles, vec![]);
        assert_eq!(account.user_id, profile.user_id);
        assert_eq!((event.subject.as_str(), event.sequence), (profile.user_id.as_str(), 1));
        assert_eq!(event.metadata.user_id.as_ref(), Some(&profile.user_id));
        let payload: UserRegistered = event.decode().unwrap();
        assert_eq!(payload.email, "anna@example.com");
        assert_eq!(payload.phone.as_deref(), Some("+14155550123"));
    }

    #[test]
    fn sms_goes_only_to_users_with_a_phone_number() {
        let preferences = |phone| register(phone).profile.notification_preferences;
        assert_eq!(preferences(None), NotificationPreferences { email: true, sms: false });
        assert_eq!(preferences(Some("+14155550123")), NotificationPreferences { email: true, sms: true });
    }
}
