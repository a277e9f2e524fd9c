//! REST functions: axum over API Gateway, with what all endpoints share: token check, correlation id,
//! problems (RFC 9457), rate limits.

mod body;
mod client;
pub mod deprecation;
mod etag;
mod idempotency;
mod identity;
#[cfg(feature = "limiter")]
pub mod limit;
mod page;
mod path;
mod problem;
mod query;
mod request_id;
mod security;

use std::{sync::Arc, time::Instant};

use axum::{
    Extension, Router,
    extract::{MatchedPath, Request},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use lambda_http::{Adapter, LambdaEvent, RequestExt, request::LambdaRequest};
use lambda_runtime::Diagnostic;
use tower::ServiceExt;

use crate::{
    MainResult,
    health::Check,
    invoke,
    jwt::Verifier,
    telemetry::{self, Outcome},
    trace::{self, Span},
};

pub use body::{BODY_LIMIT, Body};
pub use client::ClientAddress;
pub use deprecation::Deprecation;
pub use etag::EntityTags;
pub use idempotency::{Idempotency, replayed};
pub use identity::{Admin, Fulfillment, Identity, RecentLogin, Support};
pub use page::{List, Page};
pub use problem::{FieldError, OwnBody, Problem, ProblemType};
pub use query::Query;
pub use request_id::Correlation;

/// Serves `routes` until the process ends. Tokens are checked by `verifier`.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run(checks: Vec<Check>, routes: Router, verifier: Arc<Verifier>) -> MainResult {
    let app = app(routes, verifier);
    invoke::run(checks, move |payload, context| {
        let app = app.clone();
        async move {
            let mut request: LambdaRequest = serde_json::from_str(payload.get()).map_err(|error| {
                Diagnostic { error_type: "MalformedRequest".to_owned(), error_message: error.to_string() }
            })?;
            path::escape(&mut request);
            let service = app.map_request(|request: lambda_http::Request| {
                let (gateway_request_id, client) = (gateway_request_id(&request), client_address(&request));
                let mut request = request.map(axum::body::Body::new);
                request.extensions_mut().insert(gateway_request_id);
                request.extensions_mut().insert(client);
                request
            });
            Adapter::from(service)
                .oneshot(LambdaEvent::new(request, context))
                .await
                .map_err(|never: std::convert::Infallible| match never {})
        }
    })
    .await
}

fn gateway_request_id(request: &lambda_http::Request) -> request_id::GatewayRequestId {
    let id = match request.request_context_ref() {
        Some(lambda_http::request::RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    request_id::GatewayRequestId(id)
}

fn client_address(request: &lambda_http::Request) -> ClientAddress {
    ClientAddress(match request.request_context_ref() {
        Some(lambda_http::request::RequestContext::ApiGatewayV2(context)) => {
            context.http.source_ip.as_ref().and_then(|address| address.parse().ok())
        }
        _ => None,
    })
}

/// The routes with everything around them: security headers, correlation id, problems, token check, body limit,
/// logs, metrics.
pub fn app(routes: Router, verifier: Arc<Verifier>) -> Router {
    routes
        .fallback(async || Problem::not_found("No such route."))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "No such method on this route.")
        })
        // The last layer is the outermost one. So the correlation id exists before a problem is rendered, and
        // problems get the security headers, too.
        .layer(middleware::from_fn(observe))
        .layer(Extension(verifier))
        .layer(middleware::from_fn(problem::render))
        .layer(middleware::from_fn(request_id::layer))
        .layer(middleware::from_fn(security::layer))
}

/// The route and the operation of a request that no route takes.
const UNMATCHED: &str = "unmatched";

/// One metric for each request, and one log line for each that changes something or is refused.
async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    // The metric has the route and not the path: each id in a path would make a metric of its own.
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let span = span_of(&request);
    let response = trace::in_span(&format!("{method} {route}"), span, next.run(request), |response| {
        response.status().is_server_error()
    })
    .await;
    let status = response.status();
    let outcome = match status {
        s if s.is_server_error() => Outcome::Error,
        s if s.is_client_error() => Outcome::Refused,
        _ => Outcome::Ok,
    };
    telemetry::record(&operation(&method, &route, status), outcome, started.elapsed());
    // Most requests read. API Gateway's access log has them too, and each line is paid for.
    if method.is_safe() && outcome == Outcome::Ok {
        tracing::debug!(%method, route, status = status.as_u16(), "request served");
    } else {
        tracing::info!(%method, route, status = status.as_u16(), "request served");
    }
    response
}

/// The span of a request whose trace is sampled; its log lines have the trace's id.
fn span_of(request: &Request) -> Option<Span> {
    let traceparent = request.headers().get(trace::TRACEPARENT).and_then(|header| header.to_str().ok());
    let span = Span::of_request(traceparent);
    trace::log(span);
    span
}

/// The name that a request is counted under.
// A method that the route does not have is not in it, nor is HEAD, which every route with GET has. Anyone may send them,
// and each name is a paid metric.
fn operation(method: &Method, route: &str, status: StatusCode) -> String {
    if route == UNMATCHED || status == StatusCode::METHOD_NOT_ALLOWED {
        UNMATCHED.to_owned()
    } else {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        format!("{method} {route}")
    }
}

/// `ETag` of a resource's version: a strong tag, the number in quotes.
pub fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// Answers 304 when the client already has this version, else the body with its `ETag`.
pub fn conditional<B: IntoResponse>(request_headers: &http::HeaderMap, etag: &str, body: B) -> Response {
    let known = EntityTags::read(request_headers, &header::IF_NONE_MATCH);
    let known = known.is_some_and(|tags| tags.has_weakly(etag));
    let tag = [(header::ETAG, etag.to_owned())];
    if known { (StatusCode::NOT_MODIFIED, tag).into_response() } else { (tag, body).into_response() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_can_choose_freely_makes_no_metric() {
        let named = |method: Method, route, status| operation(&method, route, status);
        let ok = StatusCode::OK;
        assert_eq!(named(Method::GET, "/v1/orders/{id}", ok), "GET /v1/orders/{id}");
        assert_eq!(named(Method::HEAD, "/v1/orders/{id}", ok), "GET /v1/orders/{id}");
        assert_eq!(named(Method::PATCH, "/v1/orders/{id}", StatusCode::METHOD_NOT_ALLOWED), UNMATCHED);
        assert_eq!(named(Method::DELETE, UNMATCHED, StatusCode::NOT_FOUND), UNMATCHED);
    }
}
