//! Identifiers. Each is a newtype that cannot hold a malformed value once made.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::channel::Channel;

/// A value that does not have the form of the identifier it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {rule}")]
pub struct InvalidId {
    kind: &'static str,
    rule: &'static str,
}

macro_rules! string_newtype {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $rule:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        // Values are parsed through `TryFrom`, so that no message and no stored item brings in a malformed one.
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        // This is written by hand, because the derived schema would not have the pattern.
        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "pattern": $pattern, "description": $rule})
            }
        }

        impl $name {
            /// The identifier as it is on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&value) {
                    Ok(Self(value))
                } else {
                    Err(InvalidId { kind: stringify!($name), rule: $rule })
                }
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidId;
            fn try_from(value: &str) -> Result<Self, InvalidId> {
                Self::try_from(value.to_owned())
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(value: &str) -> Result<Self, InvalidId> {
                Self::try_from(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// `prefix` followed by 32 lower-case hexadecimal digits.
fn is_prefixed_uuid(value: &str, prefix: &str) -> bool {
    value.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

string_newtype!(
    /// `ord_` and 32 hexadecimal digits, derived from the customer and the Idempotency-Key.
    OrderId,
    |v| is_prefixed_uuid(v, "ord_"),
    "must be `ord_` followed by 32 hexadecimal digits",
    "^ord_[0-9a-f]{32}$"
);

string_newtype!(
    /// `usr_` and 32 hexadecimal digits.
    UserId,
    |v| is_prefixed_uuid(v, "usr_"),
    "must be `usr_` followed by 32 hexadecimal digits",
    "^usr_[0-9a-f]{32}$"
);

string_newtype!(
    /// `ses_` and 32 hexadecimal digits: one login, and all refreshes after it.
    SessionId,
    |v| is_prefixed_uuid(v, "ses_"),
    "must be `ses_` followed by 32 hexadecimal digits",
    "^ses_[0-9a-f]{32}$"
);

string_newtype!(
    /// `evt_` and 32 hexadecimal digits.
    EventId,
    |v| is_prefixed_uuid(v, "evt_"),
    "must be `evt_` followed by 32 hexadecimal digits",
    "^evt_[0-9a-f]{32}$"
);

string_newtype!(
    /// `ntf_` and 32 hexadecimal digits: one event through one channel.
    NotificationId,
    |v| is_prefixed_uuid(v, "ntf_"),
    "must be `ntf_` followed by 32 hexadecimal digits",
    "^ntf_[0-9a-f]{32}$"
);

string_newtype!(
    /// A stock keeping unit: 1 to 64 characters of `[A-Za-z0-9._-]`, as the shop names its goods.
    Sku,
    |v| (1..=64).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')),
    "must be 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' or '-'",
    "^[A-Za-z0-9._-]{1,64}$"
);

string_newtype!(
    /// What ties together everything that one request caused: 1 to 128 characters of `[A-Za-z0-9_-]`.
    CorrelationId,
    |v| (1..=128).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')),
    "must be 1 to 128 characters of A-Z, a-z, 0-9, '_' or '-'",
    "^[A-Za-z0-9_-]{1,128}$"
);

string_newtype!(
    /// The client's name for one intended effect: 1 to 255 visible ASCII characters (Stripe's limit, too).
    IdempotencyKey,
    |v| (1..=255).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_graphic()),
    "must be 1 to 255 visible ASCII characters",
    "^[!-~]{1,255}$"
);

impl OrderId {
    /// The id of the order that this customer places with this key: always the same one.
    // The same customer and key name the same order, so that a repeated request meets its first effect.
    pub fn derive(customer: &UserId, key: &IdempotencyKey) -> Self {
        Self(format!("ord_{}", derived("order", &[customer.as_str(), key.as_str()])))
    }
}

impl UserId {
    /// A new id that sorts by the time it was made (UUID version 7).
    pub fn generate() -> Self {
        Self(format!("usr_{}", Uuid::now_v7().simple()))
    }
}

string_newtype!(
    /// `msg_` and 32 hexadecimal digits: one message to a person about their account.
    MessageId,
    |v| is_prefixed_uuid(v, "msg_"),
    "must be `msg_` followed by 32 hexadecimal digits",
    "^msg_[0-9a-f]{32}$"
);

impl MessageId {
    /// A new id that sorts by the time it was made (UUID version 7).
    pub fn generate() -> Self {
        Self(format!("msg_{}", Uuid::now_v7().simple()))
    }
}

impl SessionId {
    /// A new id that sorts by the time it was made (UUID version 7).
    pub fn generate() -> Self {
        Self(format!("ses_{}", Uuid::now_v7().simple()))
    }
}

impl EventId {
    /// The id of the `sequence`-th event of `source` about `subject`.
    // A command that is run again makes the same events, and readers recognise them by their ids.
    pub fn derive(source: &str, subject: &str, sequence: u64) -> Self {
        Self(format!("evt_{}", derived("event", &[source, subject, &sequence.to_string()])))
    }
}

impl NotificationId {
    /// The id of the notification about this event on this channel: always the same one.
    // It is the subject of all events about this notification, however often the notified event arrives.
    pub fn derive(about: &EventId, channel: Channel) -> Self {
        Self(format!("ntf_{}", derived("notification", &[about.as_str(), channel.as_str()])))
    }
}

impl CorrelationId {
    /// `cor_` and a UUID version 7, for a request that brings none.
    pub fn generate() -> Self {
        Self(format!("cor_{}", Uuid::now_v7().simple()))
    }
}

/// 32 hexadecimal digits (UUID version 8, RFC 9562) out of SHA-256 over the length-prefixed parts.
// The length in front of each part makes ("ab","c") and ("a","bc") differ. The domain keeps ids of two kinds
// apart that are made of the same parts.
fn derived(domain: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(&domain).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::new_v8(bytes).simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_customer_and_key_name_the_same_order_and_others_do_not() {
        let (anna, ben) = (UserId::generate(), UserId::generate());
        let key = IdempotencyKey::try_from("k-1").unwrap();
        let other = IdempotencyKey::try_from("k-2").unwrap();
        assert_eq!(OrderId::derive(&anna, &key), OrderId::derive(&anna, &key));
        assert_ne!(OrderId::derive(&anna, &key), OrderId::derive(&ben, &key));
        assert_ne!(OrderId::derive(&anna, &key), OrderId::derive(&anna, &other));
        assert!(OrderId::try_from(OrderId::derive(&anna, &key).to_string()).is_ok());
    }

    #[test]
    fn ids_refuse_what_does_not_have_their_form() {
        assert!(OrderId::try_from("ord_12").is_err());
        assert!(OrderId::try_from("usr_0123456789abcdef0123456789abcdef").is_err());
        assert!(Sku::try_from("").is_err());
        assert!(Sku::try_from("A B").is_err());
        assert!(Sku::try_from("MUG-BLUE.2_x").is_ok());
        assert!(CorrelationId::try_from("a b").is_err());
        assert!(IdempotencyKey::try_from("ключ").is_err());
        assert!(serde_json::from_str::<Sku>("\"a/b\"").is_err());
    }
}
