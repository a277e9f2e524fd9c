use std::time::Duration;

use reqwest::header::HeaderValue;

/// Of an answer. Longer than API Gateway waits for a function (4 s), so that the client sees its answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach a server: the address to connect to, and the server's own name if it differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Without a slash at its end.
    pub(crate) base: String,
    pub(crate) host: Option<HeaderValue>,
}

impl Route {
    pub fn direct(address: &str) -> Self {
        Self { base: address.trim_end_matches('/').to_owned(), host: None }
    }

    /// By way of `base`, to a server that is called `host`.
    pub fn under(base: &str, host: &str) -> Self {
        Self { host: HeaderValue::from_str(host).ok(), ..Self::direct(base) }
    }
}
