//! The correlation id: taken from the request or made, returned, logged, and handed on.

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderName, HeaderValue, request::Parts},
    middleware::Next,
    response::Response,
};
use contracts::CorrelationId;

const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const REQUEST: HeaderName = HeaderName::from_static("x-request-id");

/// The gateway's id of this request, where there is a gateway.
#[derive(Debug, Clone)]
pub(super) struct GatewayRequestId(pub Option<String>);

/// The correlation id of this request.
#[derive(Debug, Clone)]
pub struct Correlation(pub CorrelationId);

impl<S: Sync> FromRequestParts<S> for Correlation {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(CorrelationId::generate())))
    }
}

pub(super) async fn layer(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(CORRELATION).and_then(|value| value.to_str().ok());
    let id =
        given.and_then(|value| CorrelationId::try_from(value).ok()).unwrap_or_else(CorrelationId::generate);
    tracing::Span::current().record("correlation_id", id.as_str());
    let gateway_id = request.extensions().get::<GatewayRequestId>().and_then(|id| id.0.clone());
    request.extensions_mut().insert(Correlation(id.clone()));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [(CORRELATION, Some(id.as_str())), (REQUEST, gateway_id.as_deref())] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}
