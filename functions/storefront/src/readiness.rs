//! The readiness of the platform: calls the health action of all contexts concurrently.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    error::error_chain,
    function_client::FunctionClient,
    health::{Health, HealthStatus},
};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Mutex;

/// The timeout of a health check.
// The function's own timeout is 3 s, so this leaves it time to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long a report is returned again.
// The route is public, and one report takes eight invocations. Without this limit a stranger could use up the
// concurrency that orders need.
const FRESH: SignedDuration = SignedDuration::from_secs(2);

/// Each context with the function that answers for it. The template's policy names the same functions.
const HEALTH_FUNCTIONS: [(&str, &str); 8] = [
    ("users", "users-api"),
    ("catalog", "catalog-api"),
    ("inventory", "inventory-api"),
    ("orders", "orders-api"),
    ("payments", "payments-api"),
    ("fulfillment", "fulfillment-api"),
    ("notifications", "notifications-health"),
    ("realtime", "realtime-api"),
];

/// The other contexts of a stage. Clones share the last report.
#[derive(Debug, Clone)]
pub struct ReadinessProbe {
    functions: FunctionClient,
    last: Arc<Mutex<Option<(Timestamp, Readiness)>>>,
}

/// The health of all contexts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Readiness {
    pub status: HealthStatus,
    pub contexts: BTreeMap<&'static str, Health>,
}

impl ReadinessProbe {
    pub fn new(sdk: &aws_sdk_lambda::config::Config, stage: String) -> Self {
        Self { functions: FunctionClient::new(sdk, stage, DEADLINE), last: Arc::default() }
    }

    /// The report of the last two seconds, or a new one. Concurrent requests wait for the same report.
    pub async fn report(&self, now: Timestamp) -> Readiness {
        // The lock is held during the checks. Concurrent requests wait for one report, and do not each invoke
        // eight functions.
        let mut last = self.last.lock().await;
        match last.as_ref() {
            // A clock that was set back makes a report old, too.
            Some((at, report)) if (SignedDuration::ZERO..FRESH).contains(&now.duration_since(*at)) => {
                report.clone()
            }
            _ => {
                let report = self.check_all().await;
                *last = Some((now, report.clone()));
                report
            }
        }
    }

    /// Calls all contexts concurrently. A context that does not answer counts as down.
    async fn check_all(&self) -> Readiness {
        let answers = join_all(HEALTH_FUNCTIONS.map(|(context, binary)| async move {
            let health =
                self.functions.call(binary, &json!({"action": "health"})).await.unwrap_or_else(|error| {
                    tracing::warn!(context, error = error_chain(&error), "a context's health check failed");
                    Health { status: HealthStatus::Down, checks: BTreeMap::new() }
                });
            (context, health)
        }));
        Readiness::from(answers.await.into_iter().collect::<BTreeMap<_, _>>())
    }
}

impl From<BTreeMap<&'static str, Health>> for Readiness {
    fn from(contexts: BTreeMap<&'static str, Health>) -> Self {
        Self {
            status: HealthStatus::from(contexts.values().all(|health| health.status == HealthStatus::Ok)),
            contexts,
        }
    }
}

#[cfg(test)]
mod tests {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

    use super::*;

    #[tokio::test]
    async fn requests_within_two_seconds_get_the_same_report() {
        let lambda = MockServer::start().await;
        let well = ResponseTemplate::new(200).set_body_json(json!({"status": "ok", "checks": {}}));
        Mock::given(any()).respond_with(well).mount(&lambda).await;
        let sdk = lambda_kit::testing::sdk_config(&lambda.uri()).0;
        let contexts = ReadinessProbe::new(&(&sdk).into(), "test".to_owned());
        let calls = async || lambda.received_requests().await.expect("requests are recorded").len();
        let at = |ms| Timestamp::from_millisecond(ms).expect("a time");
        let reports = join_all([0, 1, 1999].map(|ms| contexts.report(at(ms)))).await;
        assert!(reports.iter().all(|report| report.status == HealthStatus::Ok));
        assert_eq!(calls().await, HEALTH_FUNCTIONS.len());
        contexts.report(at(2000)).await;
        assert_eq!(calls().await, 2 * HEALTH_FUNCTIONS.len());
        contexts.report(at(1000)).await;
        assert_eq!(calls().await, 3 * HEALTH_FUNCTIONS.len(), "the clock was set back");
    }

    /// The policy must name what is asked, and nothing else.
    #[test]
    fn the_templates_policy_names_the_functions_that_are_called() {
        let template = include_str!("../../../infra/storefront.yaml");
        let named: Vec<_> =
            template.lines().filter_map(|line| line.split_once(":function:ordersaga-${Stage}-")).collect();
        assert_eq!(
            named.iter().filter_map(|(_, binary)| binary.strip_suffix(":live")).collect::<Vec<_>>(),
            HEALTH_FUNCTIONS.map(|(_, binary)| binary)
        );
    }
}
