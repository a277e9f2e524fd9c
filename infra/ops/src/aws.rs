//! AWS calls of a stage, wherever it is: on this machine, or on AWS.

use std::time::Duration;

use local_stack::{Emulator, LOCAL_STAGE, Progress, REGION, Settings, StateDir};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::remote::{Refusal, Remote};
use crate::stage::Stage;

/// The account of the emulator's resources.
const LOCAL_ACCOUNT: &str = "000000000000";

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
    CloudWatch,
    DynamoDb,
    Sqs,
    Ssm,
    StepFunctions,
    Logs,
}

impl Service {
    /// As signatures name it.
    const fn name(self) -> &'static str {
        match self {
            Self::CloudWatch => "monitoring",
            Self::DynamoDb => "dynamodb",
            Self::Sqs => "sqs",
            Self::Ssm => "ssm",
            Self::StepFunctions => "states",
            Self::Logs => "logs",
        }
    }

    /// As boto3 names it.
    const fn boto_name(self) -> &'static str {
        match self {
            Self::CloudWatch => "cloudwatch",
            Self::StepFunctions => "stepfunctions",
            other => other.name(),
        }
    }

    /// The prefix of an operation's name in the header `x-amz-target`.
    const fn target(self) -> &'static str {
        match self {
            Self::CloudWatch => "GraniteServiceVersion20100801",
            Self::DynamoDb => "DynamoDB_20120810",
            Self::Sqs => "AmazonSQS",
            Self::Ssm => "AmazonSSM",
            Self::StepFunctions => "AWSStepFunctions",
            Self::Logs => "Logs_20140328",
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

    /// The local stack of this emulator.
    #[cfg(test)]
    pub const fn local(emulator: Emulator) -> Self {
        Self { stage: None, place: Place::Local(emulator) }
    }

    /// The stage's full name of a resource: `ordersaga-dev-payments`.
    pub fn name(&self, resource: &str) -> String {
        format!("ordersaga-{}-{resource}", self.stage())
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

    /// The emulator of this machine's stack; `None` on AWS.
    pub fn emulator(&self) -> Option<&Emulator> {
        match &self.place {
            Place::Local(emulator) => Some(emulator),
            Place::Remote(_) => None,
        }
    }

    /// What CloudFormation puts into a template's texts: the parameter or pseudo parameter, and its value.
    ///
    /// # Errors
    /// AWS refuses the credentials.
    pub async fn substitutions(&self) -> Result<Vec<(&'static str, String)>> {
        let (partition, account) = self.account().await?;
        Ok(vec![
            ("Stage", self.stage().to_owned()),
            ("AWS::Region", self.region().to_owned()),
            ("AWS::AccountId", account),
            ("AWS::Partition", partition),
        ])
    }

    fn region(&self) -> &str {
        match &self.place {
            Place::Local(_) => REGION,
            Place::Remote(remote) => remote.region(),
        }
    }

    /// The partition and the account of the stage's resources.
    async fn account(&self) -> Result<(String, String)> {
        if let Place::Local(_) = &self.place {
            return Ok(("aws".to_owned(), LOCAL_ACCOUNT.to_owned()));
        }
        // arn:<partition>:sts::<account>:…
        let caller = self.caller().await?;
        let mut parts = caller.split(':').skip(1);
        let (partition, account) = (parts.next().unwrap_or("aws"), parts.nth(2).unwrap_or_default());
        Ok((partition.to_owned(), account.to_owned()))
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
            Place::Remote(remote) => remote.call(service.boto_name(), operation, input).await,
        }
    }

    /// An operation that only reads. On AWS it is tried again when AWS is busy, and a list has all its pages. `None`:
    /// the service knows no such thing.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn find(&self, service: Service, operation: &str, input: Value) -> Result<Option<Value>> {
        match &self.place {
            Place::Local(emulator) => {
                let target = format!("{}.{operation}", service.target());
                found(emulator.read(service.name(), &target, &input).await)
            }
            Place::Remote(remote) => {
                found_remote(remote.repeatable(service.boto_name(), operation, input).await)
            }
        }
    }

    /// An operation of Lambda that only reads, as [`Aws::find`]. `path` is that of its REST API.
    ///
    /// # Errors
    /// Lambda refuses, or does not answer.
    pub async fn find_in_lambda(&self, operation: &str, path: &str, input: Value) -> Result<Option<Value>> {
        match &self.place {
            Place::Local(emulator) => {
                let answer = found(emulator.get("lambda", operation, path).await)?;
                Ok(answer.map(|text| serde_json::from_str(&text).unwrap_or_default()))
            }
            Place::Remote(remote) => found_remote(remote.repeatable("lambda", operation, input).await),
        }
    }

    /// The beginning of the ARNs of a service's resources in this stage's account and region: `arn:aws:states:…:…`.
    ///
    /// # Errors
    /// AWS refuses the credentials.
    pub async fn arn(&self, service: Service) -> Result<String> {
        let (partition, account) = self.account().await?;
        Ok(format!("arn:{partition}:{}:{}:{account}", service.name(), self.region()))
    }

    /// The stage's name: of the local stack, too.
    pub fn stage(&self) -> &str {
        self.stage.as_ref().map_or(LOCAL_STAGE, Stage::name)
    }

    /// As [`Aws::call`], for what may be done twice: it is tried again when the service is busy.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn read(&self, service: Service, operation: &str, input: Value) -> Result<Value> {
        match &self.place {
            Place::Local(emulator) => {
                let target = format!("{}.{operation}", service.target());
                Ok(emulator.read(service.name(), &target, &input).await?)
            }
            Place::Remote(remote) => remote.repeatable_page(service.boto_name(), operation, input).await,
        }
    }

    /// The same stage by several connections, whose calls do not wait for each other.
    pub fn lanes(&self, number: usize) -> Vec<Self> {
        let place = || match &self.place {
            Place::Local(emulator) => Place::Local(emulator.clone()),
            Place::Remote(remote) => Place::Remote(remote.another()),
        };
        (0..number).map(|_| Self { stage: self.stage.clone(), place: place() }).collect()
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

/// An answer of the emulator, or `None` where it says that there is no such thing.
fn found<T>(answer: local_stack::Result<T>) -> Result<Option<T>> {
    match answer {
        Err(local_stack::Error::Refused { reason, .. })
            if ["DoesNotExist", "NotFound"].iter().any(|name| reason.contains(name)) =>
        {
            Ok(None)
        }
        other => Ok(Some(other?)),
    }
}

fn found_remote(answer: std::result::Result<Value, Refusal>) -> Result<Option<Value>> {
    match answer {
        Err(refusal) if refusal.is_not_found() => Ok(None),
        other => Ok(Some(other?)),
    }
}
