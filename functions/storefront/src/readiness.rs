//! How the whole is: every context is asked how it is, side by side.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_lambda::{Client, primitives::Blob};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use futures::future::join_all;
use lambda_kit::{
    command::chain,
    health::{Health, Status},
};
use serde::Serialize;

/// A function's own timeout is 3 s (DESIGN.md section 10): this leaves it time to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Each context with the function that answers for it. The template's policy names the same functions.
const ASKED: [(&str, &str); 8] = [
    ("users", "users-api"),
    ("catalog", "catalog-api"),
    ("inventory", "inventory-api"),
    ("orders", "orders-api"),
    ("payments", "payments-api"),
    ("fulfillment", "fulfillment-api"),
    ("notifications", "notifications-consumer"),
    ("realtime", "realtime-api"),
];

/// The other contexts of a stage.
#[derive(Debug, Clone)]
pub struct Contexts {
    lambda: Client,
    stage: String,
}

/// How all contexts are.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "Readiness"))]
pub struct Report {
    pub status: Status,
    pub contexts: BTreeMap<&'static str, Health>,
}

/// Why a context did not say how it is.
#[derive(Debug, thiserror::Error)]
enum Silent {
    #[error("the function could not be invoked")]
    Invoke(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the function failed: {0}")]
    Failed(String),
    #[error("the answer is no health report")]
    Answer(#[source] serde_json::Error),
    #[error("no answer within {DEADLINE:?}")]
    Late,
}

impl Contexts {
    /// Calls with one try that may take the whole deadline: a function that starts cold is slow and not down, and a
    /// second try would start another instance of it.
    pub fn new(sdk: &aws_sdk_lambda::config::Config, stage: String) -> Self {
        let config = sdk
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(DEADLINE).build())
            .build();
        Self { lambda: Client::from_conf(config), stage }
    }

    /// Asks all of them at once. Who does not say how it is, is down.
    pub async fn ask(&self) -> Report {
        let answers = join_all(ASKED.map(|(context, binary)| async move {
            let health = self.health_of(binary).await.unwrap_or_else(|silent| {
                tracing::warn!(context, error = chain(&silent), "a context does not say how it is");
                Health { status: Status::Down, checks: BTreeMap::new() }
            });
            (context, health)
        }));
        Report::from(answers.await.into_iter().collect::<BTreeMap<_, _>>())
    }

    async fn health_of(&self, binary: &str) -> Result<Health, Silent> {
        let call = self
            .lambda
            .invoke()
            .function_name(format!("ordersaga-{}-{binary}", self.stage))
            .payload(Blob::new(r#"{"action":"health"}"#));
        let answer = tokio::time::timeout(DEADLINE, call.send())
            .await
            .map_err(|_| Silent::Late)?
            .map_err(|error| Silent::Invoke(error.into()))?;
        // An answer of a function that failed says what went wrong in it, which is for its own log.
        if let Some(kind) = answer.function_error {
            return Err(Silent::Failed(kind));
        }
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        serde_json::from_slice(&payload).map_err(Silent::Answer)
    }
}

impl From<BTreeMap<&'static str, Health>> for Report {
    fn from(contexts: BTreeMap<&'static str, Health>) -> Self {
        Self { status: Status::from(contexts.values().all(|health| health.status == Status::Ok)), contexts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy must name what is asked, and nothing else.
    #[test]
    fn the_templates_policy_names_the_functions_that_are_asked() {
        let template = include_str!("../../../infra/storefront.yaml");
        let named: Vec<_> =
            template.lines().filter_map(|line| line.split_once(":function:ordersaga-${Stage}-")).collect();
        assert_eq!(
            named.iter().map(|(_, binary)| *binary).collect::<Vec<_>>(),
            ASKED.map(|(_, binary)| binary)
        );
    }
}
