use std::time::Duration;

use aws_sdk_lambda::{
    Client,
    config::{Config, retry::RetryConfig, timeout::TimeoutConfig},
    primitives::Blob,
};
use lambda_kit::{
    error::error_chain,
    health::{Health, HealthStatus},
};

/// A version that starts may be slow once, and its table or its queue may not answer once.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);
/// With the pauses, all tries end within the function's timeout of 30 s.
const TRY: Duration = Duration::from_secs(7);

/// The versions of the stage's functions.
#[derive(Debug, Clone)]
pub struct Versions {
    lambda: Client,
    pause: Duration,
}

/// Why a version must not get calls.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    #[error("{version} cannot be invoked: {reason}")]
    Invoke { version: String, reason: String },
    #[error("{version} fails: {reason}")]
    Failed { version: String, reason: String },
    #[error("{version} does not reach {dependencies}")]
    Down { version: String, dependencies: String },
}

impl Versions {
    pub fn new(sdk: &Config) -> Self {
        Self::with_pause(sdk, PAUSE)
    }

    fn with_pause(sdk: &Config, pause: Duration) -> Self {
        let timeouts = TimeoutConfig::builder().operation_timeout(TRY).operation_attempt_timeout(TRY).build();
        let config = sdk.to_builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts).build();
        Self { lambda: Client::from_conf(config), pause }
    }

    /// Starts the version (`<function>:<version>`) and lets it check what it depends on. Nothing is changed by that.
    ///
    /// # Errors
    /// No try found it healthy: the reason of the last one.
    pub async fn check(&self, version: &str) -> Result<(), Unhealthy> {
        for _ in 1..TRIES {
            match self.check_once(version).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(error = error_chain(&error), "a version is not healthy yet"),
            }
            tokio::time::sleep(self.pause).await;
        }
        self.check_once(version).await
    }

    async fn check_once(&self, version: &str) -> Result<(), Unhealthy> {
        let version = version.to_owned();
        let call = self.lambda.invoke().function_name(&version).payload(Blob::new(r#"{"action":"health"}"#));
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => return Err(Unhealthy::Invoke { version, reason: error_chain(&error) }),
        };
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let said = String::from_utf8_lossy(&payload).into_owned();
        match serde_json::from_slice::<Health>(&payload) {
            Ok(health) if answer.function_error.is_none() => healthy(version, &health),
            _ => Err(Unhealthy::Failed { version, reason: said }),
        }
    }
}

fn healthy(version: String, health: &Health) -> Result<(), Unhealthy> {
    let down = health.checks.iter().filter(|(_, status)| **status == HealthStatus::Down);
    let down: Vec<&str> = down.map(|(name, _)| name.as_str()).collect();
    if health.status == HealthStatus::Ok {
        return Ok(());
    }
    Err(Unhealthy::Down { version, dependencies: down.join(", ") })
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{body_json, path},
    };

    use super::*;

    /// The versions behind this Lambda, tried without a pause.
    pub fn versions(lambda: &MockServer) -> Versions {
        Versions::with_pause(&(&lambda_kit::testing::sdk_config(&lambda.uri()).0).into(), Duration::ZERO)
    }

    /// Version 7 of orders-api answers `times` health requests with this.
    pub async fn answers(lambda: &MockServer, times: u64, answer: ResponseTemplate) {
        Mock::given(path("/2015-03-31/functions/orders-api%3A7/invocations"))
            .and(body_json(json!({"action": "health"})))
            .respond_with(answer)
            .up_to_n_times(times)
            .mount(lambda)
            .await;
    }

    pub fn well() -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_json(json!({"status": "ok", "checks": {"table": "ok"}}))
    }

    #[tokio::test]
    async fn a_version_that_is_healthy_at_the_last_try_is_healthy() {
        let lambda = MockServer::start().await;
        answers(&lambda, 2, ResponseTemplate::new(500)).await;
        answers(&lambda, 1, well()).await;
        versions(&lambda).check("orders-api:7").await.unwrap();
        assert_eq!(lambda.received_requests().await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_version_that_is_not_healthy_says_why() {
        let crash = json!({"errorType": "Runtime.ExitError", "errorMessage": "TABLE_NAME is missing"});
        let crash = ResponseTemplate::new(200)
            .insert_header("X-Amz-Function-Error", "Unhandled")
            .set_body_json(crash);
        let down = json!({"status": "down", "checks": {"table": "down", "keys": "ok"}});
        let down = ResponseTemplate::new(200).set_body_json(down);
        for (answer, reason) in [
            (crash, "orders-api:7 fails: "),
            (down, "orders-api:7 does not reach table"),
            (ResponseTemplate::new(403), "orders-api:7 cannot be invoked"),
            (ResponseTemplate::new(200).set_body_json(json!({})), "orders-api:7 fails: {}"),
        ] {
            let lambda = MockServer::start().await;
            answers(&lambda, 9, answer).await;
            let said = versions(&lambda).check("orders-api:7").await.unwrap_err().to_string();
            assert!(said.starts_with(reason), "{said}");
        }
    }
}
