//! Builds what the functions need from the environment.

use std::sync::Arc;

use contracts::Switch;
use lambda_kit::{
    aws::SdkConfig,
    breaker::Breaker,
    config::{self, ConfigError},
    dynamodb::Table,
    health::Check,
    switch::FeatureSwitch,
};

use crate::{
    api::Api,
    commands::{DEADLINE_SECONDS, Payments},
    gateway::{Gateway, GatewayLimits, REQUESTS_PER_SECOND, Timeouts},
    queue::Queue,
    reconciler::Reconciler,
    recorder::InputRecorder,
    secrets::Secrets,
    store::Store,
    task_tokens::TaskTokens,
};

fn secrets(sdk: &SdkConfig) -> Result<Arc<Secrets>, ConfigError> {
    let client = aws_sdk_secretsmanager::Client::new(sdk);
    Ok(Arc::new(Secrets::new(client, config::required("STRIPE_SECRET_ARN")?)))
}

fn gateway(sdk: &SdkConfig, table: &Table) -> Result<Gateway, ConfigError> {
    let url = config::required("STRIPE_URL")?;
    let breaker = Breaker::new(table.clone(), "gateway");
    let per_second = config::parsed_or("GATEWAY_REQUESTS_PER_SECOND", REQUESTS_PER_SECOND)?;
    Ok(Gateway::new(&url, Timeouts::default(), secrets(sdk)?, breaker, GatewayLimits::new(table, per_second)))
}

fn deadline_seconds() -> Result<i64, ConfigError> {
    config::parsed_or("PAYMENT_DEADLINE_SECONDS", DEADLINE_SECONDS)
}

impl Api {
    /// With the table of `table`, and the queue and the secret that the environment names.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(sdk: &SdkConfig, table: Table) -> Result<Self, ConfigError> {
        Ok(Self { recorder: InputRecorder::from_env(sdk, table)?, secrets: secrets(sdk)? })
    }
}

impl InputRecorder {
    /// With the table of `table`, and the queue that the environment names.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(sdk: &SdkConfig, table: Table) -> Result<Self, ConfigError> {
        Ok(Self {
            store: Store::new(table),
            task_tokens: TaskTokens::new(aws_sdk_sfn::Client::new(sdk)),
            queue: Queue::new(aws_sdk_sqs::Client::new(sdk), config::required("QUEUE_URL")?),
        })
    }
}

impl Payments {
    /// With the table of `table`, and the queue, the secret and the gateway that the environment names.
    ///
    /// # Errors
    /// When a variable is missing or cannot be read.
    pub fn from_env(sdk: &SdkConfig, table: Table) -> Result<Self, ConfigError> {
        Ok(Self {
            gateway: gateway(sdk, &table)?,
            recorder: InputRecorder::from_env(sdk, table)?,
            deadline_seconds: deadline_seconds()?,
            switch: FeatureSwitch::from_env(sdk, Switch::Payments)?,
        })
    }

    /// Checks that the gateway answers.
    pub fn health(&self) -> Check {
        self.gateway.health()
    }
}

impl Reconciler {
    /// With the table of `table`, and the secret and the gateway that the environment names.
    ///
    /// # Errors
    /// When a variable is missing or cannot be read.
    pub fn from_env(sdk: &SdkConfig, table: Table) -> Result<Self, ConfigError> {
        Ok(Self {
            gateway: gateway(sdk, &table)?,
            store: Store::new(table),
            deadline_seconds: deadline_seconds()?,
        })
    }
}
