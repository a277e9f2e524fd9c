//! Routes that will be removed: the headers `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and `Link` to what replaces the
//! route.
//!
//! A route names its deprecation:
//! `.route("/v1/reports/sales", deprecation::of(&SALES_V1, limit::before(&LISTS, get(sales))))`.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::MethodRouter,
};
use jiff::{civil::Date, tz::TimeZone};

/// The deprecation of a route.
#[derive(Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// The day (UTC) since which the route is deprecated.
    pub since: Date,
    /// The day (UTC) from which the route may be gone.
    pub sunset: Date,
    /// The path of the route that replaces it.
    pub successor: &'static str,
}

/// Adds the headers to all responses of a route.
pub fn of<S: Clone + Send + Sync + 'static>(
    deprecation: &'static Deprecation,
    methods: MethodRouter<S>,
) -> MethodRouter<S> {
    methods.route_layer(from_fn_with_state(deprecation, announce))
}

async fn announce(State(deprecation): State<&'static Deprecation>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().extend(deprecation.headers());
    response
}

impl Deprecation {
    fn headers(&self) -> HeaderMap {
        let start_of = |day: Date| day.to_zoned(TimeZone::UTC).map(|start| start.timestamp());
        // A date that has no timestamp is far outside of what a deprecation has.
        let since = start_of(self.since).map(|since| format!("@{}", since.as_second())).ok();
        // IMF-fixdate (RFC 9110 section 5.6.7).
        let sunset =
            start_of(self.sunset).map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok();
        let link = Some(format!("<{}>; rel=\"successor-version\"", self.successor));
        let named = [("deprecation", since), ("sunset", sunset), (header::LINK.as_str(), link)];
        let values = named.into_iter().filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::try_from(value?).ok()?))
        });
        values.collect()
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use jiff::civil::date;

    use super::*;
    use crate::{
        http::Problem,
        testing::{App, Tokens},
    };

    static OLD: Deprecation =
        Deprecation { since: date(2026, 11, 30), sunset: date(2027, 6, 1), successor: "/v2/thing" };

    #[tokio::test]
    async fn every_response_of_a_deprecated_route_says_so_and_those_of_others_do_not() {
        let fails = || async { Err::<(), _>(Problem::not_found("It is not there.")) };
        let routes = Router::new()
            .route("/v1/thing", of(&OLD, get(|| async { "old" })))
            .route("/v1/broken", of(&OLD, get(fails)))
            .route("/v2/thing", get(|| async { "new" }));
        let app = App::new(routes, Tokens::new().verifier());
        for path in ["/v1/thing", "/v1/broken"] {
            let old = app.get(path, "").await;
            assert_eq!(old.header("deprecation"), Some("@1795996800"), "{path}");
            assert_eq!(old.header("sunset"), Some("Tue, 01 Jun 2027 00:00:00 GMT"));
            assert_eq!(old.header("link"), Some("</v2/thing>; rel=\"successor-version\""));
        }
        let new = app.get("/v2/thing", "").await;
        assert_eq!(["deprecation", "sunset", "link"].map(|name| new.header(name)), [None; 3]);
    }
}
