use std::time::Duration;

use reqwest::StatusCode;

/// Why a call to the shop failed. Each message names the call and the response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{call} got no answer: {}", causes(source))]
    NoAnswer { call: String, source: reqwest::Error },
    #[error("{call} was answered {status}: {said}")]
    Refused { call: String, status: StatusCode, said: String },
    #[error("{call} was answered with what this client cannot read ({source}): {body}")]
    Unreadable { call: String, body: String, source: serde_json::Error },
    #[error("the WebSocket was refused with {status}{}", why_not_let_in(*status))]
    NotLetIn { status: StatusCode },
    #[error("the WebSocket does not work: {reason}")]
    Broken { reason: String },
    #[error("no frame came on the WebSocket within {} s", within.as_secs())]
    Silent { within: Duration },
    /// Everything answers, and does not fit together.
    #[error("{reason}")]
    Unfit { reason: String },
    #[error("{what}: not within {} s; last seen: {seen}", within.as_secs())]
    TooLate { what: String, within: Duration, seen: String },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The status that a call was refused with.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } | Self::NotLetIn { status } => Some(*status),
            _ => None,
        }
    }

    /// Whether the request may have been done all the same.
    pub fn is_uncertain(&self) -> bool {
        matches!(self, Self::NoAnswer { .. }) || self.status().is_some_and(is_uncertain)
    }
}

/// Whether a gateway says that it got no answer, or not in time.
pub fn is_uncertain(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
}

/// What the server means with the status of a refused WebSocket.
fn why_not_let_in(status: StatusCode) -> &'static str {
    match status {
        StatusCode::TOO_MANY_REQUESTS => ": the user has as many connections as a user may have",
        StatusCode::FORBIDDEN => {
            ": the ticket was used or has expired, its session has ended, or the page's origin is not allowed"
        }
        _ => "",
    }
}

/// The error with all its causes: reqwest's own message leaves out why.
pub fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
