//! Direct invocations of other functions of this stage, allowed by IAM: queries between contexts outside the
//! saga (`contracts::query`), and saga commands when no saga runs them.

use std::time::Duration;

use aws_sdk_lambda::{
    Client,
    config::{Config, retry::RetryConfig, timeout::TimeoutConfig},
    error::ProvideErrorMetadata,
    primitives::Blob,
};
use contracts::FUNCTION_ALIAS;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Invokes the functions of a stage.
#[derive(Debug, Clone)]
pub struct FunctionClient {
    lambda: Client,
    stage: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Lambda did not answer in time, or refused the call.
    #[error("{function} could not be invoked")]
    Invoke {
        /// The function's name without its stage.
        function: &'static str,
        /// The SDK's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its concurrency limit is reached; it was not invoked.
    #[error("{function} could not be invoked: too many of it run")]
    Throttled {
        /// The function's name without its stage.
        function: &'static str,
    },
    /// The cause is in the function's own log.
    #[error("{function} failed with {name}: {message}")]
    Failed {
        /// The function's name without its stage.
        function: &'static str,
        /// The error's type: for a saga command one of the saga's error names.
        name: String,
        /// The error's message.
        message: String,
    },
    /// The request has no JSON form, or the answer is not an `A`.
    #[error("the request to {function} or its answer has another format")]
    Form {
        /// The function's name without its stage.
        function: &'static str,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
}

/// Lambda's payload for a failed function.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FunctionFailure {
    error_type: String,
    error_message: String,
}

impl FunctionClient {
    /// Each call is made once, with the timeout `deadline`.
    // A function that starts slowly is not down, and a retry would start another instance.
    pub fn new(sdk: &Config, stage: String, deadline: Duration) -> Self {
        let config = sdk
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(deadline).build())
            .build();
        Self { lambda: Client::from_conf(config), stage }
    }

    /// Invokes `function` (`orders-commands`, …) with `request` and returns its answer.
    ///
    /// # Errors
    /// When it does not answer in time, fails, or returns another type. The request may have taken effect.
    pub async fn call<A: DeserializeOwned>(
        &self,
        function: &'static str,
        request: &impl Serialize,
    ) -> Result<A, CallError> {
        let form = |source| CallError::Form { function, source };
        let payload = serde_json::to_vec(request).map_err(form)?;
        let name = format!("ordersaga-{}-{function}:{FUNCTION_ALIAS}", self.stage);
        let call = self.lambda.invoke().function_name(name);
        let answer = call.payload(Blob::new(payload)).send().await.map_err(|source| match source.code() {
            Some("TooManyRequestsException") => CallError::Throttled { function },
            _ => CallError::Invoke { function, source: source.into() },
        })?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        if answer.function_error.is_some() {
            let FunctionFailure { error_type, error_message } =
                serde_json::from_slice(&payload).unwrap_or_default();
            return Err(CallError::Failed { function, name: error_type, message: error_message });
        }
        serde_json::from_slice(&payload).map_err(form)
    }
}
