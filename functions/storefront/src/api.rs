//! REST: the page and the two health endpoints (DESIGN.md section 3).

#[cfg(feature = "openapi")]
mod describe;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use lambda_kit::{health::Status, http::OwnBody};
use serde_json::json;

use crate::{page::Page, readiness::Contexts};

#[cfg(feature = "openapi")]
pub use describe::operations;

/// Health is of this instant.
const NO_STORE: [(HeaderName, HeaderValue); 1] =
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// What the endpoints work with.
#[derive(Debug, Clone)]
pub struct Storefront {
    pub contexts: Contexts,
    pub page: Arc<Page>,
}

pub fn routes(storefront: Storefront) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(storefront)
}

async fn page(State(storefront): State<Storefront>) -> Response {
    storefront.page.response()
}

/// That this function answers is all that it says.
async fn live() -> impl IntoResponse {
    (NO_STORE, Json(json!({"status": "ok"})))
}

/// 200 when every context is well, else 503; the body is the same report in both.
async fn ready(State(storefront): State<Storefront>) -> Response {
    let report = storefront.contexts.ask().await;
    match report.status {
        Status::Ok => (NO_STORE, Json(report)).into_response(),
        Status::Down => {
            let again = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
            (StatusCode::SERVICE_UNAVAILABLE, NO_STORE, again, Extension(OwnBody), Json(report))
                .into_response()
        }
    }
}
