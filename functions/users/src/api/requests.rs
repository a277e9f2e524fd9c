//! The bodies that clients send, and their rules.

use std::str::FromStr;

use contracts::events::Channel;
use garde::Validate;
use lambda_kit::text;
use serde::{Deserialize, Deserializer};

use crate::{
    domain::{BrokenRule, Email, Name, NewUser, Password, ProfileChange, ResetToken, Secret},
    error::UsersError,
};

#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RegisterBody {
    #[garde(custom(reads_as::<crate::domain::Email>))]
    #[cfg_attr(feature = "openapi", schemars(with = "text::Address<{ Email::MAX }>"))]
    email: String,
    #[garde(custom(good_password))]
    #[cfg_attr(feature = "openapi", schemars(with = "text::Opaque<{ Password::MIN }, { Password::MAX }>"))]
    password: Secret,
    #[garde(custom(is_name))]
    #[cfg_attr(feature = "openapi", schemars(with = "text::Line<200>"))]
    name: String,
    /// E.164. Spaces and the separators of RFC 3966 mean nothing; empty is none.
    #[serde(default, deserialize_with = "text::optional")]
    #[garde(inner(custom(reads_as::<crate::domain::Phone>)))]
    phone: Option<String>,
}

/// Not validated: an invalid e-mail address or password matches no account, and gets the answer for that.
#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[garde(allow_unvalidated)]
pub struct LoginBody {
    #[cfg_attr(feature = "openapi", schemars(with = "text::Address<{ Email::MAX }>"))]
    pub email: String,
    #[cfg_attr(feature = "openapi", schemars(with = "text::Opaque<{ Password::MIN }, { Password::MAX }>"))]
    pub password: Secret,
}

#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[garde(allow_unvalidated)]
pub struct RefreshTokenBody {
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    pub refresh_token: Secret,
}

#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct PasswordBody {
    /// Not validated: it may be older than the rules.
    #[garde(skip)]
    #[cfg_attr(feature = "openapi", schemars(with = "text::Opaque<{ Password::MIN }, { Password::MAX }>"))]
    pub current_password: Secret,
    #[garde(custom(good_password))]
    #[cfg_attr(feature = "openapi", schemars(with = "text::Opaque<{ Password::MIN }, { Password::MAX }>"))]
    new_password: Secret,
}

impl PasswordBody {
    /// Converts a validated body to the domain's type, which has the same rules.
    pub fn new_password(&self) -> Result<Password, UsersError> {
        Password::try_from(&self.new_password)
            .map_err(|rule| UsersError::Invalid { field: "new_password", rule })
    }
}

/// A JSON merge patch (RFC 7396) of the profile: what is not there stays, and `null` takes away.
#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ProfileBody {
    /// May be sent back as it was read.
    #[garde(skip)]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<text::Address<{ Email::MAX }>>"))]
    email: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(custom(is_name)))]
    #[cfg_attr(feature = "openapi", schemars(with = "text::Line<200>"))]
    name: Option<String>,
    /// E.164. Spaces and the separators of RFC 3966 mean nothing; `null` or an empty text removes it.
    // HTML forms send an empty text for an absent value.
    #[serde(default, deserialize_with = "given_or_empty")]
    #[garde(inner(inner(custom(reads_as::<crate::domain::Phone>))))]
    phone: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    notification_preferences: Option<PreferencesBody>,
}

#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[garde(allow_unvalidated)]
pub struct VerificationBody {
    pub channel: Channel,
}

/// Not validated: what does not have the form of a code is a wrong one.
#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[garde(allow_unvalidated)]
pub struct ConfirmationBody {
    pub channel: Channel,
    /// Spaces mean nothing.
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    pub code: Secret,
}

#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct EmailBody {
    #[garde(custom(reads_as::<crate::domain::Email>))]
    #[cfg_attr(feature = "openapi", schemars(with = "text::Address<{ Email::MAX }>"))]
    email: String,
}

/// Only its length is validated: no account has what is not an address, and the answer does not say who is registered.
#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ResetBody {
    #[garde(length(chars, max = Email::MAX))]
    #[cfg_attr(feature = "openapi", schemars(with = "text::Address<{ Email::MAX }>"))]
    pub email: String,
}

#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct NewPasswordBody {
    /// From the link in the e-mail.
    #[garde(skip)]
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    token: Secret,
    #[garde(custom(good_password))]
    #[cfg_attr(feature = "openapi", schemars(with = "text::Opaque<{ Password::MIN }, { Password::MAX }>"))]
    new_password: Secret,
}

impl EmailBody {
    pub fn read(&self) -> Result<Email, UsersError> {
        field("email", &self.email)
    }
}

impl NewPasswordBody {
    pub fn read(&self) -> Result<(ResetToken, Password), UsersError> {
        let token = ResetToken::parse(&self.token).ok_or(UsersError::InvalidResetToken)?;
        let password = Password::try_from(&self.new_password)
            .map_err(|rule| UsersError::Invalid { field: "new_password", rule })?;
        Ok((token, password))
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct PreferencesBody {
    #[serde(default, deserialize_with = "given")]
    email: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    sms: Option<bool>,
}

/// Tells `null`, which the value's own type may or may not take, from a field that is not there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// As [`given`], and an empty text is `null`.
fn given_or_empty<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    text::optional(value).map(Some)
}

impl ProfileBody {
    /// Converts a validated body to the domain's types, which have the same rules.
    pub fn read(&self) -> Result<ProfileChange, UsersError> {
        let preferences = self.notification_preferences;
        let phone = |phone: &Option<String>| phone.as_ref().map(|phone| field("phone", phone)).transpose();
        Ok(ProfileChange {
            name: self.name.as_ref().map(|name| field("name", name)).transpose()?,
            phone: self.phone.as_ref().map(phone).transpose()?,
            by_email: preferences.and_then(|preferences| preferences.email),
            by_sms: preferences.and_then(|preferences| preferences.sms),
        })
    }

    /// Refuses another e-mail address than the current one.
    // The address identifies the account, and an access token does not prove that its holder owns another
    // address. The current one is accepted, so that a client may send the profile back as it read it.
    pub fn check_email(&self, current: &Email) -> Result<(), UsersError> {
        match &self.email {
            Some(email) if email.parse().as_ref() != Ok(current) => Err(UsersError::Invalid {
                field: "email",
                rule: BrokenRule("is changed by POST /v1/users/me/email"),
            }),
            _ => Ok(()),
        }
    }
}

fn reads_as<T: FromStr<Err = BrokenRule>>(text: &str, _: &()) -> garde::Result {
    text.parse::<T>().map(|_| ()).map_err(|rule| garde::Error::new(rule.0))
}

fn is_name(text: &str, _: &()) -> garde::Result {
    let name = text.parse::<Name>().and_then(|name| name.check());
    name.map_err(|rule| garde::Error::new(rule.0))
}

fn good_password(text: &Secret, _: &()) -> garde::Result {
    Password::try_from(text).map(|_| ()).map_err(|rule| garde::Error::new(rule.0))
}

impl RegisterBody {
    /// Converts a validated body to the domain's types, which have the same rules.
    pub fn read(self) -> Result<(NewUser, Password), UsersError> {
        let user = NewUser {
            email: field("email", &self.email)?,
            name: field("name", &self.name)?,
            phone: self.phone.map(|phone| field("phone", &phone)).transpose()?,
        };
        let password = Password::try_from(&self.password)
            .map_err(|rule| UsersError::Invalid { field: "password", rule })?;
        Ok((user, password))
    }
}

fn field<T: FromStr<Err = BrokenRule>>(field: &'static str, text: &str) -> Result<T, UsersError> {
    text.parse().map_err(|rule| UsersError::Invalid { field, rule })
}
