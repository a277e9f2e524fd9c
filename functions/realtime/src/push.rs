//! Posts frames to connections.

use std::time::{Duration, Instant};

use aws_sdk_apigatewaymanagement::{
    Client,
    config::{Builder, http::HttpResponse},
    error::SdkError,
    primitives::Blob,
};
use contracts::metrics;
use lambda_kit::{
    aws::{RetryConfig, SdkConfig},
    backoff::Backoff,
    config::{self, ConfigError},
    limits::PUSH_ATTEMPTS,
    telemetry,
};

use crate::domain::Frame;

/// The result of posting a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    Delivered,
    /// The connection no longer exists.
    Gone,
}

/// The frame may have been delivered anyway.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// API Gateway takes no more calls at this time. The connection is sound.
    #[error("API Gateway throttles posts to connections")]
    Throttled,
    #[error("a frame could not be posted")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The time for all tries of throttled posts together.
// It is within the 3 s timeout of the WebSocket's function.
pub const THROTTLED_BUDGET: Duration = Duration::from_millis(1500);

/// API Gateway's `@connections` endpoint.
#[derive(Debug, Clone)]
pub struct Pusher(Client);

impl Pusher {
    /// Posts to the endpoint named by `WEBSOCKET_ENDPOINT`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(sdk, config::required("WEBSOCKET_ENDPOINT")?))
    }

    /// `endpoint` is the API's stage, `https://<api>.execute-api.<region>.amazonaws.com/<stage>`.
    pub fn new(sdk: &SdkConfig, endpoint: impl Into<String>) -> Self {
        let retries = sdk
            .retry_config()
            .cloned()
            .unwrap_or_else(RetryConfig::standard)
            .with_max_attempts(PUSH_ATTEMPTS);
        Self(Client::from_conf(Builder::from(sdk).endpoint_url(endpoint).retry_config(retries).build()))
    }

    /// Posts frames in their order, and stops where the connection is gone. A throttled post is tried again before `until`.
    pub async fn post(
        &self,
        connection_id: &str,
        frames: &[Frame],
        until: Instant,
    ) -> Result<Push, PushError> {
        let mut backoff = Backoff::within(until.saturating_duration_since(Instant::now()));
        for frame in frames {
            let data = Blob::new(frame.to_json());
            loop {
                let post = self.0.post_to_connection().connection_id(connection_id).data(data.clone());
                match post.send().await {
                    Ok(_) => break,
                    Err(error) if error.as_service_error().is_some_and(|e| e.is_gone_exception()) => {
                        return Ok(Push::Gone);
                    }
                    Err(error) if is_throttled(&error) => {
                        if !backoff.pause().await {
                            telemetry::emit(&metrics::PUSHES_FAILED, 1);
                            return Err(PushError::Throttled);
                        }
                    }
                    Err(error) => {
                        telemetry::emit(&metrics::PUSHES_FAILED, 1);
                        return Err(PushError::Failed(error.into()));
                    }
                }
            }
        }
        Ok(Push::Delivered)
    }

    /// Ends a connection, so that its client notices. A connection that no longer exists is a success.
    pub async fn close(&self, connection_id: &str) -> Result<(), PushError> {
        match self.0.delete_connection().connection_id(connection_id).send().await {
            Ok(_) => Ok(()),
            // The client has left, so what was wanted is done.
            Err(error) if error.as_service_error().is_some_and(|e| e.is_gone_exception()) => Ok(()),
            Err(error) if is_throttled(&error) => Err(PushError::Throttled),
            Err(error) => Err(PushError::Failed(error.into())),
        }
    }
}

/// Whether API Gateway throttles the call.
// The status decides, because what a stage's own throttling answers is no `LimitExceededException`.
fn is_throttled<E>(error: &SdkError<E, HttpResponse>) -> bool {
    error.raw_response().is_some_and(|response| response.status().as_u16() == 429)
}
