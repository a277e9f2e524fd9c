//! Posts frames to connections.

use aws_sdk_apigatewaymanagement::{Client, config::Builder, primitives::Blob};
use lambda_kit::{
    aws::{RetryConfig, SdkConfig},
    config::{self, ConfigError},
    numbers::PUSH_ATTEMPTS,
};

use crate::domain::Frame;

/// Where a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    Delivered,
    /// There is no such connection any more.
    Gone,
}

/// It may have been delivered all the same.
#[derive(Debug, thiserror::Error)]
#[error("a frame could not be posted")]
pub struct PushError(#[source] Box<dyn std::error::Error + Send + Sync>);

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

    /// Posts frames in their order, and stops where the connection is gone.
    pub async fn post(&self, connection_id: &str, frames: &[Frame]) -> Result<Push, PushError> {
        for frame in frames {
            let data = Blob::new(frame.to_json());
            match self.0.post_to_connection().connection_id(connection_id).data(data).send().await {
                Ok(_) => {}
                Err(error) if error.as_service_error().is_some_and(|e| e.is_gone_exception()) => {
                    return Ok(Push::Gone);
                }
                Err(error) => return Err(PushError(error.into())),
            }
        }
        Ok(Push::Delivered)
    }

    /// Ends a connection that is past its time, so that its client notices. One that is gone is as good.
    pub async fn close(&self, connection_id: &str) -> Result<(), PushError> {
        match self.0.delete_connection().connection_id(connection_id).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_gone_exception()) => Ok(()),
            Err(error) => Err(PushError(error.into())),
        }
    }
}
