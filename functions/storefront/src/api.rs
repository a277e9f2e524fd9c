//! REST: the page, the dashboard, a person's data export, and the two health endpoints.

#[cfg(feature = "openapi")]
mod describe;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use lambda_kit::{
    cursor::InvalidCursor,
    health::HealthStatus,
    http::{Correlation, Identity, OwnBody, Problem, Query},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    dashboard::Composer,
    export::export,
    page::Page,
    readiness::ReadinessProbe,
    upstream::{Caller, Upstream, UpstreamError},
};

#[cfg(feature = "openapi")]
pub use describe::operations;

/// The dependencies of the endpoints.
#[derive(Debug, Clone)]
pub struct Storefront {
    pub contexts: ReadinessProbe,
    pub page: Arc<Page>,
    pub upstream: Upstream,
    pub composer: Composer,
}

pub fn routes(storefront: Storefront) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/v1/dashboard", get(dashboard))
        .route("/v1/users/me/export", get(export_me))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(storefront)
}

async fn page(State(storefront): State<Storefront>) -> Response {
    storefront.page.response()
}

async fn dashboard(
    State(storefront): State<Storefront>,
    identity: Identity,
    Correlation(correlation_id): Correlation,
    headers: HeaderMap,
) -> impl IntoResponse {
    let caller = Caller::new(identity, correlation_id, &headers);
    Json(storefront.composer.dashboard(&caller).await)
}

#[derive(Deserialize)]
struct After {
    cursor: Option<String>,
}

async fn export_me(
    State(storefront): State<Storefront>,
    identity: Identity,
    Correlation(correlation_id): Correlation,
    Query(After { cursor }): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // The cursor becomes a part of the path of a call. These characters cannot add a parameter to it.
    let is_ours =
        |cursor: &String| cursor.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !cursor.iter().all(is_ours) {
        return Err(InvalidCursor.into());
    }
    let caller = Caller::new(identity, correlation_id, &headers);
    match export(&storefront.upstream, &caller, cursor.as_deref(), Timestamp::now()).await {
        Ok(Some(export)) => Ok(Json(export).into_response()),
        Ok(None) => Err(Problem::not_found("There is no such account any more.")),
        // Orders answers so to a cursor that it did not make.
        Err(UpstreamError::Status(StatusCode::UNPROCESSABLE_ENTITY)) if cursor.is_some() => {
            Err(InvalidCursor.into())
        }
        Err(down) => Err(Problem::unavailable(&down)),
    }
}

/// Liveness only: it checks no dependency.
async fn live() -> impl IntoResponse {
    Json(json!({"status": "ok"}))
}

/// 200 when every context is well, else 503; the body is the same report in both.
async fn ready(State(storefront): State<Storefront>) -> Response {
    let report = storefront.contexts.report(Timestamp::now()).await;
    match report.status {
        HealthStatus::Ok => Json(report).into_response(),
        HealthStatus::Down => {
            let again = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
            // `OwnBody` keeps the report. Other errors are turned into problem documents.
            (StatusCode::SERVICE_UNAVAILABLE, again, Extension(OwnBody), Json(report)).into_response()
        }
    }
}
