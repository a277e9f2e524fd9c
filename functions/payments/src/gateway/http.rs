//! One HTTP request to the gateway, over the connector that the AWS clients use, too.

use std::time::Duration;

use aws_smithy_runtime_api::client::{
    http::{HttpConnector, SharedHttpConnector},
    orchestrator::HttpRequest,
    result::ConnectorError,
};
use aws_smithy_types::{body::SdkBody, retry::ErrorKind};
use http_body_util::{BodyExt, Limited};
use lambda_kit::limits::{CONNECT, GATEWAY_CALL};

use super::GatewayError;

/// The version of Stripe's API.
// The shapes that are read here are those of this version. Without it, the account's default would decide.
const API_VERSION: &str = "2024-06-20";
/// The most bytes of an answer.
// Intents and refunds take a few kilobytes.
const ANSWER_LIMIT: usize = 256 * 1024;
/// How many stale connections one call may meet.
// A connection that went stale while the process was frozen may be noticed at its first use only. Each call
// is safe to repeat, by its idempotency key or by its nature. After two of them, a delayed message costs
// less.
const STALE_CONNECTIONS: u32 = 2;

/// The timeouts of the gateway.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    /// From the first byte sent to the last one read.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: CONNECT, call: GATEWAY_CALL }
    }
}

pub(super) struct Request<'a> {
    pub method: &'static str,
    pub url: String,
    pub api_key: &'a str,
    pub form: &'a [(&'a str, String)],
    pub idempotency_key: Option<&'a str>,
}

/// Sends, and returns the status and the body of whatever came back.
pub(super) async fn send(
    connector: &SharedHttpConnector,
    timeouts: Timeouts,
    request: &Request<'_>,
) -> Result<(u16, Vec<u8>), GatewayError> {
    let answer = async {
        let mut stale = 0;
        loop {
            match connector.call(built(request)?).await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    // An answer that is too long or breaks off is no answer: the call may have taken effect.
                    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
                    return Ok((status, body.map_err(GatewayError::NoAnswer)?.to_bytes().to_vec()));
                }
                Err(error) if is_stale(&error) && stale < STALE_CONNECTIONS => stale += 1,
                Err(error) => return Err(GatewayError::NoAnswer(error.into())),
            }
        }
    };
    tokio::time::timeout(timeouts.call, answer).await.map_err(|late| GatewayError::NoAnswer(late.into()))?
}

/// Whether an established connection broke. A connection that could not be established is not worth an
/// immediate retry.
fn is_stale(error: &ConnectorError) -> bool {
    let broke = error.is_io() || error.as_other() == Some(ErrorKind::TransientError);
    broke && error.connection_metadata().is_some()
}

fn built(request: &Request<'_>) -> Result<HttpRequest, GatewayError> {
    let mut built = HttpRequest::new(SdkBody::from(form(request.form)));
    // The method is a literal, the key of Stripe's alphabet and the URL our configuration: only a wrong
    // configuration comes here.
    built.set_method(request.method).map_err(|e| GatewayError::NoAnswer(e.into()))?;
    built.set_uri(request.url.as_str()).map_err(|e| GatewayError::NoAnswer(e.into()))?;
    let headers = built.headers_mut();
    let bearer = format!("Bearer {}", request.api_key);
    headers.try_insert("authorization", bearer).map_err(|_| GatewayError::Unauthorized)?;
    headers.insert("stripe-version", API_VERSION);
    if request.method == "POST" {
        headers.insert("content-type", "application/x-www-form-urlencoded");
    }
    if let Some(key) = request.idempotency_key {
        headers
            .try_insert("idempotency-key", key.to_owned())
            .map_err(|e| GatewayError::NoAnswer(e.into()))?;
    }
    Ok(built)
}

/// `application/x-www-form-urlencoded` (URL standard, section 5.2), with a space as %20.
fn form(fields: &[(&str, String)]) -> String {
    fields
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect::<Vec<_>>()
        .join("&")
}

fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded_so_that_no_value_can_add_a_field() {
        let fields =
            [("metadata[order_id]", "ord_1".to_owned()), ("payment_method", "pm_a&amount=1 é".to_owned())];
        assert_eq!(form(&fields), "metadata%5Border_id%5D=ord_1&payment_method=pm_a%26amount%3D1%20%C3%A9");
    }
}
