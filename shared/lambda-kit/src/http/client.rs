//! The client's address, as the gateway saw it.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{extract::FromRequestParts, http::request::Parts};

/// The source address of the request at the gateway, if there is one. Headers are ignored.
// Any client can send headers such as `X-Forwarded-For`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

impl ClientAddress {
    /// The network that limits count for: the address itself in IPv4, and its /64 in IPv6.
    // A household has at least a whole /64 (RFC 6177), so a limit for one IPv6 address would be none.
    pub fn network(self) -> Option<IpAddr> {
        Some(match self.0? {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    /// A hash that stands for the client's network where addresses must not be kept: in logs and in the keys of items.
    pub fn digest(self) -> Option<String> {
        let hash = digest(&SHA256, self.network()?.to_string().as_bytes());
        // Half of it: no two networks have the same by chance.
        Some(hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(Self(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_stands_for_a_network_and_does_not_contain_it() {
        let digest = |address: &str| ClientAddress(Some(address.parse().unwrap())).digest().unwrap();
        assert_ne!(digest("192.0.2.1"), digest("192.0.2.2"));
        assert_eq!(digest("2001:db8:1:2::1"), digest("2001:db8:1:2:ffff::9"));
        assert!(!digest("192.0.2.1").contains("192"));
        assert_eq!(ClientAddress(None).digest(), None);
    }

    #[test]
    fn a_household_is_one_network() {
        let network = |address: &str| ClientAddress(Some(address.parse().unwrap())).network();
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(ClientAddress(None).network(), None);
    }
}
