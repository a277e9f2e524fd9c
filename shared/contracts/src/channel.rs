//! How a customer is notified.

use serde::{Deserialize, Serialize};

/// What a notification is sent by: to the address or to the phone number of the account.
#[expect(missing_docs, reason = "a comment on a variant would change the published schemas")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Email,
    Sms,
}

impl Channel {
    /// The channel as it is in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }
}
