//! AWS calls of a stage, wherever it is: on this machine, or on AWS.

use std::time::Duration;

use local_stack::{Emulator, LOCAL_STAGE, Progress, Settings, StateDir};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::remote::Remote;
use crate::stage::Stage;

/// One stage's resources.
#[derive(Debug)]
pub struct Aws {
    stage: Option<Stage>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Local(Emulator),
    Remote(Remote),
}

/// The error payload of a function, as the Runtime API writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    pub error_type: String,
    pub error_message: String,
}

impl Failed {
    /// For a person.
    pub fn told(self, function: &str) -> String {
        let Self { error_type, error_message } = self;
        format!("{function} failed ({error_type}): {error_message}\nIts log says more.")
    }

    /// Like `told`; but an error named `refusal` is not a fault of the function, so its own message is used.
    pub fn told_unless(self, refusal: &str, function: &str) -> String {
        if self.error_type == refusal { self.error_message } else { self.told(function) }
    }
}

/// A function's answer, or its failure.
///
/// # Errors
/// It is neither.
pub fn answer<T: DeserializeOwned>(function: &str, text: &str) -> Result<std::result::Result<T, Failed>> {
    if let Ok(failed) = serde_json::from_str(text) {
        return Ok(Err(failed));
    }
    serde_json::from_str(text).map(Ok).map_err(|error| Error::Unreadable {
        function: function.to_owned(),
        reason: error.to_string(),
        said: text.to_owned(),
    })
}

/// The services with a JSON protocol.
#[derive(Debug, Clone, Copy)]
pub enum Service {
    DynamoDb,
    Sqs,
}

impl Service {
    /// As signatures and boto3 name it.
    const fn name(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::Sqs => "sqs",
        }
    }

    /// The prefix of an operation's name in the header `x-amz-target`.
    const fn target(self) -> &'static str {
        match self {
            Self::DynamoDb => "DynamoDB_20120810",
            Self::Sqs => "AmazonSQS",
        }
    }
}

impl Aws {
    /// That stage on AWS; without one, this machine's stack.
    ///
    /// # Errors
    /// No stack runs here, or there are no AWS credentials.
    pub async fn of(settings: &Settings, stage: Option<Stage>, progress: &Progress) -> Result<Self> {
        let place = match &stage {
            Some(stage) => Place::Remote(Remote::aws(settings, stage, progress).await?),
            None => {
                let outputs = StateDir::new(settings.state_dir.clone()).outputs()?;
                Place::Local(Emulator::new(&outputs.aws_endpoint_url))
            }
        };
        Ok(Self { stage, place })
    }

    /// The stage's full name of a resource: `ordersaga-dev-payments`.
    pub fn name(&self, resource: &str) -> String {
        format!("ordersaga-{}-{resource}", self.stage.as_ref().map_or(LOCAL_STAGE, Stage::name))
    }

    /// The option that a suggested command needs for this stage: ` --stage dev`, or nothing.
    pub fn option(&self) -> String {
        self.stage.as_ref().map_or_else(String::new, |stage| format!(" --stage {stage}"))
    }

    /// The caller's identity.
    ///
    /// # Errors
    /// AWS refuses the credentials.
    pub async fn caller(&self) -> Result<String> {
        let Place::Remote(remote) = &self.place else { return Ok(LOCAL_STAGE.to_owned()) };
        let identity = remote.call("sts", "GetCallerIdentity", json!({})).await?;
        Ok(identity["Arn"].as_str().unwrap_or_default().to_owned())
    }

    /// An operation, with its input and answer as the API reference gives them.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn call(&self, service: Service, operation: &str, input: Value) -> Result<Value> {
        match &self.place {
            Place::Local(emulator) => {
                let target = format!("{}.{operation}", service.target());
                Ok(emulator.json(service.name(), &target, &input).await?)
            }
            Place::Remote(remote) => remote.call(service.name(), operation, input).await,
        }
    }

    /// Invokes a function and returns its answer, within `patience`.
    ///
    /// # Errors
    /// It cannot be invoked. The error of a function that fails is an answer.
    pub async fn invoke(&self, function: &str, payload: &Value, patience: Duration) -> Result<String> {
        match &self.place {
            Place::Local(emulator) => {
                Ok(emulator.clone().with_patience(patience).invoke(function, payload).await?)
            }
            Place::Remote(remote) => remote.invoke(function, payload, patience).await,
        }
    }
}
