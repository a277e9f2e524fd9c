//! The bodies that clients send, and their rules.

use std::str::FromStr;

use garde::Validate;
use serde::Deserialize;

use crate::{
    domain::{Broken, NewUser, Password, Secret},
    error::UsersError,
};

#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RegisterBody {
    #[garde(custom(reads_as::<crate::domain::Email>))]
    email: String,
    #[garde(custom(good_password))]
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    password: Secret,
    #[garde(custom(reads_as::<crate::domain::Name>))]
    name: String,
    #[garde(inner(custom(reads_as::<crate::domain::Phone>)))]
    phone: Option<String>,
}

/// Not checked: what cannot be an e-mail address or password of ours belongs to nobody, which is what to answer.
#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[garde(allow_unvalidated)]
pub struct LoginBody {
    pub email: String,
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    pub password: Secret,
}

#[derive(Debug, Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[garde(allow_unvalidated)]
pub struct RefreshTokenBody {
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    pub refresh_token: Secret,
}

fn reads_as<T: FromStr<Err = Broken>>(text: &str, _: &()) -> garde::Result {
    text.parse::<T>().map(|_| ()).map_err(|rule| garde::Error::new(rule.0))
}

fn good_password(text: &Secret, _: &()) -> garde::Result {
    Password::try_from(text).map(|_| ()).map_err(|rule| garde::Error::new(rule.0))
}

impl RegisterBody {
    /// The domain's types of a body whose rules were checked: the checks are the same.
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

fn field<T: FromStr<Err = Broken>>(field: &'static str, text: &str) -> Result<T, UsersError> {
    text.parse().map_err(|rule| UsersError::Invalid { field, rule })
}
