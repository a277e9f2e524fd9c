//! Failed logins: how they are counted, and when logins are refused.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::Email;

/// In seconds. Failures are forgotten after 15 minutes without a new one. The time counts from the last
/// failure: counted from the first, twice as many guesses would fit into a quarter of an hour that overlaps
/// two windows.
pub const WINDOW: i64 = 15 * 60;

/// The number of failures from which logins are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureLimits {
    pub per_email: u32,
    pub per_address: u32,
}

impl Default for FailureLimits {
    fn default() -> Self {
        // One address may be that of a whole office or mobile network. A hundred is far above what its people mistype in
        // a quarter of an hour, and far below what trying one password on many accounts takes.
        Self { per_email: 5, per_address: 100 }
    }
}

/// The key that failures are counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureSource {
    /// Whether or not it is registered.
    Email(Email),
    /// The client's IP address.
    Address(IpAddr),
}

impl FailureSource {
    /// A hash instead of the value: an address that was typed may belong to a person who is no customer, or
    /// no longer.
    pub fn digest(&self) -> String {
        let named = match self {
            Self::Email(email) => format!("email {}", email.as_str()),
            Self::Address(address) => format!("address {address}"),
        };
        URL_SAFE_NO_PAD.encode(digest(&SHA256, named.as_bytes()))
    }
}

/// The failures of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    pub failures: u32,
    /// Unix seconds. The failures are forgotten then.
    pub expires_at: i64,
}

impl Failures {
    /// The seconds until the next login is allowed, once there are `limit` failures.
    pub fn wait(&self, limit: u32, now: i64) -> Option<i64> {
        (self.failures >= limit && self.expires_at > now).then(|| self.expires_at - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_failure_blocks_logins_for_a_quarter_of_an_hour() {
        let failures = |failures| Failures { failures, expires_at: 1000 };
        assert_eq!(failures(4).wait(5, 100), None);
        assert_eq!(failures(5).wait(5, 100), Some(900));
        assert_eq!(failures(6).wait(5, 999), Some(1));
        assert_eq!(failures(6).wait(5, 1000), None);
        assert_eq!(Failures::default().wait(5, 0), None);
    }

    #[test]
    fn a_source_is_named_by_a_digest_of_its_own() {
        let email = |text: &str| FailureSource::Email(text.parse().unwrap()).digest();
        let address = FailureSource::Address("192.0.2.1".parse().unwrap()).digest();
        assert_eq!(email("Anna@example.com"), email("anna@example.com"));
        assert_ne!(email("anna@example.com"), email("ben@example.com"));
        assert_eq!((address.len(), address.contains("192")), (43, false));
    }
}
