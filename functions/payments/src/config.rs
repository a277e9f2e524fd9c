//! Builds what the functions need from the environment.

use std::sync::Arc;

use lambda_kit::{
    aws::SdkConfig,
    breaker::Breaker,
    config::{self, ConfigError},
    dynamodb::Table,
    health::Check,
};

use crate::{
    answers::Answers,
    api::Api,
    commands::{DEADLINE_SECONDS, Payments},
    gateway::{Gateway, Timeouts},
    intake::Intake,
    queue::Queue,
    secrets::Secrets,
    store::Store,
};

fn answers(sdk: &SdkConfig) -> Answers {
    Answers::new(aws_sdk_sfn::Client::new(sdk))
}

fn queue(sdk: &SdkConfig) -> Result<Queue, ConfigError> {
    Ok(Queue::new(aws_sdk_sqs::Client::new(sdk), config::required("QUEUE_URL")?))
}

fn secrets(sdk: &SdkConfig) -> Result<Arc<Secrets>, ConfigError> {
    let client = aws_sdk_secretsmanager::Client::new(sdk);
    Ok(Arc::new(Secrets::new(client, config::required("STRIPE_SECRET_ARN")?)))
}

impl Api {
    /// With the table of `table`, and the queue and the secret that the environment names.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(sdk: &SdkConfig, table: Table) -> Result<Self, ConfigError> {
        Ok(Self { intake: Intake::from_env(sdk, table)?, secrets: secrets(sdk)? })
    }
}

impl Intake {
    /// With the table of `table`, and the queue that the environment names.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(sdk: &SdkConfig, table: Table) -> Result<Self, ConfigError> {
        Ok(Self { store: Store::new(table), answers: answers(sdk), queue: queue(sdk)? })
    }
}

impl Payments {
    /// With the table of `table`, and the queue, the secret and the gateway that the environment names.
    ///
    /// # Errors
    /// When a variable is missing or cannot be read.
    pub fn from_env(sdk: &SdkConfig, table: Table) -> Result<Self, ConfigError> {
        let url = config::required("STRIPE_URL")?;
        let breaker = Breaker::new(table.clone(), "gateway");
        Ok(Self {
            gateway: Gateway::new(&url, Timeouts::default(), secrets(sdk)?, breaker),
            store: Store::new(table),
            answers: answers(sdk),
            queue: queue(sdk)?,
            deadline_seconds: config::parsed_or("PAYMENT_DEADLINE_SECONDS", DEADLINE_SECONDS)?,
        })
    }

    /// Whether the gateway answers.
    pub fn health(&self) -> Check {
        self.gateway.health()
    }
}
