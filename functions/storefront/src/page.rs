//! The shop's page: one file that loads nothing from elsewhere, except Stripe's script where cards are taken.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::Bytes,
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::charge_rules;

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One script: each file can use the definitions of those before it.
const SCRIPT: &str = concat!(
    include_str!("page/api.js"),
    include_str!("page/account.js"),
    include_str!("page/profile.js"),
    include_str!("page/shop.js"),
    include_str!("page/checkout.js"),
    include_str!("page/saga.js"),
    include_str!("page/orders.js"),
    include_str!("page/live.js"),
    include_str!("page/main.js"),
);

/// The placeholders for the style, the script, the publishable key, and the currencies' decimals.
const STYLE_PLACE: &str = "<style></style>";
const SCRIPT_PLACE: &str = "<script></script>";
const KEY_PLACE: &str = r#"<meta name="stripe-publishable-key" content="">"#;
const DECIMALS_PLACE: &str = r#"<meta name="currency-decimals" content="">"#;

/// The part of the content security policy that is always the same.
// Only our own script and style run, found by their hashes. The browser itself sends no form to a server, and
// no other site may frame the page.
const POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src data:";

/// The page and the headers that it is sent with.
#[derive(Debug, Clone)]
pub struct Page {
    html: Bytes,
    policy: HeaderValue,
}

/// Stripe's publishable key, `pk_…`, which browsers may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishableKey(String);

#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("the page has no single {0}")]
    Place(&'static str),
    #[error("the WebSocket's address {0:?} is no ws:// or wss:// URL")]
    WebSocketUrl(String),
    /// The value is not repeated: it may be a secret key that was put in the wrong place.
    #[error(
        "a publishable key of Stripe begins with pk_test_ or pk_live_; never give a secret key (sk_…) to a browser"
    )]
    PublishableKey,
    #[error("the content security policy is no header value")]
    Policy(#[from] header::InvalidHeaderValue),
}

impl Page {
    /// Renders the page for a WebSocket at `websocket_url`. With a key it takes cards through Stripe's
    /// script, without one it offers test cards.
    ///
    /// # Errors
    /// When `websocket_url` is not a WebSocket URL.
    pub fn new(websocket_url: &str, key: Option<&PublishableKey>) -> Result<Self, PageError> {
        let html = put(HTML, STYLE_PLACE, &format!("<style>{STYLE}</style>"))?;
        let html = put(&html, SCRIPT_PLACE, &format!("<script>{SCRIPT}</script>"))?;
        let key_of = key.map_or("", |key| &key.0);
        let html =
            put(&html, KEY_PLACE, &KEY_PLACE.replace(r#"content="""#, &format!(r#"content="{key_of}""#)))?;
        let decimals = DECIMALS_PLACE.replace(r#"content="""#, &format!(r#"content="{}""#, decimals()));
        let html = put(&html, DECIMALS_PLACE, &decimals)?;
        let policy = policy(origin(websocket_url)?, key.is_some());
        Ok(Self { html: html.into(), policy: HeaderValue::try_from(policy)? })
    }

    pub fn response(&self) -> Response {
        let headers: [(HeaderName, HeaderValue); 2] = [
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            // Browsers ask each time, so a new version of the shop is seen at the next visit.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, Html(self.html.clone())).into_response()
    }
}

/// The page may connect to this API and the WebSocket. If it takes cards, it may also connect to the addresses of
/// Stripe.js (<https://docs.stripe.com/security/guide#content-security-policy>, without the address lookup, which is
/// not used).
fn policy(websocket: &str, takes_cards: bool) -> String {
    let (connect, script, frame) = if takes_cards {
        (
            " https://api.stripe.com",
            " https://js.stripe.com https://*.js.stripe.com",
            "; frame-src https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com",
        )
    } else {
        ("", "", "")
    };
    let mut policy = POLICY.to_owned();
    // Writing to a string cannot fail.
    let _ = write!(policy, "; connect-src 'self' {websocket}{connect}");
    let _ = write!(policy, "; script-src '{}'{script}; style-src '{}'{frame}", hash(SCRIPT), hash(STYLE));
    policy
}

/// Currencies whose amounts do not have two decimals: `BHD:3 BIF:0 …`.
// A browser's own table (CLDR) is for everyday use. It differs from ISO 4217, which we use.
fn decimals() -> String {
    let others = charge_rules().iter().filter(|rule| rule.iso_exponent != 2);
    others.map(|rule| format!("{}:{}", rule.currency.code(), rule.iso_exponent)).collect::<Vec<_>>().join(" ")
}

/// A source as a content security policy names it (CSP level 3, section 2.3.1).
fn hash(source: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, source.as_bytes())))
}

/// `html` with `what` in the one place for it.
fn put(html: &str, place: &'static str, what: &str) -> Result<String, PageError> {
    match html.split_once(place) {
        Some((before, after)) if !after.contains(place) => Ok(format!("{before}{what}{after}")),
        _ => Err(PageError::Place(place)),
    }
}

impl PublishableKey {
    /// # Errors
    /// When it is no publishable key.
    pub fn parse(text: &str) -> Result<Self, PageError> {
        let id = text.strip_prefix("pk_test_").or_else(|| text.strip_prefix("pk_live_")).unwrap_or_default();
        if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PageError::PublishableKey)
        }
    }
}

/// Scheme, host and port.
fn origin(url: &str) -> Result<&str, PageError> {
    let start =
        ["ws://", "wss://"].iter().find(|scheme| url.starts_with(**scheme)).map(|scheme| scheme.len());
    let start = start.ok_or_else(|| PageError::WebSocketUrl(url.to_owned()))?;
    let end = url[start..].find('/').map_or(url.len(), |slash| start + slash);
    let origin = &url[..end];
    // A policy is a list with separators. An address that holds one of them would add another rule.
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if start < end && origin[start..].chars().all(is_host) {
        Ok(origin)
    } else {
        Err(PageError::WebSocketUrl(url.to_owned()))
    }
}

#[cfg(test)]
mod tests;
