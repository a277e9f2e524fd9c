//! REST: the page, the dashboard, a person's data export, the audit trail, and the two health endpoints.

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
    audit::Entry,
    cursor::InvalidCursor,
    health::HealthStatus,
    http::{self, Admin, Correlation, Identity, List, OwnBody, Problem, Query, limit},
    limits::{DASHBOARD, EXPORT, HEALTH, LISTS},
};
use serde::{Deserialize, Serialize};

use crate::{
    audit::{Subject, trail},
    dashboard::Composer,
    export::export,
    page::Page,
    readiness::ReadinessProbe,
    upstream::{Caller, Upstream, UpstreamError},
};

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
        .route("/v1/dashboard", limit::before(&DASHBOARD, get(dashboard)))
        .route("/v1/users/me/export", limit::before(&EXPORT, get(export_me)))
        .route("/v1/audit", limit::before(&LISTS, get(audit)))
        .route("/health/live", get(live))
        .route("/health/ready", limit::before(&HEALTH, get(ready)))
        .with_state(storefront)
}

/// The routes as openapi.json describes them.
#[cfg(feature = "openapi")]
pub fn operations() -> Vec<lambda_kit::openapi::Operation> {
    use crate::{dashboard::Dashboard, export::Export, readiness::Readiness};
    use lambda_kit::openapi::{Operation, Who};
    use serde_json::json;

    let user_id = "usr_0123456789abcdef0123456789abcdef";
    let report = |status: &str| json!({"status": status, "contexts": {"orders": {"status": status, "checks": {"table": status}}}});
    vec![
        Operation::get(
            "/",
            "getPage",
            Who::Public,
            "The shop's page",
            "One HTML document with everything in it. It calls the other operations from the browser.",
        )
        .answers_text(200, "The page.", "text/html"),
        Operation::get(
            "/v1/dashboard",
            "getDashboard",
            Who::User,
            "What a customer wants to see first, composed of several contexts",
            "A context that does not answer in time is left out, and named in `degraded`.",
        )
        .limited(&DASHBOARD)
        .answers::<Dashboard>(
            200,
            "The dashboard; what is missing is named in `degraded`.",
            &["Cache-Control"],
            json!({
                "customer": {"user_id": user_id, "name": "Ada Lovelace"}, "recent_orders": [], "shipments": [],
                "recommendations": [], "degraded": ["shipments"]
            }),
        ),
        Operation::get(
            "/v1/users/me/export",
            "exportPersonalData",
            Who::User,
            "All that is held about the person",
            "The right of access (GDPR, article 15): the profile, and every order with its address, payment and \
             shipment. Complete, or not at all.",
        )
        .limited(&EXPORT)
        .query(
            "cursor",
            "`next_cursor` of the part before, for customers with many orders.",
            json!({"type": "string"}),
        )
        .answers::<Export>(
            200,
            "The person's data.",
            &["Cache-Control"],
            json!({
                "exported_at": "2026-11-21T12:00:00Z", "profile": {"user_id": user_id, "name": "Ada Lovelace"},
                "orders": [], "next_cursor": null
            }),
        )
        .problem(404, "The account was deleted.")
        .problem(503, "A part cannot be had now, and the rest alone would not be all."),
        Operation::get(
            "/v1/audit",
            "listAuditEntries",
            Who::Admin,
            "Who changed a product, its stock, a discount code, a refund or an account",
            "The newest change first. `before` and `after` have the fields that changed. An entry is written together \
             with its change, so the list is complete and current.",
        )
        .limited(&LISTS)
        .required_query(
            "subject",
            "A SKU, a discount code, an order's id or a user's id.",
            json!({"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}),
        )
        .paged()
        .answers::<List<Entry>>(
            200,
            "The changes; none when nothing was changed.",
            &[],
            json!({
                "items": [{
                    "id": "019ad0c0f00070008000000000000000", "at": "2026-11-21T12:00:00Z", "actor": user_id,
                    "action": "product.updated", "subject": "MUG-BLUE",
                    "before": {"price": {"amount": 2100, "currency": "USD"}},
                    "after": {"price": {"amount": 2300, "currency": "USD"}}, "correlation_id": "cor_1"
                }],
                "next_cursor": null
            }),
        )
        .problem(503, "A part cannot be read now, and the rest alone would not be all."),
        Operation::get(
            "/health/live",
            "getLiveness",
            Who::Public,
            "Whether anything answers",
            "Reaches the storefront's function, and no other context.",
        )
        .answers::<Alive>(200, "It does.", &["Cache-Control"], json!({"status": "ok"})),
        Operation::get(
            "/health/ready",
            "getReadiness",
            Who::Public,
            "How every context is",
            "Asks one function of each context for its dependencies. An answer may be two seconds old.",
        )
        .limited(&HEALTH)
        .answers::<Readiness>(200, "All are well.", &["Cache-Control"], report("ok"))
        .answers::<Readiness>(503, "Some are not.", &["Cache-Control", "Retry-After"], report("down")),
    ]
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

#[derive(Deserialize)]
struct About {
    subject: Option<String>,
}

async fn audit(
    State(storefront): State<Storefront>,
    Admin(admin): Admin,
    Correlation(correlation_id): Correlation,
    Query(About { subject }): Query<About>,
    page: http::Page,
    headers: HeaderMap,
) -> Result<Json<List<Entry>>, Problem> {
    let subject = Subject::try_from(subject.unwrap_or_default());
    let subject = subject.map_err(|invalid| Problem::field("subject", invalid.to_string()))?;
    let caller = Caller::new(admin, correlation_id, &headers);
    Ok(Json(trail(&storefront.upstream, &caller, &subject, page).await?))
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "Liveness"))]
struct Alive {
    status: HealthStatus,
}

/// Liveness only: it checks no dependency.
async fn live() -> impl IntoResponse {
    Json(Alive { status: HealthStatus::Ok })
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
