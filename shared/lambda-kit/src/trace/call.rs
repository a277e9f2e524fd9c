//! The calls of a function: of its store, of other services of AWS, of the payment gateway.

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use http::Uri;
use serde_json::json;

use super::{Running, XRAY_HEADER, current};

/// Begins the span of a call within the current span, and hands the trace on to AWS. Other services get none.
pub(crate) fn call(request: &mut HttpRequest) -> Option<Running> {
    let span = current()?.subsegment();
    let Some(service) = service(request) else {
        let uri: Uri = request.uri().parse().ok()?;
        // Without the query, which may hold what must not be stored.
        let url = format!("{}://{}{}", uri.scheme_str()?, uri.authority()?, uri.path());
        let request = json!({ "method": request.method(), "url": url });
        let fields = json!({ "namespace": "remote", "http": { "request": request } });
        return Some(Running::begin(span, uri.host()?, fields));
    };
    let fields = json!({ "namespace": "aws", "aws": { "operation": operation(request) } });
    let running = Running::begin(span, &service, fields);
    // Lambda counts by the lineage how often functions have called each other.
    let lineage = request.headers().get(XRAY_HEADER).and_then(|header| header.split_once(";Lineage="));
    let lineage = lineage.map(|(_, lineage)| format!(";Lineage={lineage}")).unwrap_or_default();
    // The signature does not cover this header.
    request.headers_mut().insert(XRAY_HEADER, span.xray_header() + &lineage);
    Some(running)
}

/// The service of AWS that a request is signed for: `dynamodb`, `states`, … (IAM User Guide, "Elements of an AWS API
/// request signature").
fn service(request: &HttpRequest) -> Option<String> {
    let (_, credential) = request.headers().get("authorization")?.split_once("Credential=")?;
    credential.split('/').nth(3).map(str::to_owned)
}

/// The operation, which each protocol of AWS names elsewhere, or the HTTP method.
pub(super) fn operation(request: &HttpRequest) -> String {
    let target = request.headers().get("x-amz-target").and_then(|target| target.rsplit('.').next());
    let body = request.body().bytes().and_then(|body| body.strip_prefix(b"Action="));
    let action = body.and_then(|body| str::from_utf8(body).ok()?.split('&').next());
    target.or(action).unwrap_or(request.method()).to_owned()
}
