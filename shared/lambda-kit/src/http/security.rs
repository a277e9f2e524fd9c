//! Headers of every response that restrict what browsers do with it (OWASP ASVS 5.0, V3.4).

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

const HEADERS: [(HeaderName, HeaderValue); 7] = [
    // Two years and all subdomains, as browsers' preload lists require. Browsers ignore it on plain HTTP.
    (header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000; includeSubDomains")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // A response of the API is no document. The page sends a policy of its own.
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    ),
    // For browsers and scanners that do not know `frame-ancestors`.
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
    // Most responses are about one person. A handler whose response may be kept says so.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Adds the headers that the handler has not set.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use axum::{Router, body::Body, http::StatusCode, routing::get};
    use tower::ServiceExt;

    use super::*;
    use crate::{http::app, testing::Tokens};

    async fn response(path: &str) -> Response {
        let kept = ([(header::CACHE_CONTROL, "public, max-age=5")], "kept");
        let routes = Router::new().route("/personal", get("a name")).route("/kept", get(kept));
        let request = Request::get(path).body(Body::empty()).unwrap();
        app(routes, Tokens::new().verifier()).oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn every_response_has_them_and_errors_have_them_too() {
        for (path, status) in [("/personal", StatusCode::OK), ("/nowhere", StatusCode::NOT_FOUND)] {
            let response = response(path).await;
            assert_eq!(response.status(), status);
            for (name, value) in HEADERS {
                assert_eq!(response.headers()[&name], value, "{path} {name}");
            }
        }
    }

    #[tokio::test]
    async fn a_response_that_may_be_kept_says_so_itself() {
        assert_eq!(response("/kept").await.headers()[header::CACHE_CONTROL], "public, max-age=5");
    }
}
