//! Attempts to log in: how failed ones are counted, and when logins are refused.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::Email;

/// In seconds. Failures are forgotten after 15 minutes.
pub const WINDOW: i64 = 15 * 60;

/// How failures are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureSource {
    /// For an e-mail address, whether or not it is registered, from one network. `None` when there is no gateway
    /// that knows the client's address.
    EmailInNetwork(Email, Option<IpAddr>),
    /// For an e-mail address from all networks.
    Email(Email),
}

impl FailureSource {
    /// The number of failures from which logins are refused.
    pub fn limit(&self) -> u32 {
        match self {
            // An owner who mistypes, and no attacker, stops before the fifth.
            Self::EmailInNetwork(..) => 5,
            // An attacker who has many networks. It is far above five, so that a stranger cannot lock an owner out with
            // the few guesses that one network has.
            Self::Email(_) => 50,
        }
    }

    /// Whether each failure begins the 15 minutes anew.
    // Counted from the first failure, twice as many guesses fit into a quarter of an hour that overlaps two
    // windows. But over all networks a stranger could then keep the count alive for days with a guess every 14
    // minutes, and reach the limit at last.
    pub fn extends_window(&self) -> bool {
        matches!(self, Self::EmailInNetwork(..))
    }

    /// A hash that stands for the source, for its key and for logs.
    // The value itself is not stored: an address that was typed may belong to a person who is no customer, or
    // no longer.
    pub fn digest(&self) -> String {
        let named = match self {
            Self::EmailInNetwork(email, Some(network)) => {
                format!("email {} network {network}", email.as_str())
            }
            Self::EmailInNetwork(email, None) => format!("email {} network unknown", email.as_str()),
            Self::Email(email) => format!("email {}", email.as_str()),
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
    /// The seconds until the next login is allowed, once there are as many failures as `source` may have.
    pub fn wait(&self, source: &FailureSource, now: i64) -> Option<i64> {
        let wait = self.expires_at - now;
        // The clock of the instance that began the window may be a second ahead of this one's.
        (self.failures >= source.limit() && wait > 0).then(|| wait.min(WINDOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(email: &str) -> FailureSource {
        FailureSource::EmailInNetwork(email.parse().unwrap(), Some("192.0.2.1".parse().unwrap()))
    }

    #[test]
    fn the_fifth_failure_in_a_network_blocks_logins_for_a_quarter_of_an_hour() {
        let wait =
            |failures, now| Failures { failures, expires_at: 1000 }.wait(&home("anna@example.com"), now);
        assert_eq!(wait(4, 100), None);
        assert_eq!(wait(5, 100), Some(900));
        assert_eq!(wait(6, 999), Some(1));
        assert_eq!(wait(5, 99), Some(900), "by a clock that is behind");
        assert_eq!(wait(6, 1000), None);
        assert_eq!(Failures::default().wait(&home("anna@example.com"), 0), None);
    }

    #[test]
    fn over_all_networks_it_is_the_fiftieth() {
        let everywhere = FailureSource::Email("anna@example.com".parse().unwrap());
        let wait = |failures| Failures { failures, expires_at: 1000 }.wait(&everywhere, 100);
        assert_eq!((wait(49), wait(50)), (None, Some(900)));
    }

    #[test]
    fn a_source_is_named_by_a_digest_of_its_own() {
        let email = |text: &str| FailureSource::Email(text.parse().unwrap()).digest();
        let at_home = home("anna@example.com").digest();
        assert_eq!(email("Anna@example.com"), email("anna@example.com"));
        assert_ne!(email("anna@example.com"), email("ben@example.com"));
        assert_ne!(email("anna@example.com"), at_home);
        assert_ne!(home("ben@example.com").digest(), at_home);
        assert_eq!((at_home.len(), at_home.contains("192")), (43, false));
    }
}
