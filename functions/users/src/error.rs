//! The errors of this context, and the problems that clients get.

use axum::http::{HeaderValue, StatusCode, header};
use lambda_kit::{
    dynamodb::{Conflict, TableError},
    http::Problem,
    jwt::TokenError,
};

use crate::{
    domain::{BrokenRule, NotConfirmable, Suspended},
    messages::MessageError,
};

#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    #[error("{field} {rule}")]
    Invalid { field: &'static str, rule: BrokenRule },
    #[error("an account with this e-mail address exists")]
    EmailTaken,
    /// Unknown e-mail address or wrong password. The answer does not say which.
    #[error("wrong e-mail address or password")]
    WrongCredentials,
    /// Unknown, expired, spent, or of a session that has ended. The answer does not say which.
    #[error("the refresh token is not valid")]
    InvalidRefreshToken,
    /// The current password of a change is not the account's.
    #[error("the current password is wrong")]
    WrongPassword,
    #[error("there is no such user")]
    UnknownUser,
    #[error("the account is suspended")]
    Suspended,
    #[error("the user has no such session")]
    UnknownSession,
    /// A role is granted to the owner of an address only.
    #[error("the e-mail address of the account is not verified")]
    NotVerified,
    #[error("the address or number is verified already")]
    AlreadyVerified,
    /// Wrong, used or too old. The answer does not say which.
    #[error("the code is not valid")]
    WrongCode,
    /// Unknown, used or too old. The answer does not say which.
    #[error("the token for a new password is not valid")]
    InvalidResetToken,
    #[error("too many codes were sent")]
    TooManyCodes { seconds: i64 },
    #[error("too many wrong codes were tried")]
    TooManyTries { seconds: i64 },
    #[error("too many accounts were registered from this network")]
    TooManyRegistrations { seconds: i64 },
    #[error("too many logins have failed")]
    TooManyFailures { seconds: i64 },
    #[error("other writers keep changing the profile")]
    Contended(#[from] Conflict),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("signing a token failed")]
    Signing(#[from] TokenError),
    #[error("hashing a password failed")]
    Hashing(#[from] argon2::password_hash::Error),
    #[error("the system returned no random bytes")]
    Random(#[from] aws_lc_rs::error::Unspecified),
    #[error("an event has no JSON form")]
    Event(#[from] serde_json::Error),
}

impl From<Suspended> for UsersError {
    fn from(Suspended: Suspended) -> Self {
        Self::Suspended
    }
}

impl From<NotConfirmable> for UsersError {
    fn from(not_confirmable: NotConfirmable) -> Self {
        match not_confirmable {
            NotConfirmable::NoCode => Self::WrongCode,
            NotConfirmable::TooMany { wait } => Self::TooManyTries { seconds: wait },
        }
    }
}

impl From<UsersError> for Problem {
    fn from(error: UsersError) -> Self {
        use UsersError as E;
        match error {
            E::Invalid { field, rule } => Self::field(field, rule.to_string()),
            E::EmailTaken => {
                Self::conflict("An account with this e-mail address exists. Log in, or use another address.")
            }
            E::WrongCredentials => Self::unauthorized("E-mail address and password do not belong together."),
            E::InvalidRefreshToken => Self::unauthorized("The refresh token is not valid. Log in again."),
            E::WrongPassword => Self::field("current_password", "is not the password of this account"),
            E::UnknownUser => Self::new(StatusCode::NOT_FOUND, "There is no such user any more."),
            E::Suspended => Self::forbidden("This account is suspended. Ask the shop why."),
            E::UnknownSession => Self::not_found("There is no such session, or it has ended."),
            E::NotVerified => Self::forbidden("The e-mail address of this account is not verified."),
            E::AlreadyVerified => Self::conflict("This is verified already."),
            E::WrongCode => Self::field(
                "code",
                "must be the code that was sent last, and not too old: or ask for another one",
            ),
            E::InvalidResetToken => {
                Self::field("token", "is unknown, was used, or is too old: ask for another one")
            }
            E::TooManyFailures { seconds } => too_many("Too many logins have failed.", seconds),
            E::TooManyCodes { seconds } => too_many("Too many codes were sent within an hour.", seconds),
            E::TooManyTries { seconds } => {
                too_many("Too many codes were wrong. You may also ask for another code.", seconds)
            }
            E::TooManyRegistrations { seconds } => {
                too_many("Too many accounts were registered from your network.", seconds)
            }
            E::Table(error) => error.into(),
            E::Contended(_) => Self::unavailable(&error),
            E::Message(MessageError::Queue(_)) => Self::unavailable(&error),
            E::Message(MessageError::Form(_)) => Self::internal(&error),
            E::Signing(error) => Self::unavailable(&error),
            E::Hashing(_) | E::Random(_) | E::Event(_) => Self::internal(&error),
        }
    }
}

/// 429: `what` happened too often.
fn too_many(what: &str, seconds: i64) -> Problem {
    let detail = format!("{what} Wait as long as `Retry-After` says, and then try again.");
    // At least 1, because a client that reads 0 would try again at once.
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_status() {
        let io = || std::io::Error::other("x");
        let table: [(UsersError, u16); 23] = [
            (UsersError::Invalid { field: "email", rule: BrokenRule("x") }, 422),
            (UsersError::EmailTaken, 409),
            (UsersError::WrongCredentials, 401),
            (UsersError::InvalidRefreshToken, 401),
            (UsersError::WrongPassword, 422),
            (UsersError::UnknownUser, 404),
            (UsersError::Suspended, 403),
            (UsersError::UnknownSession, 404),
            (UsersError::NotVerified, 403),
            (UsersError::TooManyFailures { seconds: 900 }, 429),
            (UsersError::AlreadyVerified, 409),
            (UsersError::WrongCode, 422),
            (UsersError::InvalidResetToken, 422),
            (UsersError::TooManyCodes { seconds: 3600 }, 429),
            (UsersError::TooManyTries { seconds: 600 }, 429),
            (UsersError::TooManyRegistrations { seconds: 60 }, 429),
            (MessageError::Queue(io().into()).into(), 503),
            (Conflict.into(), 503),
            (TableError::call("reading", io()).into(), 503),
            (TableError::item("reading", io()).into(), 500),
            (TokenError::Key(io().into()).into(), 503),
            (argon2::password_hash::Error::OutOfMemory.into(), 500),
            (aws_lc_rs::error::Unspecified.into(), 500),
        ];
        for (error, status) in table {
            let text = error.to_string();
            assert_eq!(Problem::from(error).status().as_u16(), status, "{text}");
        }
    }
}
