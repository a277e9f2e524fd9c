//! What the users' context has notifications send to a person about their account.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CorrelationId, MessageId, UserId, events::Channel};

/// A message to a person about their account.
///
/// It is no event, because it may hold a code or a token: events are stored, and every context can subscribe to
/// them. It goes through one queue, which keeps it for half an hour. `Debug` hides the address and the content.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountMessage {
    /// Identifies the message, so that a repeat is not sent again.
    pub message_id: MessageId,
    /// The account.
    pub user_id: UserId,
    /// Where it goes. Without it nothing is sent: a request for an unknown e-mail address sends such a message, so
    /// that it costs as much as one for a known address.
    pub recipient: Option<Recipient>,
    /// Whether the account's owner has shown that the address or number is theirs.
    pub verified: bool,
    /// What the message says.
    pub content: AccountContent,
    /// After this it is not sent any more.
    pub expires_at: Timestamp,
    /// From the request that caused it.
    pub correlation_id: CorrelationId,
}

/// Where a message goes. Personal: `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipient {
    /// An e-mail address.
    Email(String),
    /// A phone number in E.164 form.
    Sms(String),
}

/// What a message about an account says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AccountContent {
    /// The account is registered, and this code confirms its e-mail address.
    Welcome {
        /// 8 digits.
        code: String,
    },
    /// This code confirms the account's e-mail address.
    VerifyEmail {
        /// 8 digits.
        code: String,
    },
    /// This code makes the recipient the account's e-mail address.
    ChangeEmail {
        /// 8 digits.
        code: String,
    },
    /// This code confirms the account's phone number.
    VerifyPhone {
        /// 6 digits.
        code: String,
    },
    /// This token sets a new password.
    ResetPassword {
        /// Goes into a link.
        token: String,
    },
    /// To the old address: another address for the account was given, and is not confirmed yet.
    EmailChangeRequested,
    /// To the old address: the account has another address.
    EmailChanged,
    /// The password was changed.
    PasswordChanged,
}

impl AccountContent {
    /// The content's kind, for logs and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Welcome { .. } => "welcome",
            Self::VerifyEmail { .. } => "verify_email",
            Self::ChangeEmail { .. } => "change_email",
            Self::VerifyPhone { .. } => "verify_phone",
            Self::ResetPassword { .. } => "reset_password",
            Self::EmailChangeRequested => "email_change_requested",
            Self::EmailChanged => "email_changed",
            Self::PasswordChanged => "password_changed",
        }
    }
}

impl Recipient {
    /// The channel that reaches it.
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Email(_) => Channel::Email,
            Self::Sms(_) => Channel::Sms,
        }
    }

    /// The address or number.
    pub fn address(&self) -> &str {
        match self {
            Self::Email(address) | Self::Sms(address) => address,
        }
    }
}

impl fmt::Debug for AccountMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountMessage {{ message_id: {}, kind: {}, .. }}", self.message_id, self.content.kind())
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({}, ..)", self.channel().as_str())
    }
}

impl fmt::Debug for AccountContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountContent({}, ..)", self.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> AccountMessage {
        AccountMessage {
            message_id: MessageId::generate(),
            user_id: UserId::generate(),
            recipient: Some(Recipient::Email("anna@example.com".to_owned())),
            verified: false,
            content: AccountContent::Welcome { code: "12345678".to_owned() },
            expires_at: Timestamp::UNIX_EPOCH,
            correlation_id: CorrelationId::generate(),
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written_and_its_kind_is_in_it() {
        let written = serde_json::to_value(message()).unwrap();
        assert_eq!(written["content"]["kind"], message().content.kind());
        let read: AccountMessage = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), written);
    }

    #[test]
    fn neither_the_address_nor_the_code_is_shown_by_debug() {
        let shown = format!("{:?} {:?} {:?}", message(), message().recipient, message().content);
        assert!(!shown.contains("anna") && !shown.contains("1234"), "{shown}");
    }
}
