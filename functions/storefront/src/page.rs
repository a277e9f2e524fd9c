//! The shop's page: one file that asks nobody but this API for anything.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};

const HTML: &str = include_str!("page.html");

/// The page and the headers that it is sent with.
#[derive(Debug, Clone)]
pub struct Page {
    policy: HeaderValue,
}

#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("the page has no <{0}> element")]
    Missing(&'static str),
    #[error("the WebSocket's address {0:?} is no ws:// or wss:// URL")]
    WebSocketUrl(String),
    #[error("the content security policy is no header value")]
    Policy(#[from] header::InvalidHeaderValue),
}

impl Page {
    /// The page of a shop whose WebSocket is at `websocket_url`.
    ///
    /// # Errors
    /// When that is no WebSocket's address.
    pub fn new(websocket_url: &str) -> Result<Self, PageError> {
        // Nothing but our own script and style runs, found by their hashes; it talks to this API and the WebSocket; no
        // form is ever sent to a server by the browser itself; no other site may frame the page.
        let mut policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                          img-src data:; connect-src 'self'"
            .to_owned();
        let (script, style) = (hash_of("script")?, hash_of("style")?);
        // Writing to a string cannot fail.
        let _ = write!(policy, " {}; script-src '{script}'; style-src '{style}'", origin(websocket_url)?);
        Ok(Self { policy: HeaderValue::try_from(policy)? })
    }

    pub fn response(&self) -> Response {
        let headers: [(HeaderName, HeaderValue); 4] = [
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            // A new version of the shop is seen at the next visit.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, Html(HTML)).into_response()
    }
}

/// The source of the page's one `element`, as a content security policy names it (CSP level 3, section 2.3.1).
fn hash_of(element: &'static str) -> Result<String, PageError> {
    let content = HTML
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{element}>")))
        .map(|(content, _)| content)
        .ok_or(PageError::Missing(element))?;
    Ok(format!("sha256-{}", STANDARD.encode(digest(&SHA256, content.as_bytes()))))
}

/// Scheme, host and port.
fn origin(url: &str) -> Result<&str, PageError> {
    let start =
        ["ws://", "wss://"].iter().find(|scheme| url.starts_with(**scheme)).map(|scheme| scheme.len());
    let start = start.ok_or_else(|| PageError::WebSocketUrl(url.to_owned()))?;
    let end = url[start..].find('/').map_or(url.len(), |slash| start + slash);
    let origin = &url[..end];
    // A policy is a list with separators: an address that holds one would be another policy.
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if start < end && origin[start..].chars().all(is_host) {
        Ok(origin)
    } else {
        Err(PageError::WebSocketUrl(url.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_websockets_origin_goes_into_the_policy_and_nothing_else_does() {
        assert_eq!(
            origin("wss://x1.execute-api.eu-central-1.amazonaws.com/live").unwrap(),
            "wss://x1.execute-api.eu-central-1.amazonaws.com"
        );
        assert_eq!(origin("ws://127.0.0.1:4566/_aws/execute-api/x/live").unwrap(), "ws://127.0.0.1:4566");
        assert_eq!(origin("ws://host").unwrap(), "ws://host");
        for wrong in ["", "ws://", "ws:///x", "https://host/", "ws://host; script-src *", "ws://a b/"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_page_has_one_script_and_one_style_and_loads_nothing() {
        for element in ["<script", "<style"] {
            assert_eq!(HTML.matches(element).count(), 1, "{element}");
        }
        for foreign in
            ["src=", "@import", "url(", "https://", "style=\"", "onclick", "<link rel=\"stylesheet\""]
        {
            assert!(!HTML.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_page_puts_text_into_the_document_as_text_only_and_asks_by_relative_addresses() {
        for unsafe_use in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "'/v1",
            "\"/v1",
            "`/v1",
        ] {
            assert!(!HTML.contains(unsafe_use), "{unsafe_use}");
        }
    }
}
