//! One configuration and one HTTP client for all AWS clients of a process.

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::{
    behavior_version::BehaviorVersion,
    http::{HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
    runtime_components::RuntimeComponents,
    stalled_stream_protection::StalledStreamProtectionConfig,
};
use aws_types::{
    region::Region,
    service_config::{LoadServiceConfig, ServiceConfigKey},
};

use crate::{
    config::{self, ConfigError},
    connector::connector,
};

pub use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
pub use aws_types::SdkConfig;

pub use crate::limits::{ATTEMPT_TIMEOUT, INITIAL_BACKOFF, MAX_ATTEMPTS};

/// The configuration that every AWS client of this process is built from.
///
/// `AWS_ENDPOINT_URL` redirects all clients, to an emulator; the variable of one service
/// (`AWS_ENDPOINT_URL_SFN`) redirects only its client, for example through a proxy.
///
/// # Errors
/// When `AWS_REGION`, `AWS_ACCESS_KEY_ID` or `AWS_SECRET_ACCESS_KEY` is missing.
pub fn sdk_config() -> Result<SdkConfig, ConfigError> {
    // No provider chain is searched: Lambda puts credentials and region into the environment, where they stay
    // the same for the life of the process.
    let mut builder = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(config::required("AWS_REGION")?))
        .credentials_provider(SharedCredentialsProvider::new(credentials()?))
        .http_client(http_client())
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .service_config(Environment)
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        // It watches each body's throughput, which costs every call something; ours are small, and read within the
        // timeout of their attempt.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(
            RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_initial_backoff(INITIAL_BACKOFF),
        )
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(ATTEMPT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .build(),
        );
    if let Some(url) = config::optional("AWS_ENDPOINT_URL") {
        builder = builder.endpoint_url(url);
    }
    Ok(builder.build())
}

/// Settings of one service, from the environment: AWS SDKs and Tools Reference Guide, "Service-specific endpoints".
#[derive(Debug)]
struct Environment;

impl LoadServiceConfig for Environment {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        config::optional(&variable(&key))
    }
}

fn variable(key: &ServiceConfigKey<'_>) -> String {
    format!("{}_{}", key.env(), key.service_id().to_uppercase().replace(' ', "_"))
}

/// The credentials of the function's role.
pub(crate) fn credentials() -> Result<Credentials, ConfigError> {
    Ok(Credentials::new(
        config::required("AWS_ACCESS_KEY_ID")?,
        config::required("AWS_SECRET_ACCESS_KEY")?,
        config::optional("AWS_SESSION_TOKEN"),
        None,
        "environment",
    ))
}

/// The process's HTTP client: all AWS clients share its connection pool and its TLS configuration.
// The client is built at start, when Lambda gives the process a whole CPU. At the first request a small
// function has a seventh of one.
pub fn http_client() -> SharedHttpClient {
    SharedHttpClient::new(OneConnector(connector(ATTEMPT_TIMEOUT)))
}

/// Hands the same connector to everyone; time limits beyond connecting are the callers' own.
#[derive(Debug)]
struct OneConnector(SharedHttpConnector);

impl HttpClient for OneConnector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_an_endpoint_of_its_own_in_the_variable_that_every_sdk_reads() {
        for (service, expected) in
            [("SFN", "AWS_ENDPOINT_URL_SFN"), ("Secrets Manager", "AWS_ENDPOINT_URL_SECRETS_MANAGER")]
        {
            let key = ServiceConfigKey::builder()
                .service_id(service)
                .env("AWS_ENDPOINT_URL")
                .profile("endpoint_url");
            assert_eq!(variable(&key.build().unwrap()), expected);
        }
    }
}
